//! Each kind of connection against a small server on loopback that behaves in one way, well or badly.

mod http1;
mod http2;
mod websocket;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::*;

/// A server that ends with the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves each connection by a function that also gets the connection's number, from 0.
pub(super) async fn serve<F: Future<Output = ()> + Send + 'static>(
    connection: impl Fn(TcpStream, usize) -> F + Send + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            connections.spawn(connection(stream, number));
        }
    });
    Server { address, task: task.abort_handle() }
}

/// So many requests of one kind, fast, without a deadline that a busy machine could miss.
pub(super) fn plan(address: SocketAddr, kind: Kind, requests: u64) -> Plan {
    Plan {
        requests: Some(requests),
        mix: Mix::only(kind),
        keep_alive: 2,
        http2: 2,
        web_sockets: 2,
        timeout: Duration::from_mins(1),
        ..Plan::new(address, "product.shop", 500)
    }
}

/// Runs it to its end; every request must have been taken down.
pub(super) async fn run(plan: Plan) -> Report {
    let requests = plan.requests.unwrap();
    let report = Load::start(plan).finish().await;
    assert!(report.requests() >= requests, "{} of {requests} requests ended", report.requests());
    report
}

pub(super) fn count(report: &Report, kind: Kind) -> KindCount {
    report.kinds.get(&kind).copied().unwrap_or_default()
}

/// All requests went well.
pub(super) fn all_well(report: &Report, requests: u64) {
    assert_eq!((report.requests(), report.failed()), (requests, 0), "{:?}", report.failures);
}

/// All requests failed, in one way.
pub(super) fn all_failed(report: &Report, failure: Failure) {
    assert_eq!(report.failures.get(&failure), Some(&report.requests()), "{:?}", report.failures);
}

#[test]
fn spreads_kinds_evenly_by_their_shares() {
    let mut mixed = Picker::new(Mix([3, 1, 0, 0, 0]));
    let picked: Vec<Kind> = (0..8).map(|_| mixed.next()).collect();
    let new = picked.iter().filter(|kind| **kind == Kind::NewConnection).count();
    assert_eq!(new, 2);
    assert!(picked.iter().take(4).any(|kind| *kind == Kind::NewConnection), "{picked:?}");
    let mut only = Picker::new(Mix::only(Kind::Grpc));
    assert!((0..10).all(|_| only.next() == Kind::Grpc));
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for kind in Kind::ALL {
        let report = run(plan(address, *kind, 5)).await;
        all_failed(&report, Failure::ConnectRefused);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let server = serve(|stream, _| async move {
        // Accepts, reads nothing, says nothing.
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    for kind in [Kind::KeepAlive, Kind::NewConnection, Kind::Http2, Kind::Grpc, Kind::WebSocket] {
        let plan = Plan { timeout: Duration::from_millis(200), ..plan(server.address, kind, 4) };
        let report = run(plan).await;
        all_failed(&report, Failure::Timeout);
        assert!(report.samples.iter().all(|sample| sample.latency() >= 200_000));
    }
}

#[tokio::test]
async fn keeps_no_more_samples_than_it_may() {
    let server = serve(http1::answering).await;
    let report = run(Plan { samples: 7, ..plan(server.address, Kind::KeepAlive, 20) }).await;
    all_well(&report, 20);
    assert_eq!((report.samples.len(), report.not_kept), (7, 13));
}

#[tokio::test]
async fn is_stopped_and_looked_at_while_it_runs() {
    let server = serve(http1::answering).await;
    let load = Load::start(Plan { requests: None, ..plan(server.address, Kind::KeepAlive, 0) });
    let view = load.view();
    let first = view.first_answer("v1", 0, Duration::from_mins(1)).await;
    assert!(first.is_some());
    assert!(view.requests(20, Duration::from_mins(1)).await);
    let live = view.live();
    assert!(live.recent >= 20 && live.failed == 0, "{live:?}");
    assert_eq!(live.versions.get("v1"), Some(&live.recent));
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{:?}", report.failures);
    assert_eq!(report.answered_by("v1"), report.requests());
}
