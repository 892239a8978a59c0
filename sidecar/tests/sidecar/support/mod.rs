//! A sidecar with an app behind it, both in this process, on loopback ports that the system chooses.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unused_async,
    reason = "every test file uses a part of it, and only tests do"
)]

pub mod client;
pub mod collector;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_contract::{
    Acknowledgement, App, Colour, Document, Endpoints, HandOff, HandoverKeys, Identity, Protocol, PublicKeys,
    Push, Readiness, Role, SCHEMA, SIGNATURE_HEADER, Stats,
};
use shop_sidecar::settings::AccessLogSetting;
use shop_sidecar::{Settings, Sidecar};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// Far more than any test needs, so that only a hang fails it.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("nothing hangs for a minute")
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waited = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), waited).await.is_ok(), "never: {what}");
}

pub fn text(body: impl Into<Bytes>) -> Response<AnyBody> {
    Response::new(Full::new(body.into()).boxed_unsync())
}

pub fn empty() -> AnyBody {
    Empty::new().boxed_unsync()
}

/// An app behind a sidecar.
pub struct TestApp {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl TestApp {
    pub async fn http1<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::serve(Protocol::Http, handler).await
    }

    pub async fn http2<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::serve(Protocol::Grpc, handler).await
    }

    async fn serve<H, F>(protocol: Protocol, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let port = listener.local_addr().expect("address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                counter.fetch_add(1, Ordering::SeqCst);
                let handler = handler.clone();
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let stream = TokioIo::new(stream);
                tokio::spawn(async move {
                    let _ = match protocol {
                        Protocol::Http | Protocol::Tcp => {
                            let server = hyper::server::conn::http1::Builder::new();
                            server.serve_connection(stream, service).with_upgrades().await
                        }
                        Protocol::Grpc => {
                            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            server.serve_connection(stream, service).await
                        }
                    };
                });
            }
        });
        Self { port, connections, _task: AbortOnDropHandle::new(task) }
    }

    /// Answers everything with this text.
    pub async fn saying(word: &'static str) -> Self {
        Self::http1(move |_| async move { text(word) }).await
    }
}

/// Keys of a service: those of the operator, and the MAC key.
pub struct Keys {
    pub signing: Ed25519KeyPair,
    pub mac: [u8; 32],
}

impl Keys {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { signing: Ed25519KeyPair::generate().expect("key"), mac: [7; 32] })
    }

    pub fn public(&self) -> PublicKeys {
        PublicKeys { current: BASE64.encode(self.signing.public_key()), next: None }
    }

    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.signing.sign(bytes))
    }
}

pub fn identity(revision: i64) -> Identity {
    Identity { namespace: "shop".into(), service: "order".into(), service_uid: "uid-1".into(), revision }
}

/// A document of an active revision without hand-off.
pub fn document(revision: i64, app_port: u16, keys: &Keys) -> Document {
    Document {
        schema: SCHEMA,
        identity: identity(revision),
        leader_epoch: 1,
        generation: 1,
        role: Role::Active,
        colour: Colour::Blue,
        role_epoch: 1,
        app: App {
            port: app_port,
            protocol: Protocol::Http,
            readiness: Readiness { path: None, timeout_ms: 30_000 },
        },
        max_connections: 100,
        trusted_hops: Vec::new(),
        drain_max_ms: 600_000,
        hand_off: None,
        mirror: None,
        auth: None,
        depends_on: Vec::new(),
        limits: None,
        telemetry: None,
        faults: Vec::new(),
        push_keys: keys.public(),
        handover_keys: HandoverKeys { current: "k1".into(), next: None },
    }
}

/// What a pod finds around it.
#[derive(Default)]
pub struct Around {
    /// The DNS server that it asks.
    pub dns: Option<SocketAddr>,
    /// Where it is; a port that the system chooses.
    pub inbound: Option<SocketAddr>,
    /// A file with roots for hosts outside.
    pub more_roots: Option<std::path::PathBuf>,
    /// Files of the mounted Secret, beside the MAC key.
    pub secret: Vec<(&'static str, String)>,
}

/// A sidecar and its folders.
pub struct Pod {
    pub sidecar: Sidecar,
    pub document: Document,
    pub keys: Arc<Keys>,
    pub config_dir: TempDir,
    pub keys_dir: TempDir,
    pub state_dir: Arc<TempDir>,
    sequence: i64,
}

impl Pod {
    /// With a document of an active revision.
    pub async fn start(revision: i64, app_port: u16, keys: &Arc<Keys>) -> Self {
        Self::with(document(revision, app_port, keys), keys).await
    }

    pub async fn with(document: Document, keys: &Arc<Keys>) -> Self {
        Self::mounted(Some(&document), document.clone(), keys, Arc::new(TempDir::new().expect("folder")))
            .await
    }

