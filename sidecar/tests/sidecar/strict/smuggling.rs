//! A request inside of a body must never reach the app as a request, however the body is said to be framed.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{exchange, telling};
use crate::support::{Keys, Pod};

/// What is hidden.
const EVIL: &str = "GET /evil HTTP/1.1\r\nhost: a\r\n\r\n";

/// Ways to say "chunked"; some of them do.
fn coding() -> impl Strategy<Value = String> {
    let names = [
        "transfer-encoding",
        "Transfer-Encoding",
        "transfer-encoding ",
        " transfer-encoding",
        "transfer_encoding",
        "x\r\ntransfer-encoding",
    ];
    let values = [
        "chunked",
        "Chunked",
        " chunked",
        "chunked ",
        "\tchunked",
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "\"chunked\"",
        "chunked\x0b",
        "\x0cchunked",
        "chunked;",
        ",chunked",
        "chunked\0",
        "identity",
        "",
    ];
    let ends = ["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\r\n"];
    (
        prop::sample::select(names.to_vec()),
        prop::sample::select(values.to_vec()),
        prop::sample::select(ends.to_vec()),
    )
        .prop_map(|(name, value, end)| format!("{name}:{value}{end}"))
}

/// Ways to say how long the body is; the number is right.
fn length() -> impl Strategy<Value = String> {
    let names =
        ["content-length", "Content-Length", "content-length ", "content_length", "x\r\n content-length"];
    let values = ["@", " @", "@ ", "+@", "0@", "@, @", "@,0", "\"@\"", "@;x", "@\x0b", "-0, @"];
    (prop::sample::select(names.to_vec()), prop::sample::select(values.to_vec()))
        .prop_map(|(name, value)| format!("{name}:{value}\r\n"))
}

/// A request with a hidden one in its body, framed in one sound way and in any number of others.
fn request() -> impl Strategy<Value = String> {
    let others = prop::collection::vec(prop_oneof![coding(), length()], 0..3);
    (any::<bool>(), others, any::<prop::sample::Index>(), prop::sample::select(vec!["1", "0"])).prop_map(
        |(chunked, mut fields, at, minor)| {
            let body =
                if chunked { format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len()) } else { EVIL.to_owned() };
            let sound = if chunked { "transfer-encoding: chunked\r\n" } else { "content-length: @\r\n" };
            fields.insert(at.index(fields.len() + 1), sound.to_owned());
            let fields = fields.concat().replace('@', &body.len().to_string());
            format!("POST /outer HTTP/1.{minor}\r\nhost: a\r\n{fields}\r\n{body}")
        },
    )
}

#[test]
fn a_hidden_request_is_never_seen() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (pod, (_app, seen)) = runtime.block_on(async {
        let (app, seen) = telling().await;
        (Pod::start(7, app.port, &Keys::new()).await, (app, seen))
    });
    let last = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&(request(), any::<bool>()), |(request, in_pieces)| {
        let before = seen.load(Ordering::SeqCst);
        let bytes = [request.as_str(), last].concat();
        let piece = if in_pieces { 7 } else { usize::MAX };
        let answers = runtime.block_on(exchange(pod.sidecar.inbound, bytes.as_bytes(), piece));
        prop_assert!(!answers.contains("saw GET /evil"), "{answers}");
        // It is refused and nothing follows, or it is seen whole.
        let told = answers.matches("\nsaw ").count() + answers.matches("saw POST").count();
        if answers.contains("saw POST /outer") {
            prop_assert!(answers.contains(&format!("{EVIL}.")), "{answers}");
        } else {
            prop_assert!(answers.starts_with("HTTP/1.1 400 ") && told == 0, "{answers}");
            prop_assert_eq!(seen.load(Ordering::SeqCst), before);
        }
        Ok(())
    });
    assert!(ran.is_ok(), "{}", ran.map_or_else(|error| error.to_string(), |()| String::new()));
}
