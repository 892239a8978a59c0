//! What is let in: at once, how long, how large.

mod at_once;
mod deadlines;
mod peers;
mod rates;
mod timeouts;

use std::sync::Arc;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use shop_contract::{Concurrency, Limits};
use tokio::sync::Semaphore;

use crate::support::client::{Answer, Http1, Http2};
use crate::support::{Keys, Pod, TestApp, document, text, until, within};

/// An app that answers `/hold` only when it is let go, `/never` never, and everything else with the deadlines that it is told.
struct HoldingApp {
    app: TestApp,
    held: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl HoldingApp {
    async fn start() -> Self {
        let (held, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (in_app, let_go) = (Arc::clone(&held), Arc::clone(&go));
        let app = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
            let (held, go) = (Arc::clone(&in_app), Arc::clone(&let_go));
            async move {
                let path = request.uri().path().to_owned();
                let told = request.headers().get("x-shop-deadline-ms").cloned();
                let read = request.into_body().collect().await.map(|body| body.to_bytes().len());
                match path.as_str() {
                    "/hold" => {
                        held.add_permits(1);
                        go.acquire().await.expect("open").forget();
                        text("held")
                    }
                    "/never" => std::future::pending().await,
                    _ => {
                        let told = told.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("none");
                        text(format!("deadline {told}, body {}", read.unwrap_or(0)))
                    }
                }
            }
        })
        .await;
        Self { app, held, go }
    }

    /// Waits until the app works on one more.
    async fn holds_one(&self) {
        within(self.held.acquire()).await.expect("open").forget();
    }
}

async fn limited(app_port: u16, limits: Limits, keys: &Arc<Keys>) -> Pod {
    let mut document = document(7, app_port, keys);
    document.limits = Some(limits);
    Pod::with(document, keys).await
}

fn at_once(max: u32, queue: u32) -> Limits {
    Limits { concurrency: Some(Concurrency { max, queue }), ..Limits::default() }
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, field(&answer.headers, "x-shop-reason"))
}

/// A gRPC call's status and reason, of one that the sidecar refused.
async fn call(pod: &Pod, fields: &[(&str, &str)]) -> (u16, String, String) {
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::post("http://order/never").header("content-type", "application/grpc");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = caller.send(request.body(Full::from("message")).expect("request")).await;
    let headers = answer.headers();
    let (status, reason) =
        (field(headers, "grpc-status").to_owned(), field(headers, "x-shop-reason").to_owned());
    (answer.status().as_u16(), status, reason)
}
