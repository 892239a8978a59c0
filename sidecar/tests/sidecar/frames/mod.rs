//! HTTP/2 frame by frame: what becomes of each that breaks a rule of RFC 9113 or RFC 7541, and of many that break none.
//!
//! Frames are written by hand, and answers are read by hand: nothing here checks what it sends.

#![allow(
    clippy::wildcard_imports,
    clippy::indexing_slicing,
    reason = "the names of frames are many, and all are used; a test may panic"
)]

mod floods;
mod rules;
mod streams;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::within;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WHOLE: u8 = END_STREAM | END_HEADERS;

// Codes of errors (section 7).
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block (RFC 7541 section 6.2.2): every field as it is, in no table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer behind a prefix of 7 bits (section 5.1).
fn put_length(block: &mut Vec<u8>, length: usize) {
    if let Ok(short @ ..127) = u8::try_from(length) {
        return block.push(short);
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("a byte") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("a byte"));
}

/// A request's pseudo-fields, and others.
fn request<'a>(method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "order"), (":path", "/")];
    [&pseudo, more].concat()
}

/// A GET without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&request("GET", &[])))
}

/// A POST whose body is still to come.
fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&request("POST", more)))
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Back {
    Status(u32, u16),
    Reset(u32, u32),
    Goaway(u32),
    Data(u32, usize),
    Other(u8),
    End,
}

/// A connection of a client that knows no rules.
struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    async fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("connected");
        let mut caller = Self { stream, buffer: Vec::new() };
        caller.send(PREFACE).await;
        caller.send(&frame(SETTINGS, 0, 0, settings)).await;
        caller
    }

    /// Says whether it was taken: a server that has closed takes nothing.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// The next frame.
    async fn next(&mut self) -> Back {
        loop {
            if let Some(back) = self.take() {
                return back;
            }
            if !matches!(within(self.stream.read_buf(&mut self.buffer)).await, Ok(1..)) {
                return Back::End;
            }
        }
    }

    fn take(&mut self) -> Option<Back> {
        let head = self.buffer.get(..9)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let (length, kind, stream) = (number(&head[..3]) as usize, head[3], number(&head[5..9]));
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        Some(match kind {
            HEADERS => Back::Status(stream, status(&payload)),
            RST_STREAM => Back::Reset(stream, number(&payload)),
            GOAWAY => Back::Goaway(number(&payload[4..8])),
            DATA => Back::Data(stream, length),
            other => Back::Other(other),
        })
    }

    /// Reads until something comes that is asked for, or the connection ends.
    async fn until(&mut self, wanted: impl Fn(&Back) -> bool) -> Back {
        loop {
            let back = self.next().await;
            if wanted(&back) || back == Back::End {
                return back;
            }
        }
    }

    /// Whether the connection still serves requests.
    async fn serves(&mut self, stream: u32) -> bool {
        self.send(&get(stream)).await
            && self.until(|back| matches!(back, Back::Status(of, _) if *of == stream)).await
                == Back::Status(stream, 200)
    }
}

/// The status that a field block begins with: in the static table, or as a text (with the codes of RFC 7541 appendix B, or without).
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [_, 0x83, 0x69, 0x90, 0xff, ..] => 431,
        [_, 0x82, 0x6c, 0x01, ..] => 501,
        [_, length, text @ ..] => {
            let text = text.get(..usize::from(*length & 0x7f)).unwrap_or_default();
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
        }
        _ => 0,
    }
}
