//! What a `ShopService` asks of requests: tokens, limits and traces count in the pods of a real cluster, and change without
//! another revision and without a restart.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use shop_e2e::{
    harness::{eventually, test},
    netns::NODE_ADDRESS,
    scenario::{Answer, Shop, Spec, ask},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A key for HS512, and its id.
const KEY: [u8; 64] = [7; 64];
const KEY_ID: &str = "k1";
/// Requests of a user in a minute.
const LIMIT: usize = 4;
/// Longest batch of spans.
const MAX_BATCH: usize = 1 << 20;

#[test]
fn tokens_limits_and_traces_count_and_change_live() {
    test("tokens_limits_and_traces_count_and_change_live", async |session| {
        let collector = Collector::start().await?;
        session.apply(&secret()).await?;
        let spec = Spec::new(1).replicas(2).patch(json!({
            "auth": {"jwt": {
                "issuer": "https://shop.example", "audience": "shop", "secretRef": {"name": "token-keys"},
                "except": [{"path": "/version"}],
            }},
            "limits": {"rate": [{"per": "user", "requests": LIMIT, "window": "1m"}]},
            "tracing": {"endpoint": collector.endpoint(), "sample": {"rest": "100%"}},
        }));
        let shop = super::stable(session, &spec).await?;
        let before = pods(&shop).await?;
        let at = shop.endpoint().await?;

        eventually("requests are answered", async || get(at, "/version", &[]).await.map(drop)).await?;
        refused(&get(at, "/products", &[]).await?, 401, "token-missing")?;
        let other = token("eve", &[8; 64]);
        refused(&get(at, "/products", &[("authorization", &other)]).await?, 401, "token-invalid")?;

        share_a_limit(at).await?;
        collector.has_trace_of(at).await?;

        let everybody = json!({"spec": {"limits": {"deny": ["0.0.0.0/0", "::/0"]}}});
        shop.merge(&everybody).await?;
        eventually("everybody is denied", async || {
            refused(&get(at, "/version", &[]).await?, 403, "address-denied")
        })
        .await?;
        shop.merge(&json!({"spec": {"limits": {"deny": null}, "auth": null}})).await?;
        eventually("nobody needs a token", async || {
            let answer = get(at, "/products", &[]).await?;
            ensure!(answer.status == StatusCode::OK, "{answer:?}");
            Ok(())
        })
        .await?;
        ensure!(shop.status().await?.last_revision == 1, "a live change cut a revision");
        ensure!(pods(&shop).await? == before, "pods were replaced or restarted");
        Ok(())
    });
}

/// However its requests are spread over the two pods, a user gets as many as the rule says: each pod admits its share. Until
/// the pods know of each other they admit more, and so other users are tried.
async fn share_a_limit(at: SocketAddr) -> Result<()> {
    let mut users = 0;
    eventually("both pods together admit what the rule says", async || {
        users += 1;
        let token = token(&format!("user-{users}"), &KEY);
        let mut admitted = 0;
        for _ in 0..40 {
            let answer = get(at, "/products?limit=1", &[("authorization", &token)]).await?;
            if answer.status == StatusCode::OK {
                admitted += 1;
            } else {
                refused(&answer, 429, "rate-limited")?;
                ensure!(!answer.header("retry-after").is_empty(), "no Retry-After: {answer:?}");
            }
        }
        ensure!(admitted == LIMIT, "{admitted} of 40 requests were admitted");
        Ok(())
    })
    .await
}

async fn get(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(*name, *value))
        .body(Full::default())?;
    ask(at, request).await
}

fn refused(answer: &Answer, status: u16, reason: &str) -> Result<()> {
    let found = (answer.status.as_u16(), answer.header("x-shop-reason"));
    ensure!(found == (status, reason), "{found:?} in place of {status} {reason}");
    Ok(())
}

/// Uids of the pods, and how often each container has been started.
async fn pods(shop: &Shop) -> Result<BTreeSet<(String, i32)>> {
    let pods = shop.pods(Some(1)).await?;
    let mut found = BTreeSet::new();
    for pod in pods {
        let uid = pod.metadata.uid.context("a pod has a uid")?;
        let status = pod.status.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let sidecars = status.init_container_statuses.unwrap_or_default();
        let restarts = containers.iter().chain(&sidecars).map(|one| one.restart_count).sum();
        found.insert((uid, restarts));
    }
    Ok(found)
}

fn secret() -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token-keys"},
        "data": {KEY_ID: STANDARD.encode(KEY)},
    })
    .to_string()
}

/// A token (RFC 7519) under HS512, as `Authorization` has it.
fn token(user: &str, key: &[u8]) -> String {
    let now = Timestamp::now().as_second();
    let head = json!({"alg": "HS512", "typ": "JWT", "kid": KEY_ID});
    let claims: Value = json!({
        "iss": "https://shop.example", "aud": "shop", "sub": user, "iat": now, "exp": now + 3600,
    });
    let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), signed.as_bytes());
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Takes spans by OTLP over HTTP, where pods reach it.
struct Collector {
    address: SocketAddr,
    batches: Arc<Mutex<Vec<Bytes>>>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((NODE_ADDRESS, 0)).await.context("listen on the node")?;
        let address = listener.local_addr()?;
        let batches = Arc::<Mutex<Vec<Bytes>>>::default();
        let kept = Arc::clone(&batches);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request| take(request, Arc::clone(&kept)));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Ok(Self { address, batches, task })
    }

    fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// A request with a trace of its own becomes a span of the service's sidecar.
    async fn has_trace_of(&self, at: SocketAddr) -> Result<()> {
        let trace: [u8; 16] = rand::random();
        let id = u128::from_be_bytes(trace);
        let parent = format!("00-{id:032x}-00f067aa0ba902b7-01");
        get(at, "/version", &[("traceparent", &parent)]).await?;
        eventually("its span arrives", async || {
            let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
            let batch = batches.iter().find(|batch| contains(batch, &trace)).context("no such span")?;
            ensure!(contains(batch, b"product"), "the batch does not name the service");
            Ok(())
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(
    request: Request<Incoming>,
    batches: Arc<Mutex<Vec<Bytes>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if let Ok(body) = Limited::new(request.into_body(), MAX_BATCH).collect().await {
        batches.lock().unwrap_or_else(PoisonError::into_inner).push(body.to_bytes());
    }
    Ok(Response::new(Full::default()))
}

fn contains(batch: &[u8], part: &[u8]) -> bool {
    batch.windows(part.len()).any(|window| window == part)
}
