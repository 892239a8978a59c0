//! Calls of the app to other services, through its sidecar, to several fake pods of them.

mod chain;
mod faults;
mod limits;
pub(crate) mod pods;
mod reach;
mod tcp;
mod tries;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shop_contract::Dependency;

use self::pods::Dns;
use crate::support::client::{self, Http1};
use crate::support::{Keys, Pod, document, until};

/// A pod whose app calls these dependencies, and the DNS server that it asks.
async fn caller(dns: &Dns, depends_on: Vec<Dependency>) -> Pod {
    caller_of(dns, 1, depends_on).await
}

async fn caller_of(dns: &Dns, app_port: u16, depends_on: Vec<Dependency>) -> Pod {
    let keys = Keys::new();
    let mut document = document(7, app_port, &keys);
    document.depends_on = depends_on;
    Pod::asking(document, &keys, Some(dns.address)).await
}

fn outbound(pod: &Pod) -> SocketAddr {
    pod.sidecar.outbound().expect("open, because there is a dependency")
}

/// A port that is free.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listener.local_addr().expect("address").port()
}

/// One GET to a host through the port of all dependencies, with these header lines.
async fn get(pod: &Pod, host: &str, path: &str, lines: &str) -> client::Answer {
    let mut app = Http1::connect(outbound(pod)).await;
    app.write(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n")).await;
    app.answer().await
}

/// One POST the same way.
async fn post(pod: &Pod, host: &str, lines: &str, body: &str) -> client::Answer {
    let mut app = Http1::connect(outbound(pod)).await;
    let length = body.len();
    app.write(&format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{lines}\r\n{body}"))
        .await;
    app.answer().await
}

fn reason(answer: &client::Answer) -> &str {
    answer.headers.get("x-shop-reason").map_or("", |reason| reason.to_str().expect("text"))
}

/// Waits until the sidecar knows so many pods of a dependency.
async fn knows(pod: &Pod, name: &str, pods: usize) {
    let line = format!("shop_sidecar_dependency_endpoints{{dependency=\"{name}\"}} {pods}");
    until("the pods are known", async || pod.metrics().await.contains(&line)).await;
}

fn request(method: &str, uri: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(uri).body(Full::default()).expect("request")
}
