//! HTTP/1.1 servers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Reads a request's head; `None` when the client has closed.
async fn read_head(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.ok()?;
        head.push(byte);
    }
    Some(())
}

fn answer(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nx-shop-version: v1\r\n{more}content-length: 2\r\n\r\nok")
}

/// Answers every request.
pub(super) async fn answering(mut stream: TcpStream, _: usize) {
    while read_head(&mut stream).await.is_some() {
        if stream.write_all(answer("200 OK", "").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn keeps_its_connections() {
    let server = serve(answering).await;
    let report = run(plan(server.address, Kind::KeepAlive, 40)).await;
    all_well(&report, 40);
    assert_eq!(count(&report, Kind::KeepAlive).connections.opened, 2);
    assert_eq!(report.answered_by("v1"), 40);
}

#[tokio::test]
async fn opens_one_connection_for_each_request() {
    let server = serve(answering).await;
    let report = run(plan(server.address, Kind::NewConnection, 30)).await;
    all_well(&report, 30);
    assert_eq!(count(&report, Kind::NewConnection).connections.opened, 30);
}

#[tokio::test]
async fn opens_another_connection_after_one_that_says_close() {
    let server = serve(|mut stream, _| async move {
        // The third answer of each connection is its last.
        for more in ["", "", "connection: close\r\n"] {
            if read_head(&mut stream).await.is_none() {
                return;
            }
            let _ = stream.write_all(answer("200 OK", more).as_bytes()).await;
        }
    })
    .await;
    let report = run(plan(server.address, Kind::KeepAlive, 30)).await;
    all_well(&report, 30);
    let connections = count(&report, Kind::KeepAlive).connections;
    assert!(connections.closed_by_answer >= 8, "{connections:?}");
    assert!(connections.opened >= connections.closed_by_answer, "{connections:?}");
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_is_a_failure() {
    let server = serve(|mut stream, _| async move {
        read_head(&mut stream).await;
    })
    .await;
    for kind in [Kind::KeepAlive, Kind::NewConnection] {
        let report = run(plan(server.address, kind, 10)).await;
        all_failed(&report, Failure::ResetBeforeAnswer);
    }
}

#[tokio::test]
async fn a_connection_cut_within_the_answer_is_a_failure() {
    let server = serve(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    })
    .await;
    let report = run(plan(server.address, Kind::KeepAlive, 10)).await;
    all_failed(&report, Failure::ResetInAnswer);
}

#[tokio::test]
async fn an_error_status_is_a_failure_with_its_version() {
    let server = serve(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let _ = stream.write_all(answer("503 Service Unavailable", "").as_bytes()).await;
        }
    })
    .await;
    let report = run(plan(server.address, Kind::KeepAlive, 10)).await;
    all_failed(&report, Failure::Status5xx);
    assert_eq!(report.answered_by("v1"), 10);
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_failure() {
    let server = serve(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"+OK ready\r\n\r\n").await;
        // Held open: the client has to see it by itself.
        read_head(&mut stream).await;
    })
    .await;
    let report = run(plan(server.address, Kind::KeepAlive, 4)).await;
    all_failed(&report, Failure::BadAnswer);
}
