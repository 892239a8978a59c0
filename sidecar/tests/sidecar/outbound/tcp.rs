//! Dependencies that are spoken to as bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shop_contract::{CircuitBreaker, Dependency, DependencyProtocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::pods::{Dns, address};
use super::{caller, free_port, knows};
use crate::support::{Pod, until, within};

/// A pod that says a word and then what it hears; killed when it is dropped.
struct BytePod {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl BytePod {
    async fn start(word: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind((address(), port)).await.expect("listening");
        let address = listener.local_addr().expect("address");
        let open = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                connections.spawn(async move {
                    counter.fetch_add(1, Ordering::SeqCst);
                    if word.is_empty() {
                        let _ = stream.set_zero_linger();
                        return;
                    }
                    let _ = stream.write_all(word.as_bytes()).await;
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                    counter.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, _task: AbortOnDropHandle::new(task) }
    }

    fn ip(&self) -> Ipv4Addr {
        match self.address {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }
}

fn ledger(port: u16) -> Dependency {
    Dependency { protocol: DependencyProtocol::Tcp, local_port: Some(port), ..Dependency::new("ledger") }
}

async fn call(port: u16) -> TcpStream {
    within(TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await.expect("connected")
}

/// `None`: the connection broke.
async fn word(stream: &mut TcpStream) -> Option<String> {
    let mut heard = [0; 2];
    within(stream.read_exact(&mut heard)).await.ok()?;
    Some(String::from_utf8_lossy(&heard).into_owned())
}

async fn two() -> (Dns, [BytePod; 2], Pod, u16) {
    let dns = Dns::start().await;
    let pods = [BytePod::start("p1", 9_440).await, BytePod::start("p2", 9_440).await];
    dns.set("ledger-pods.shop.svc", &[pods[0].ip(), pods[1].ip()]);
    let port = free_port();
    let pod = caller(&dns, vec![ledger(port)]).await;
    knows(&pod, "ledger", 2).await;
    (dns, pods, pod, port)
}

#[tokio::test]
async fn each_connection_goes_to_the_pod_with_fewer_and_ends_as_it_likes() {
    let (_dns, pods, pod, port) = two().await;
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut stream = call(port).await;
        let name = word(&mut stream).await.expect("greeted");
        open.push((stream, name));
    }
    assert_eq!(pods.each_ref().map(|pod| pod.open.load(Ordering::SeqCst)), [3, 3]);
    for (stream, _) in &mut open {
        stream.write_all(b"last words").await.expect("written");
        stream.shutdown().await.expect("ended");
        let mut rest = String::new();
        within(stream.read_to_string(&mut rest)).await.expect("heard");
        assert_eq!(rest, "last words");
    }
    until("all are counted", async || {
        pod.stats().await.dependencies.first().is_some_and(|one| one.calls == 6 && one.failures == 0)
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_is_gone_costs_nothing() {
    let (_dns, [one, other], pod, port) = two().await;
    drop(one);
    for _ in 0..20 {
        assert_eq!(word(&mut call(port).await).await.as_deref(), Some("p2"));
    }
    drop(other);
    assert_eq!(word(&mut call(port).await).await, None);
    until("it is counted", async || pod.stats().await.dependencies[0].failures == 1).await;
}

#[tokio::test]
async fn a_pod_without_its_app_is_passed_by() {
    let dns = Dns::start().await;
    let pods = [BytePod::start("", 9_440).await, BytePod::start("p2", 9_440).await];
    dns.set("ledger-pods.shop.svc", &[pods[0].ip(), pods[1].ip()]);
    let port = free_port();
    let pod = caller(&dns, vec![ledger(port)]).await;
    knows(&pod, "ledger", 2).await;
    for _ in 0..10 {
        assert_eq!(word(&mut call(port).await).await.as_deref(), Some("p2"));
    }
}

#[tokio::test]
async fn connections_have_a_bulkhead_and_a_circuit() {
    let dns = Dns::start().await;
    let pods = [BytePod::start("p1", 0).await];
    dns.set("db.example", &[pods[0].ip()]);
    let [bounded, broken] = [free_port(), free_port()];
    let breaker =
        CircuitBreaker { requests: 2, error_percent: 50, window_ms: 60_000, open_ms: 60_000, trials: 1 };
    let outside = Dependency {
        host: Some(format!("db.example:{}", pods[0].address.port())),
        max_in_flight: Some(1),
        ..ledger(bounded)
    };
    let nowhere = Dependency {
        name: "nowhere".into(),
        host: Some("db.example:1".into()),
        circuit_breaker: Some(breaker),
        retries: 0,
        ..ledger(broken)
    };
    let pod = caller(&dns, vec![outside, nowhere]).await;
    knows(&pod, "ledger", 1).await;
    knows(&pod, "nowhere", 1).await;
    let mut first = call(bounded).await;
    assert_eq!(word(&mut first).await.as_deref(), Some("p1"));
    assert_eq!(word(&mut call(bounded).await).await, None);
    drop(first);
    until("there is room again", async || word(&mut call(bounded).await).await.is_some()).await;
    for _ in 0..3 {
        assert_eq!(word(&mut call(broken).await).await, None);
    }
    let open = r#"shop_sidecar_dependency_circuit_open{dependency="nowhere"} 1"#;
    until("the circuit is open", async || pod.metrics().await.contains(open)).await;
}
