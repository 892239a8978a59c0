//! What a sidecar tells of requests, and what it never does: the program itself, with everything on.
#![allow(clippy::indexing_slicing, reason = "a line that is malformed fails the test")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use shop_contract::{AccessLog, Otlp};

use crate::support::client::{Http1, Http2, get, once};
use crate::support::collector::Collector;
use crate::support::{Keys, Pod, TestApp, document, text};

/// The program, in front of an app.
struct Program {
    child: Child,
    inbound: SocketAddr,
    admin: SocketAddr,
    own_log: std::thread::JoinHandle<String>,
}

impl Program {
    fn start(app: u16, document: &shop_contract::Document) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("document.json");
        std::fs::write(&file, serde_json::to_vec(document).expect("json")).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop-sidecar"))
            .args(["run", "--inbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "debug"])
            .args(["--app", &format!("127.0.0.1:{app}")])
            .args([std::ffi::OsStr::new("--config"), file.as_os_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        let started = loop {
            let before = said.len();
            assert!(lines.read_line(&mut said).expect("read") > 0, "it ended: {said}");
            let line: Value = serde_json::from_str(&said[before..]).expect("a line of JSON");
            if line["message"] == "sidecar started" {
                break line;
            }
        };
        let address = |name: &str| started[name].as_str().expect("text").parse().expect("address");
        let (inbound, admin) = (address("inbound"), address("admin"));
        let own_log = std::thread::spawn(move || {
            lines.read_to_string(&mut said).expect("text");
            said
        });
        Self { child, inbound, admin, own_log }
    }

    /// Ends it in order; answers its access log and its own log.
    fn end(mut self) -> (String, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("told");
        let mut logged = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut logged).expect("text");
        assert!(self.child.wait().expect("ended").success());
        (logged, self.own_log.join().expect("read"))
    }
}

/// Every place where callers and apps write secrets.
#[tokio::test]
async fn secrets_are_never_told() {
    let app = TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let mut answer = text("hush-answer");
        answer.headers_mut().insert("set-cookie", "session=hush-set".parse().expect("value"));
        answer.headers_mut().insert("location", "/next?code=hush-location".parse().expect("value"));
        if request.uri().path().ends_with("fail") {
            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    })
    .await;
    let (keys, collector) = (Keys::new(), Collector::start(Otlp::Grpc).await);
    let mut document = document(7, app.port, &keys);
    let mut telemetry = collector.tracing(Otlp::Grpc, 10_000, 10_000);
    telemetry.access_log = Some(AccessLog { enabled: true, share: 10_000 });
    telemetry.routes = vec!["/pay/{how}".into()];
    document.telemetry = Some(telemetry);
    let program = Program::start(app.port, &document);
    let fields = "authorization: Bearer hush-bearer\r\nproxy-authorization: Basic hush-proxy\r\ncookie: id=hush-cookie\r\n\
                  x-api-key: hush-key\r\nreferer: http://shop/?token=hush-referer\r\nx-user-token: hush-own\r\n\
                  tracestate: v=hush-state\r\nbaggage: user=hush-baggage\r\nx-shop-handover: hush-handover\r\n";
    let mut caller = Http1::connect(program.inbound).await;
    for target in [
        "/pay/card?token=hush-query",
        "/pay/fail?card=hush-card",
        "http://me:hush-user@order/pay/x?k=hush-absolute",
    ] {
        let length = "hush-body".len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: order\r\n{fields}content-length: {length}\r\n\r\nhush-body"
        );
        let mut caller = Http1::connect(program.inbound).await;
        caller.write(&request).await;
        caller.answer().await;
    }
    caller.write("GET /pay/?hush-broken HTTP/1.1\r\nhost: a\r\nhost: hush-host\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 400);
    let mut http2 = Http2::connect(program.inbound).await;
    let request =
        Request::post("http://order/pay/fail?token=hush-query").header("authorization", "hush-bearer");
    http2.send(request.header("cookie", "hush-cookie").body(Full::from("hush-body")).expect("request")).await;
    drop((caller, http2));
    let (_, metrics) = get(program.admin, "/metrics").await;
    // Ending it blocks this thread, on which the collector is too.
    let spans = collector.spans(5).await;
    let (logged, own_log) = program.end();

    assert!(spans.iter().all(|(service, _)| service == "order"));
    assert_eq!(logged.lines().count(), 5, "{logged}");
    let told = [logged.clone(), own_log, String::from_utf8_lossy(&metrics).into_owned(), collector.bytes()];
    for told in told {
        let found = told.lines().find(|line| line.contains("hush"));
        assert_eq!(found, None);
    }
    // And what is told: each line leads to its span.
    for line in logged.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["revision"], &line["colour"]), (&7.into(), &"blue".into()));
        assert!(spans.iter().any(|(_, span)| {
            line["trace_id"] == crate::support::collector::hex(&span.trace_id)
                && line["span_id"] == crate::support::collector::hex(&span.span_id)
        }));
        let refused = line["status"] == 400;
        assert_eq!(line["reason"].as_str(), refused.then_some("bad-request"));
        if !refused {
            assert_eq!(line["route"].as_str(), Some("/pay/{how}"));
        }
    }
}

