//! Pods of a dependency, each at an address of its own, and a DNS server that knows them.
#![allow(clippy::indexing_slicing, reason = "a question that is malformed fails the test")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::support::AnyBody;

/// Every pod gets another address, so that tests do not meet.
static NEXT: AtomicU16 = AtomicU16::new(1);

pub(crate) fn address() -> Ipv4Addr {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// A pod; it is killed when it is dropped: its connections break, and nobody listens any more.
pub(crate) struct FakePod {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    /// Requests that came.
    pub(crate) seen: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

/// A request as a pod saw it.
pub(crate) struct Seen {
    pub(crate) head: http::request::Parts,
    pub(crate) body: String,
}

impl FakePod {
    /// A pod of a ShopService.
    pub(crate) async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::at(address(), 9_440, handler).await
    }

    pub(crate) async fn at<H, F>(ip: Ipv4Addr, port: u16, handler: H) -> Self
    where
        H: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = TcpListener::bind((ip, port)).await.expect("listening");
        let port = listener.local_addr().expect("address").port();
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, counter) = (handler.clone(), Arc::clone(&counter));
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let handler = handler.clone();
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body
                                .collect()
                                .await
                                .map(http_body_util::Collected::to_bytes)
                                .unwrap_or_default();
                            let body = String::from_utf8_lossy(&body).into_owned();
                            Ok::<_, Infallible>(handler(Seen { head, body }).await)
                        }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { ip, port, seen, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Names and where they are.
type Names = Vec<(String, Vec<Ipv4Addr>)>;

/// A DNS server with A records of some names.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    names: Arc<Mutex<Names>>,
    _task: AbortOnDropHandle<()>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("address");
        let names: Arc<Mutex<Names>> = Arc::default();
        let known = Arc::clone(&names);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..length], &known.lock().expect("lock"));
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { address, names, _task: AbortOnDropHandle::new(task) }
    }

    /// Says where a name is from now on; nowhere, if there are no addresses.
    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.names.lock().expect("lock");
        names.retain(|(known, _)| known != name);
        if !addresses.is_empty() {
            names.push((name.to_owned(), addresses.to_vec()));
        }
    }

    /// Says where the pods of a ShopService are.
    pub(crate) fn pods(&self, service: &str, pods: &[&FakePod]) {
        let addresses: Vec<_> = pods.iter().map(|pod| pod.ip).collect();
        self.set(&format!("{service}-pods.shop.svc"), &addresses);
    }
}

/// RFC 1035 section 4: the question once more, and its answers.
fn answer(query: &[u8], names: &Names) -> Vec<u8> {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += 1 + length;
    }
    let question = &query[12..at + 5];
    let is_a = query[at + 1..at + 3] == [0, 1];
    let found = names.iter().find(|(name, _)| *name == labels.join("."));
    let addresses = found.map_or(&[] as &[Ipv4Addr], |(_, addresses)| addresses);
    let addresses = if is_a { addresses } else { &[] };
    let status = if found.is_some() { 0 } else { 3 };
    let count = u8::try_from(addresses.len()).expect("few");
    let mut bytes = vec![query[0], query[1], 0x85, 0x80 | status, 0, 1, 0, count, 0, 0, 0, 0];
    bytes.extend_from_slice(question);
    for address in addresses {
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        bytes.extend_from_slice(&address.octets());
    }
    bytes
}

/// What a pod says: its name.
pub(crate) fn says(word: impl Into<Bytes>) -> Response<AnyBody> {
    crate::support::text(word)
}