    /// `mounted` is what lies in the `ConfigMap`.
    pub async fn mounted(
        mounted: Option<&Document>,
        document: Document,
        keys: &Arc<Keys>,
        state_dir: Arc<TempDir>,
    ) -> Self {
        Self::launch(mounted, document, keys, state_dir, Around::default()).await
    }

    /// Asks this DNS server.
    pub async fn asking(document: Document, keys: &Arc<Keys>, dns: Option<SocketAddr>) -> Self {
        Self::around(document, keys, Around { dns, ..Around::default() }).await
    }

    pub async fn around(document: Document, keys: &Arc<Keys>, around: Around) -> Self {
        let state_dir = Arc::new(TempDir::new().expect("folder"));
        Self::launch(Some(&document), document.clone(), keys, state_dir, around).await
    }

    async fn launch(
        mounted: Option<&Document>,
        document: Document,
        keys: &Arc<Keys>,
        state_dir: Arc<TempDir>,
        around: Around,
    ) -> Self {
        let (config_dir, keys_dir) = (TempDir::new().expect("folder"), TempDir::new().expect("folder"));
        std::fs::write(keys_dir.path().join("k1"), keys.mac).expect("written");
        for (name, content) in around.secret {
            std::fs::write(keys_dir.path().join(name), content).expect("written");
        }
        if let Some(mounted) = mounted {
            write_document(&config_dir, mounted);
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Settings {
            identity: document.identity.clone(),
            config_dir: config_dir.path().into(),
            keys_dir: keys_dir.path().into(),
            state_dir: state_dir.path().into(),
            inbound: around.inbound.unwrap_or(any),
            admin: any,
            outbound: any,
            dns: around.dns,
            more_roots: around.more_roots,
            access_log: AccessLogSetting::Off,
            pod: String::new(),
        };
        let sidecar = Sidecar::start(settings).expect("started");
        Self { sidecar, document, keys: Arc::clone(keys), config_dir, keys_dir, state_dir, sequence: 0 }
    }

    pub async fn push(&self, push: &Push) -> (u16, Acknowledgement) {
        let bytes = serde_json::to_vec(push).expect("json");
        let signature = self.keys.sign(&bytes);
        self.push_bytes(bytes, &signature).await
    }

    pub async fn push_bytes(&self, bytes: Vec<u8>, signature: &str) -> (u16, Acknowledgement) {
        let request = Request::post("/config")
            .header(SIGNATURE_HEADER, signature)
            .body(Full::from(bytes))
            .expect("request");
        let (status, body) = client::once(self.sidecar.admin, request).await;
        (status, serde_json::from_slice(&body).expect("acknowledgement"))
    }

    /// Pushes the document with the next generation and this hand-off.
    pub async fn hand_off(&mut self, hand_off: Option<HandOff>) {
        self.document.hand_off = hand_off;
        self.document.generation += 1;
        let (status, acknowledgement) = self.push(&Push::Document(self.document.clone())).await;
        assert_eq!(
            (status, acknowledgement.generation),
            (200, self.document.generation),
            "{acknowledgement:?}"
        );
    }

    /// Pushes the document with the next generation and this change.
    pub async fn change(&mut self, change: impl FnOnce(&mut Document)) {
        change(&mut self.document);
        self.document.generation += 1;
        let (status, acknowledgement) = self.push(&Push::Document(self.document.clone())).await;
        assert_eq!((status, acknowledgement.refused), (200, None));
    }

    pub async fn endpoints(&mut self, to_revision: i64, addresses: Vec<SocketAddr>) {
        self.sequence += 1;
        let endpoints = Endpoints {
            identity: self.document.identity.clone(),
            leader_epoch: self.document.leader_epoch,
            sequence: self.sequence,
            to_revision,
            addresses,
        };
        let (status, acknowledgement) = self.push(&Push::Endpoints(endpoints)).await;
        assert_eq!((status, acknowledgement.endpoints_seen), (200, self.sequence), "{acknowledgement:?}");
    }

    pub async fn stats(&self) -> Stats {
        let (status, body) = client::get(self.sidecar.admin, "/stats").await;
        assert_eq!(status, 200);
        serde_json::from_slice(&body).expect("stats")
    }

    pub async fn metrics(&self) -> String {
        let (_, body) = client::get(self.sidecar.admin, "/metrics").await;
        String::from_utf8(body.to_vec()).expect("text")
    }

    pub async fn readiness(&self) -> u16 {
        client::get(self.sidecar.admin, "/readyz").await.0
    }
}

/// Writes a document as a mounted `ConfigMap` appears: whole, by a rename.
pub fn write_document(folder: &TempDir, document: &Document) {
    let new = folder.path().join("..new");
    std::fs::write(&new, serde_json::to_vec(document).expect("json")).expect("written");
    std::fs::rename(new, folder.path().join("document.json")).expect("renamed");
}

pub fn to(revision: i64, share: u32, fallback: &str, may_serve_locally: bool) -> HandOff {
    HandOff::new(revision, share, fallback.into(), may_serve_locally)
}
