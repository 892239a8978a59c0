//! HTTP/2 and gRPC servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::{
    Reason,
    server::{Connection, SendResponse, handshake},
};
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

type Streams = Connection<TcpStream, Bytes>;
type Respond = SendResponse<Bytes>;

/// Answers a stream: with a body, or as a gRPC server with a message and the status given.
fn answer(mut respond: Respond, grpc_status: Option<&str>) {
    let head = Response::builder().header(VERSION_HEADER, "v1").body(()).unwrap();
    let Ok(mut body) = respond.send_response(head, false) else { return };
    match grpc_status {
        None => {
            let _ = body.send_data(Bytes::from_static(b"ok"), true);
        }
        Some(status) => {
            let _ = body.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false);
            let mut trailers = HeaderMap::new();
            if !status.is_empty() {
                trailers.insert("grpc-status", status.parse().unwrap());
            }
            let _ = body.send_trailers(trailers);
        }
    }
}

/// Serves each stream by a function that gets its number on its connection, from 1, and the connection.
async fn streams(stream: TcpStream, mut each: impl FnMut(usize, Respond, &mut Streams)) {
    let Ok(mut connection) = handshake(stream).await else { return };
    let mut number = 0;
    while let Some(Ok((_request, respond))) = connection.accept().await {
        number += 1;
        each(number, respond, &mut connection);
    }
}

#[tokio::test]
async fn many_streams_on_few_connections() {
    let server = serve(|stream, _| streams(stream, |_, respond, _| answer(respond, None))).await;
    let report = run(plan(server.address, Kind::Http2, 60)).await;
    all_well(&report, 60);
    assert_eq!(count(&report, Kind::Http2).connections.opened, 2);
    assert_eq!(report.answered_by("v1"), 60);
}

#[tokio::test]
async fn opens_another_connection_after_a_graceful_goaway() {
    let server = serve(|stream, _| {
        streams(stream, |number, respond, connection| {
            answer(respond, None);
            if number == 5 {
                connection.graceful_shutdown();
            }
        })
    })
    .await;
    let report = run(plan(server.address, Kind::Http2, 60)).await;
    all_well(&report, 60);
    let connections = count(&report, Kind::Http2).connections;
    assert!(connections.goaway >= 2, "{connections:?}");
}

#[tokio::test]
async fn sends_again_what_was_refused_unprocessed() {
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    let server = serve(|stream, _| {
        streams(stream, |number, mut respond, _| {
            // The second stream of each of the first connections.
            if number == 2 && REFUSED.fetch_add(1, Ordering::SeqCst) < 3 {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                answer(respond, None);
            }
        })
    })
    .await;
    let report = run(plan(server.address, Kind::Http2, 40)).await;
    all_well(&report, 40);
    assert_eq!(count(&report, Kind::Http2).connections.sent_again, 3);
}

#[tokio::test]
async fn what_is_refused_again_and_again_fails() {
    let server =
        serve(|stream, _| streams(stream, |_, mut respond, _| respond.send_reset(Reason::REFUSED_STREAM)))
            .await;
    let report = run(plan(server.address, Kind::Http2, 5)).await;
    all_failed(&report, Failure::GoawayUnprocessed);
}

/// Greets a client in frames made by hand.
async fn greet(stream: &mut TcpStream) {
    let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let _ = stream.read_exact(&mut [0; 24]).await;
}

/// Reads up to and including the next HEADERS frame; its stream, or `None` when the client has closed.
async fn next_stream(stream: &mut TcpStream) -> Option<u8> {
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.ok()?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if frame[3] == 1 {
            return Some(frame[8]);
        }
    }
}

#[tokio::test]
async fn streams_above_the_last_one_of_a_goaway_are_sent_again() {
    let server = serve(|mut stream, number| async move {
        if number >= 2 {
            return streams(stream, |_, respond, _| answer(respond, None)).await;
        }
        greet(&mut stream).await;
        next_stream(&mut stream).await;
        // GOAWAY that names no stream as processed.
        let _ = stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        // Open until the client has let go of it.
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let report = run(plan(server.address, Kind::Http2, 20)).await;
    all_well(&report, 20);
    let connections = count(&report, Kind::Http2).connections;
    assert!(connections.sent_again >= 2, "{connections:?}");
    assert_eq!(connections.goaway, 2, "{connections:?}");
}

#[tokio::test]
async fn a_stream_reset_otherwise_is_a_failure() {
    let server =
        serve(|stream, _| streams(stream, |_, mut respond, _| respond.send_reset(Reason::INTERNAL_ERROR)))
            .await;
    let report = run(plan(server.address, Kind::Http2, 10)).await;
    all_failed(&report, Failure::ResetBeforeAnswer);
}

#[tokio::test]
async fn a_stream_reset_in_its_answer_is_a_failure() {
    let server = serve(|mut stream, _| async move {
        greet(&mut stream).await;
        while let Some(id) = next_stream(&mut stream).await {
            // HEADERS with `:status: 200`, DATA, RST_STREAM with INTERNAL_ERROR.
            let _ = stream.write_all(&[0, 0, 1, 1, 4, 0, 0, 0, id, 0x88]).await;
            let _ = stream.write_all(&[0, 0, 4, 0, 0, 0, 0, 0, id, b'h', b'a', b'l', b'f']).await;
            let _ = stream.write_all(&[0, 0, 4, 3, 0, 0, 0, 0, id, 0, 0, 0, 2]).await;
        }
    })
    .await;
    all_failed(&run(plan(server.address, Kind::Http2, 4)).await, Failure::ResetInAnswer);
}

#[tokio::test]
async fn a_connection_cut_under_its_streams_is_a_failure() {
    let server = serve(|stream, _| async move {
        let Ok(mut connection) = handshake(stream).await else { return };
        let _first = connection.accept().await;
    })
    .await;
    let report = run(plan(server.address, Kind::Http2, 6)).await;
    assert_eq!(report.failed(), 6, "{:?}", report.failures);
    assert_eq!(report.failures.get(&Failure::GoawayUnprocessed), None);
}

#[tokio::test]
async fn grpc_calls_are_judged_by_their_trailers() {
    for (status, failure) in [("0", None), ("14", Some(Failure::GrpcStatus)), ("", Some(Failure::GrpcStatus))]
    {
        let server =
            serve(move |stream, _| streams(stream, move |_, respond, _| answer(respond, Some(status)))).await;
        let report = run(plan(server.address, Kind::Grpc, 20)).await;
        match failure {
            None => all_well(&report, 20),
            Some(failure) => all_failed(&report, failure),
        }
        assert_eq!(report.answered_by("v1"), 20);
    }
}
