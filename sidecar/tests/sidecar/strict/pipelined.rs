//! What the sidecar takes for requests is what was meant by them: any number on one connection, framed in any sound way, in any
//! pieces. The app behind it has a parser of its own, and must have seen the same ones.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{exchange, telling};
use crate::support::{Keys, Pod};

/// How a body is framed.
#[derive(Clone, Debug)]
enum Framed {
    Nothing,
    Length,
    /// In chunks of these sizes, with an extension, and a trailer at the end.
    Chunks(Vec<usize>, bool, bool),
}

/// A body that looks like requests, and its frame.
fn request() -> impl Strategy<Value = (String, Framed)> {
    let pieces = [
        "GET /evil HTTP/1.1\r\nhost: a\r\n\r\n",
        "0\r\n\r\n",
        "\r\n",
        "x",
        "5\r\nhello\r\n",
        "content-length: 3\r\n\r\n",
    ];
    let body =
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..6).prop_map(|pieces| pieces.concat());
    let framed = prop_oneof![
        Just(Framed::Nothing),
        Just(Framed::Length),
        (prop::collection::vec(1_usize..20, 1..8), any::<bool>(), any::<bool>())
            .prop_map(|(sizes, extended, trailed)| Framed::Chunks(sizes, extended, trailed)),
    ];
    (body, framed)
}

/// The bytes of one, and the body that it has.
fn written(number: usize, body: &str, framed: &Framed) -> (String, String) {
    let head = format!("POST /{number} HTTP/1.1\r\nhost: a\r\n");
    match framed {
        Framed::Nothing => (format!("{head}\r\n"), String::new()),
        Framed::Length => (format!("{head}content-length: {}\r\n\r\n{body}", body.len()), body.to_owned()),
        Framed::Chunks(sizes, extended, trailed) => {
            let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n");
            let (mut rest, mut sizes) = (body, sizes.iter().cycle());
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at(sizes.next().map_or(1, |size| (*size).min(rest.len())));
                let extension = if *extended { ";a=\"b\"" } else { "" };
                write!(bytes, "{:x}{extension}\r\n{chunk}\r\n", chunk.len()).expect("written");
                rest = later;
            }
            bytes.push_str(if *trailed { "0\r\nx-sum: 1\r\n\r\n" } else { "0\r\n\r\n" });
            (bytes, body.to_owned())
        }
    }
}

#[test]
fn requests_are_seen_as_they_were_meant() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (pod, _app) = runtime.block_on(async {
        let (app, _) = telling().await;
        (Pod::start(7, app.port, &Keys::new()).await, app)
    });
    let pieces = prop::sample::select(vec![1, 2, 3, 5, 7, 61, 1_000, usize::MAX]);
    let all = (prop::collection::vec(request(), 1..6), pieces);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&all, |(requests, piece)| {
        let mut bytes = String::new();
        let mut bodies = Vec::new();
        for (number, (body, framed)) in requests.iter().enumerate() {
            let (written, body) = written(number, body, framed);
            bytes.push_str(&written);
            bodies.push(body);
        }
        bytes.push_str("GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answers = runtime.block_on(exchange(pod.sidecar.inbound, bytes.as_bytes(), piece));
        let mut rest = answers.as_str();
        for (number, body) in bodies.iter().enumerate() {
            let begins = format!("saw POST /{number}\n");
            let at = rest.find(&begins);
            prop_assert!(at.is_some(), "{begins} in {answers}");
            rest = rest.get(at.unwrap_or_default() + begins.len()..).unwrap_or_default();
            let told = rest.split_once("\n\n").map(|(_, told)| told).unwrap_or_default();
            prop_assert!(told.starts_with(&format!("{body}.")), "{number}: {body:?} in {answers}");
            rest = told.get(body.len()..).unwrap_or_default();
        }
        prop_assert!(rest.contains("saw GET /last\n"), "{answers}");
        prop_assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), bodies.len() + 1);
        Ok(())
    });
    assert!(ran.is_ok(), "{}", ran.map_or_else(|error| error.to_string(), |()| String::new()));
}
