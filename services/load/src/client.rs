//! A client for HTTP/1.1 that costs little: one connection, one request at a time, and of an answer only what is counted.

use std::io::{Error, ErrorKind, Result, Write as _};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_FIELDS: usize = 32;

/// One connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What is counted of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The order that it acknowledges.
    pub order: Option<i64>,
}

/// Writes the request for a new order of one piece into `text`, in place of what was there.
pub fn post_order(text: &mut Vec<u8>, user: &str, key: &str, sku: &str) {
    const BODY: usize = r#"{"lines":[{"sku":"","quantity":1}]}"#.len();
    text.clear();
    let length = BODY + sku.len();
    // Writing to memory cannot fail.
    let _ = write!(
        text,
        "POST /orders HTTP/1.1\r\nhost: shop\r\nx-user-id: {user}\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n\
         {{\"lines\":[{{\"sku\":\"{sku}\",\"quantity\":1}}]}}"
    );
}

impl Connection {
    /// Opens one.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer whole.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    "the connection was closed before the answer",
                ));
            }
            if let Some(answer) = read(&self.buffer)? {
                return Ok(answer);
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(Error::new(ErrorKind::InvalidData, "the answer is too long"));
            }
        }
    }
}

/// The answer in `bytes`, once it is whole.
fn read(bytes: &[u8]) -> Result<Option<Answer>> {
    let bad = |said: &str| Error::new(ErrorKind::InvalidData, said.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|error| bad(&error.to_string()))?
    else {
        return Ok(None);
    };
    let named = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let body: usize = named("content-length")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| bad("the answer has no content-length"))?;
    if bytes.len() < length + body {
        return Ok(None);
    }
    let order =
        named("location").and_then(|place| place.strip_prefix("/orders/")).and_then(|id| id.parse().ok());
    Ok(Some(Answer { status: head.code.unwrap_or_default(), order }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let mut text = Vec::new();
        post_order(&mut text, "u-1", "k", "MUG-0001");
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
        assert_eq!(body, r#"{"lines":[{"sku":"MUG-0001","quantity":1}]}"#);
    }

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        let answer = b"HTTP/1.1 201 Created\r\nlocation: /orders/77\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..answer.len() {
            assert_eq!(read(&answer[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(read(answer).unwrap(), Some(Answer { status: 201, order: Some(77) }));
        assert!(read(b"nonsense\r\n\r\n").is_err());
    }
}
