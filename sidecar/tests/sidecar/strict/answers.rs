//! The app's answers, byte by byte (RFC 9112 sections 4 to 6).

use std::net::SocketAddr;

use super::exchange;
use crate::support::{Keys, Pod};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What the caller must get.
enum Required {
    /// 502, with its reason.
    Refused,
    /// An answer with all of the first and nothing of the second.
    Passed(&'static [&'static str], &'static [&'static str]),
    /// The same, but the answer breaks off: nothing may look like its end.
    BrokenOff(&'static [&'static str]),
}

use Required::{BrokenOff, Passed, Refused};

const HEADS: &[(&str, &str, Required)] = &[
    (
        "length and chunked",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", Refused),
    ("length as a list", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab", Refused),
    ("length with a plus", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", Refused),
    ("coding that is not chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab", Refused),
    (
        "coding before chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
    ("bare line feeds", "HTTP/1.1 200 OK\ncontent-length: 2\n\nab", Refused),
    ("folded line", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nab", Refused),
    ("space before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nab", Refused),
    ("zero byte in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nab", Refused),
    ("status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nab", Refused),
    ("status that is none", "HTTP/1.1 2xx OK\r\ncontent-length: 2\r\n\r\nab", Refused),
    ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", Refused),
    ("HTTP/2 in a line", "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nab", Refused),
    (
        "a change of protocol that nobody wanted",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nab",
        Refused,
    ),
    ("an end before the head's end", "HTTP/1.1 200 OK\r\ncontent-le", Refused),
    ("nothing", "", Refused),
];

const BODIES: &[(&str, &str, Required)] = &[
    (
        "plain length",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        Passed(&["HTTP/1.1 200 OK\r\n", "content-length: 2\r\n", "\r\n\r\nab"], &["transfer-encoding"]),
    ),
    (
        "bytes after the end",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        Passed(&["\r\n\r\nab"], &["evil"]),
    ),
    (
        "chunks are made anew",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;ext=1\r\na\r\n0001\r\nb\r\n0\r\n\r\n",
        Passed(&["transfer-encoding: chunked\r\n", "\r\n0\r\n\r\n"], &["ext", "0001", "content-length"]),
    ),
    (
        "until the connection ends",
        "HTTP/1.1 200 OK\r\nx: y\r\n\r\nab",
        Passed(&["x: y\r\n", "transfer-encoding: chunked\r\n", "\r\n0\r\n\r\n"], &[]),
    ),
    (
        "HTTP/1.0",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab",
        Passed(&["HTTP/1.1 200 OK\r\n", "\r\n\r\nab"], &[]),
    ),
    (
        "204 has no body",
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab",
        Passed(&["HTTP/1.1 204 No Content\r\n"], &["ab", "content-length", "transfer-encoding"]),
    ),
    (
        "304 keeps its length and has no body",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nab",
        Passed(&["HTTP/1.1 304 Not Modified\r\n"], &["ab", "transfer-encoding"]),
    ),
    (
        "interim answers come first",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
        Passed(
            &[
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nvia: 1.1 shop\r\n\r\nHTTP/1.1 200 OK\r\n",
                "\r\n\r\nab",
            ],
            &[],
        ),
    ),
    (
        "fields of one hop",
        "HTTP/1.1 200 OK\r\nconnection: x-own\r\nx-own: 1\r\nkeep-alive: 1\r\nproxy-connection: 1\r\nx-far: 1\r\ncontent-length: 2\r\n\r\nab",
        Passed(&["x-far: 1\r\n"], &["x-own", "keep-alive", "proxy-connection"]),
    ),
    (
        "an end before the length's",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        BrokenOff(&["content-length: 5\r\n"]),
    ),
    (
        "an end between chunks",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        BrokenOff(&["transfer-encoding: chunked\r\n"]),
    ),
    (
        "a chunk's size that is none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n0\r\n\r\n",
        BrokenOff(&["transfer-encoding: chunked\r\n"]),
    ),
    (
        "a chunk longer than its size",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        BrokenOff(&["transfer-encoding: chunked\r\n"]),
    ),
];

#[tokio::test]
async fn heads() {
    all(HEADS).await;
}

#[tokio::test]
async fn bodies() {
    all(BODIES).await;
}

/// An app that answers the head of each request with these bytes, in pieces, and closes.
async fn app(bytes: &'static str, piece: usize) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let address = listener.local_addr().expect("address");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("no delay");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n")
                && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0)
            {}
            for part in bytes.as_bytes().chunks(piece) {
                if stream.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    (address, AbortOnDropHandle::new(task))
}

async fn all(cases: &[(&str, &'static str, Required)]) {
    let mut wrong = Vec::new();
    for (name, answer, required) in cases {
        for piece in [usize::MAX, 1] {
            let (address, _app) = app(answer, piece).await;
            let pod = Pod::start(7, address.port(), &Keys::new()).await;
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let got = exchange(pod.sidecar.inbound, request, usize::MAX).await;
            let has = |parts: &[&str]| parts.iter().all(|part| got.contains(part));
            let fits = match required {
                Refused => got.starts_with("HTTP/1.1 502 ") && has(&["x-shop-reason: "]),
                Passed(all, none) => has(all) && !none.iter().any(|part| got.contains(part)),
                BrokenOff(all) => {
                    has(all)
                        && got.starts_with("HTTP/1.1 200 ")
                        && !got.ends_with("0\r\n\r\n")
                        && !got.contains("evil")
                }
            };
            if !fits {
                wrong.push(format!("{name} (in pieces of {piece}): {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
