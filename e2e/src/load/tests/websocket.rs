//! WebSocket servers.

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::*;

async fn accept(stream: TcpStream) -> Option<WebSocketStream<TcpStream>> {
    // The signature is tungstenite's.
    #[allow(clippy::result_large_err, clippy::unnecessary_wraps)]
    fn name_version(_: &Request, mut answer: Response) -> Result<Response, ErrorResponse> {
        answer.headers_mut().insert(VERSION_HEADER, "v1".parse().unwrap());
        Ok(answer)
    }
    accept_hdr_async(stream, name_version).await.ok()
}

/// Sends back so many texts, with one of its own before each.
async fn echo(socket: &mut WebSocketStream<TcpStream>, texts: usize) {
    let mut echoed = 0;
    while echoed < texts {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let _ = socket.send(Message::text(r#"{"version":"v1"}"#)).await;
                let _ = socket.send(Message::Text(text)).await;
                echoed += 1;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

#[tokio::test]
async fn counts_echoes_on_long_lived_sockets() {
    let server = serve(|stream, _| async move {
        let Some(mut socket) = accept(stream).await else { return };
        echo(&mut socket, usize::MAX).await;
    })
    .await;
    let report = run(plan(server.address, Kind::WebSocket, 40)).await;
    all_well(&report, 40);
    assert_eq!(count(&report, Kind::WebSocket).connections.opened, 2);
    assert_eq!(report.answered_by("v1"), 40);
    assert!(report.samples.iter().all(|sample| sample.begun <= sample.sent));
}

#[tokio::test]
async fn a_restart_is_no_failure() {
    let server = serve(|stream, _| async move {
        let Some(mut socket) = accept(stream).await else { return };
        echo(&mut socket, 5).await;
        let restart = CloseFrame { code: CloseCode::Restart, reason: "drain".into() };
        let _ = socket.close(Some(restart)).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let report = run(plan(server.address, Kind::WebSocket, 40)).await;
    all_well(&report, 40);
    let connections = count(&report, Kind::WebSocket).connections;
    assert!(connections.closed_1012 >= 6, "{connections:?}");
}

#[tokio::test]
async fn any_other_end_is_a_failure() {
    for code in [None, Some(CloseCode::Normal), Some(CloseCode::Away)] {
        let server = serve(move |stream, _| {
            let code = code;
            async move {
                let Some(mut socket) = accept(stream).await else { return };
                echo(&mut socket, 3).await;
                if let Some(code) = code {
                    let _ = socket.close(Some(CloseFrame { code, reason: "".into() })).await;
                    while let Some(Ok(_)) = socket.next().await {}
                }
            }
        })
        .await;
        let report = run(plan(server.address, Kind::WebSocket, 30)).await;
        assert!(report.failures.get(&Failure::WsCut).is_some_and(|cut| *cut >= 2), "{:?}", report.failures);
    }
}

#[tokio::test]
async fn a_refused_handshake_is_a_failure() {
    let server = serve(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    all_failed(&run(plan(server.address, Kind::WebSocket, 6)).await, Failure::Status5xx);
}