async fn open_metrics(pod: &Pod) -> String {
    let request = Request::get("/metrics")
        .header("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3")
        .body(Full::<Bytes>::default())
        .expect("request");
    let (status, body) = once(pod.sidecar.admin, request).await;
    assert_eq!(status, 200);
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn requests_count_by_route_and_kept_traces_are_exemplars() {
    let (app, keys) = (TestApp::saying("answer").await, Keys::new());
    let collector = Collector::start(Otlp::Http).await;
    let mut document = document(7, app.port, &keys);
    let mut telemetry = collector.tracing(Otlp::Http, 10_000, 10_000);
    telemetry.routes = vec!["/orders/{id}".into()];
    document.telemetry = Some(telemetry);
    let pod = Pod::with(document, &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for path in ["/orders/1", "/orders/2", "/orders/2/items", "/else"] {
        assert_eq!(caller.get(path).await.status, 200);
    }
    let spans = collector.spans(4).await;
    let text = pod.metrics().await;
    for line in [
        r#"shop_sidecar_route_requests_total{code_class="2xx",route="/orders/{id}"} 2"#,
        r#"shop_sidecar_route_requests_total{code_class="2xx",route="other"} 2"#,
        r#"shop_sidecar_route_duration_seconds_count{route="other"} 2"#,
        r#"shop_sidecar_spans_total{kept="rest"} 4"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(!text.contains("trace_id") && !text.contains("# EOF"));
    let open = open_metrics(&pod).await;
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE shop_sidecar_route_requests counter"));
    let exemplars: Vec<_> = open.lines().filter(|line| line.contains("# {trace_id=")).collect();
    assert!(exemplars.iter().any(|line| line.starts_with("shop_sidecar_request_duration_seconds_bucket{")));
    for line in exemplars {
        let trace = line.split("trace_id=\"").nth(1).and_then(|rest| rest.get(..32)).expect("an id");
        assert!(spans.iter().any(|(_, span)| crate::support::collector::hex(&span.trace_id) == trace));
    }
}

/// Documents may name other routes as often as they like.
#[tokio::test]
async fn there_are_only_so_many_series() {
    let (app, keys) = (TestApp::saying("answer").await, Keys::new());
    let mut pod = Pod::start(7, app.port, &keys).await;
    for round in 0..6 {
        let routes = (0..50).map(|route| format!("/r{round}/{route}")).collect();
        pod.document.telemetry = Some(shop_contract::Telemetry { routes, ..Default::default() });
        pod.document.generation += 1;
        assert_eq!(pod.push(&shop_contract::Push::Document(pod.document.clone())).await.0, 200);
    }
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.get("/r5/49").await;
    let text = pod.metrics().await;
    let series = text.lines().filter(|line| line.starts_with("shop_sidecar_route_requests_total")).count();
    assert!((500..=601).contains(&series), "{series}");
    let overflow = r#"shop_sidecar_route_requests_total{code_class="overflow",route="overflow"} 1"#;
    assert!(text.lines().any(|line| line == overflow), "{text}");
    assert!(text.contains(r#"series_overflowed_total{family="shop_sidecar_route_requests_total"}"#));
}
