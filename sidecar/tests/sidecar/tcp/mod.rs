//! Services whose protocol is tcp: bytes, from sockets to sockets.

mod bytes;
mod hand_off;

use std::net::SocketAddr;
use std::sync::Arc;

use shop_contract::{Document, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Keys, Pod, document, within};

/// An app that does this with each of its connections.
struct App {
    port: u16,
    _task: AbortOnDropHandle<()>,
}

impl App {
    async fn serve<F: Future<Output = ()> + Send + 'static>(
        each: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let port = listener.local_addr().expect("address").port();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                tokio::spawn(each(stream));
            }
        });
        Self { port, _task: AbortOnDropHandle::new(task) }
    }

    /// Says this first, then what it hears.
    async fn greeting(word: &'static str) -> Self {
        Self::serve(move |mut stream| async move {
            let _ = stream.write_all(word.as_bytes()).await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await
    }

    /// Says its name after what it has heard, which begins.
    async fn answering(name: &'static str) -> Self {
        Self::serve(move |mut stream| async move {
            let mut heard = [0; 100];
            while let Ok(length @ 1..) = stream.read(&mut heard).await {
                let heard = String::from_utf8_lossy(heard.get(..length).unwrap_or_default()).into_owned();
                let _ = stream.write_all(format!("{heard}, says {name}").as_bytes()).await;
            }
        })
        .await
    }
}

fn tcp(revision: i64, port: u16, keys: &Arc<Keys>) -> Document {
    let mut document = document(revision, port, keys);
    document.app.protocol = Protocol::Tcp;
    document
}

async fn pod(revision: i64, port: u16) -> Pod {
    let keys = Keys::new();
    Pod::with(tcp(revision, port, &keys), &keys).await
}

async fn connect(address: SocketAddr) -> TcpStream {
    within(TcpStream::connect(address)).await.expect("connected")
}

async fn say(stream: &mut TcpStream, words: &str) {
    within(stream.write_all(words.as_bytes())).await.expect("written");
}

/// Hears exactly this.
async fn hears(stream: &mut TcpStream, words: &str) {
    let mut heard = vec![0; words.len()];
    within(stream.read_exact(&mut heard)).await.expect("heard");
    assert_eq!(String::from_utf8(heard).expect("text"), words);
}

/// Whether the connection ends in order, without another byte.
async fn ends(stream: &mut TcpStream) -> bool {
    matches!(within(stream.read(&mut [0])).await, Ok(0))
}

/// Whether the connection is broken, without another byte.
async fn breaks(stream: &mut TcpStream) -> bool {
    within(stream.read(&mut [0])).await.is_err()
}
