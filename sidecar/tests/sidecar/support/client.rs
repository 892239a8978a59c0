//! Callers of a sidecar.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// One request on a connection of its own.
pub async fn once(address: SocketAddr, mut request: Request<Full<Bytes>>) -> (u16, Bytes) {
    request.headers_mut().insert("host", "order".parse().expect("header"));
    within(async {
        let stream = TcpStream::connect(address).await.expect("connected");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("answer");
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.expect("body").to_bytes())
    })
    .await
}

pub async fn get(address: SocketAddr, path: &str) -> (u16, Bytes) {
    once(address, Request::get(path).body(Full::default()).expect("request")).await
}

/// A kept-alive HTTP/1.1 connection, byte by byte.
pub struct Http1 {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: within(TcpStream::connect(address)).await.expect("connected"), buffer: Vec::new() }
    }

    /// Breaks the connection, as a client that has gone for good.
    pub fn vanish(self) {
        self.stream.set_zero_linger().expect("set");
    }

    pub async fn write(&mut self, bytes: &str) {
        within(self.stream.write_all(bytes.as_bytes())).await.expect("written");
    }

    /// Bytes up to and with a mark.
    pub async fn read_until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let found = self.buffer.drain(..at + mark.len()).collect();
                return String::from_utf8(found).expect("text");
            }
            let read = within(self.stream.read_buf(&mut self.buffer)).await.expect("read");
            assert!(
                read > 0,
                "connection ended before {mark:?}: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// Whether the connection ends without another byte.
    pub async fn ends(&mut self) -> bool {
        self.buffer.is_empty()
            && matches!(within(self.stream.read_buf(&mut self.buffer)).await, Ok(0) | Err(_))
    }

    /// An answer with `content-length`, or none.
    pub async fn answer(&mut self) -> Answer {
        let head = self.read_until("\r\n\r\n").await;
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .expect("status");
        let headers: HeaderMap = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| {
                (name.parse::<http::HeaderName>().expect("name"), value.parse().expect("value"))
            })
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |value| value.to_str().expect("text").parse().expect("number"));
        while self.buffer.len() < length {
            assert!(within(self.stream.read_buf(&mut self.buffer)).await.expect("read") > 0);
        }
        let body = String::from_utf8(self.buffer.drain(..length).collect()).expect("text");
        Answer { status, headers, body }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n\r\n")).await;
        self.answer().await
    }
}

/// An HTTP/2 connection.
pub struct Http2<B> {
    pub sender: http2::SendRequest<B>,
    pub connection: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl<B> Http2<B>
where
    B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("connected");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = within(handshake).await.expect("handshake");
        Self { sender, connection: tokio::spawn(connection) }
    }

    pub async fn send(&mut self, request: Request<B>) -> Response<Incoming> {
        within(self.sender.send_request(request)).await.expect("answer")
    }
}

impl Http2<Empty<Bytes>> {
    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://order{path}")).body(Empty::new()).expect("request");
        let response = self.send(request).await;
        let status = response.status().as_u16();
        let body = within(response.into_body().collect()).await.expect("body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }
}
