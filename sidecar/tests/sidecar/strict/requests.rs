//! Requests, byte by byte (RFC 9112, RFC 9110 section 5.5, 7.2 and 7.6).

use std::sync::atomic::Ordering;

use super::{exchange, telling};
use crate::support::{Keys, Pod};

/// What must become of a request.
enum Required {
    /// This status, the connection closed, and no whole request seen by the app.
    Refused(u16),
    /// The app saw all of the first, and nothing of the second.
    Passed(&'static [&'static str], &'static [&'static str]),
}

use Required::{Passed, Refused};

/// Each is followed by this one, which must not be taken for a part of what came before, nor answered after a refusal.
const LAST: &str = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

const FRAMING: &[(&str, &str, Required)] = &[
    (
        "length and chunked",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "length twice, equal",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        Refused(400),
    ),
    (
        "length twice, different",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        Refused(400),
    ),
    ("length as a list", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\nx", Refused(400)),
    ("length with a plus", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx", Refused(400)),
    ("length below zero", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\nx", Refused(400)),
    ("length in hexadecimal", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\nx", Refused(400)),
    ("length of nothing", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\nx", Refused(400)),
    (
        "length beyond 64 bits",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\nx",
        Refused(400),
    ),
    (
        "coding that is not chunked",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        Refused(400),
    ),
    (
        "coding that does not end in chunked",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "coding before chunked",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked in two fields",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked with a parameter",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked after a vertical tab",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "identity",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\ncontent-length: 0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "plain length",
        "POST /p HTTP/1.1\r\nhost: a\r\nContent-Length: 3\r\n\r\nabc",
        Passed(&["saw POST /p\n", "\nabc."], &["transfer-encoding"]),
    ),
    (
        "length with a zero before",
        "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 03\r\n\r\nabc",
        Passed(&["content-length: 3\n", "\nabc."], &[]),
    ),
    (
        "plain chunks",
        "POST /p HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Passed(&["saw POST /p\n", "\nabc."], &[]),
    ),
];

const CHUNKS: &[(&str, &str, Required)] = &[
    (
        "extensions are dropped",
        "POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n",
        Passed(&["\nabc."], &[]),
    ),
    (
        "space after the size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5 ;\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "space before the size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "size with 0x",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "size below zero",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "size beyond 60 bits",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1000000000000005\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "no size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "bare line feed after the size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "line feed in an extension",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        Refused(400),
    ),
];

const LINES: &[(&str, &str, Required)] = &[
    ("bare line feeds", "GET / HTTP/1.1\nhost: a\n\n", Refused(400)),
    ("bare line feed in the head", "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", Refused(400)),
    ("bare line feed at the end", "GET / HTTP/1.1\r\nhost: a\r\n\n", Refused(400)),
    ("bare line feed before", "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("bare carriage return", "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", Refused(400)),
    ("folded line", "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", Refused(400)),
    ("folded first line", "GET / HTTP/1.1\r\n host: a\r\n\r\n", Refused(400)),
    ("space before the colon", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length : 0\r\n\r\n", Refused(400)),
    ("no colon", "GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n", Refused(400)),
    ("no name", "GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n", Refused(400)),
    ("name with a bracket", "GET / HTTP/1.1\r\nhost: a\r\nx[0]: x\r\n\r\n", Refused(400)),
    ("zero byte in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", Refused(400)),
    ("control character in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: a\x01b\r\n\r\n", Refused(400)),
    ("tab between the parts", "GET\t/\tHTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("two spaces between the parts", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("space at the end of the line", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n", Refused(400)),
    ("space before the method", " GET / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("method with a bracket", "G(T / HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("HTTP/0.9", "GET /\r\n\r\n", Refused(400)),
    ("a version that is none", "GET / HTTP/1.x\r\nhost: a\r\n\r\n", Refused(400)),
    ("HTTP in small letters", "GET / http/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("HTTP/2 in a line", "GET / HTTP/2.0\r\nhost: a\r\n\r\n", Refused(400)),
    ("target with a control character", "GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("target without a slash", "GET path HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
    ("an empty line before", "\r\nGET /p HTTP/1.1\r\nhost: a\r\n\r\n", Passed(&["saw GET /p\n"], &[])),
    (
        "values in Latin-1 and with tabs",
        "GET /p HTTP/1.1\r\nhost: a\r\nx: \tä\tb \r\n\r\n",
        Passed(&["x: ä\tb\n"], &[]),
    ),
    ("an unknown method", "PURGE /p HTTP/1.1\r\nhost: a\r\n\r\n", Passed(&["saw PURGE /p\n"], &[])),
    ("an asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Passed(&["saw OPTIONS *\n"], &[])),
    ("an asterisk for another method", "GET * HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
];

const ADDRESSED: &[(&str, &str, Required)] = &[
    ("no host", "GET / HTTP/1.1\r\n\r\n", Refused(400)),
    ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", Refused(400)),
    ("the same host twice", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Refused(400)),
    ("host with a space", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n", Refused(400)),
    ("host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Refused(400)),
    ("host with a user", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Refused(400)),
    ("hosts in a list", "GET / HTTP/1.1\r\nhost: a,b\r\n\r\n", Refused(400)),
    ("host with a port that is none", "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", Refused(400)),
    (
        "the line wins over the field",
        "GET http://b:80/p HTTP/1.1\r\nhost: a\r\n\r\n",
        Passed(&["saw GET /p\n", "host: b:80\n"], &["host: a\n"]),
    ),
    ("a line with a user", "GET http://u@b/p HTTP/1.1\r\nhost: b\r\n\r\n", Refused(400)),
    ("a line for another scheme", "GET ftp://b/p HTTP/1.1\r\nhost: b\r\n\r\n", Refused(400)),
    ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", Refused(501)),
    ("an address as host", "GET /p HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", Passed(&["host: [::1]:80\n"], &[])),
    (
        "fields of one hop",
        "GET /p HTTP/1.1\r\nhost: a\r\nconnection: x-own, keep-alive\r\nx-own: 1\r\nkeep-alive: 1\r\nproxy-connection: 1\r\nte: gzip\r\nx-far: 1\r\n\r\n",
        Passed(&["x-far: 1\n"], &["x-own", "\nkeep-alive", "proxy-connection", "\nte:"]),
    ),
    (
        "nobody says for the sidecar who sent it",
        "GET /p HTTP/1.1\r\nhost: a\r\nconnection: x-forwarded-for\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-forwarded-ssl: on\r\n\r\n",
        Passed(&["x-forwarded-for: 127.0.0.1\n"], &["6.6.6.6", "ssl"]),
    ),
    (
        "the way grows",
        "GET /p HTTP/1.1\r\nhost: a\r\nvia: 1.0 other\r\n\r\n",
        Passed(&["via: 1.0 other\nvia: 1.1 shop\n"], &[]),
    ),
    (
        "one hop less",
        "OPTIONS /p HTTP/1.1\r\nhost: a\r\nmax-forwards: 5\r\n\r\n",
        Passed(&["max-forwards: 4\n"], &[]),
    ),
    (
        "hops of other methods",
        "GET /p HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n",
        Passed(&["max-forwards: 0\n"], &[]),
    ),
    (
        "Host is not of one hop",
        "GET /p HTTP/1.1\r\nhost: a\r\nconnection: host, content-length\r\ncontent-length: 1\r\n\r\nx",
        Passed(&["host: a\n", "\nx."], &[]),
    ),
    (
        "h2c is not changed to",
        "GET /p HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        Passed(&["saw GET /p\n"], &["upgrade", "http2-settings"]),
    ),
];

#[tokio::test]
async fn framing() {
    all(FRAMING).await;
}

#[tokio::test]
async fn chunks() {
    all(CHUNKS).await;
}

#[tokio::test]
async fn lines() {
    all(LINES).await;
}

#[tokio::test]
async fn addressed() {
    all(ADDRESSED).await;
}

#[tokio::test]
async fn the_last_hop_answers_itself() {
    let (app, seen) = telling().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    for (method, value, status) in
        [("OPTIONS", "0", "200"), ("TRACE", "0", "405"), ("TRACE", "1, 2", "400"), ("OPTIONS", "x", "400")]
    {
        let request =
            format!("{method} / HTTP/1.1\r\nhost: a\r\nmax-forwards: {value}\r\nconnection: close\r\n\r\n");
        let answer = exchange(pod.sidecar.inbound, request.as_bytes(), usize::MAX).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains("x-shop-reason: "),
            "{answer}"
        );
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let (app, seen) = telling().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    for fields in ["x: y\r\n".repeat(100), format!("x: {}\r\n", "y".repeat(40_000))] {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let answer = exchange(pod.sidecar.inbound, request.as_bytes(), usize::MAX).await;
        assert!(
            answer.starts_with("HTTP/1.1 431 ") && answer.contains("x-shop-reason: head-too-large\r\n"),
            "{answer}"
        );
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

/// Every case by itself and after a good request, in one piece and byte by byte.
async fn all(cases: &[(&str, &str, Required)]) {
    let (app, seen) = telling().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut wrong = Vec::new();
    for (name, request, required) in cases {
        for (before, piece) in
            [("", usize::MAX), ("", 1), ("GET /first HTTP/1.1\r\nhost: a\r\n\r\n", usize::MAX)]
        {
            let bytes = [before, request, LAST].concat();
            let saw_before = seen.load(Ordering::SeqCst);
            let answers = exchange(pod.sidecar.inbound, bytes.as_bytes(), piece).await;
            let saw = seen.load(Ordering::SeqCst) - saw_before;
            let first = usize::from(!before.is_empty());
            let fits = match required {
                Refused(status) => {
                    let last =
                        answers.rfind("HTTP/1.1 ").and_then(|at| answers.get(at..)).unwrap_or_default();
                    last.starts_with(&format!("HTTP/1.1 {status} "))
                        && ["connection: close\r\n", "x-shop-reason: "].iter().all(|part| last.contains(part))
                        && answers.matches("HTTP/1.1 ").count() == first + 1
                        && saw == first
                }
                Passed(all, none) => {
                    let answer = answers.split("HTTP/1.1 200 OK").nth(first + 1).unwrap_or_default();
                    all.iter().all(|part| answer.contains(part))
                        && !none.iter().any(|part| answer.contains(part))
                        && answers.contains("saw GET /last\n")
                        && saw == first + 2
                }
            };
            if !fits {
                wrong.push(format!(
                    "{name} (in pieces of {piece}, after {before:?}): the app saw {saw}: {answers}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
