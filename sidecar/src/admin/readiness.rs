//! Asks the app whether it is ready, each time the kubelet asks the sidecar.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_contract::{App, Protocol};
use tokio::net::TcpStream;

/// Whether the app answers its readiness check in time. Redirects count as ready and are not followed, as the kubelet has it.
pub(super) async fn check(app: &App) -> bool {
    let timeout = Duration::from_millis(app.readiness.timeout_ms);
    tokio::time::timeout(timeout, is_ready(app)).await.ok().flatten().unwrap_or(false)
}

/// `None`: no answer.
async fn is_ready(app: &App) -> Option<bool> {
    // A connection of its own, so that an app which takes no new ones is found out.
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, app.port)).await.ok()?;
    let Some(path) = &app.readiness.path else { return Some(true) };
    let request = Request::get(target(app, path)).header(header::USER_AGENT, "shop-sidecar");
    let stream = TokioIo::new(stream);
    let status = match app.protocol {
        Protocol::Http => {
            let request = request.header(header::HOST, "localhost").header(header::CONNECTION, "close");
            let request = request.body(Empty::<Bytes>::new()).ok()?;
            let (mut sender, connection) =
                http1::Builder::new().max_buf_size(16 * 1024).handshake(stream).await.ok()?;
            drive(connection, sender.send_request(request)).await?.status()
        }
        Protocol::Grpc => {
            let request = request.body(Empty::<Bytes>::new()).ok()?;
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
            drive(connection, sender.send_request(request)).await?.status()
        }
        // It takes connections, and knows no paths.
        Protocol::Tcp => return Some(true),
    };
    // The body is not read: the connection ends here.
    Some((200..400).contains(&status.as_u16()))
}

fn target(app: &App, path: &str) -> String {
    match app.protocol {
        Protocol::Http | Protocol::Tcp => path.to_owned(),
        Protocol::Grpc => format!("http://localhost:{}{path}", app.port),
    }
}

/// Drives a connection until its one answer is there.
async fn drive<C, A, T>(connection: C, answer: A) -> Option<T>
where
    C: Future<Output = hyper::Result<()>>,
    A: Future<Output = hyper::Result<T>>,
{
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer.ok(),
        // A connection that has ended may have left the answer behind.
        _ = &mut connection => answer.await.ok(),
    }
}
