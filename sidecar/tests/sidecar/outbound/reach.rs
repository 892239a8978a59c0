//! Which hosts are dependencies, how they are called, and what is passed straight through.

use http::{Request, Response, StatusCode};
use shop_contract::{Dependency, Push};

use super::pods::{Dns, FakePod, Seen, says};
use super::{caller, caller_of, free_port, get, knows, outbound, reason, request};
use crate::support::client::{Http1, Http2};
use crate::support::{AnyBody, TestApp, text, within};

/// Answers with what it was asked.
async fn echo(seen: Seen) -> Response<AnyBody> {
    let field = |name: &str| {
        let value = seen.head.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        value
            .or_else(|| seen.head.uri.host().map(str::to_owned).filter(|_| name == "host"))
            .unwrap_or_default()
    };
    let mut answer = says(format!("{} {} {}", seen.head.uri.path(), field("host"), field("x-from-app")));
    for name in ["x-request-id", "x-shop-deadline-ms", "x-shop-release", "connection"] {
        answer.headers_mut().insert(name, field(name).parse().expect("value"));
    }
    answer.headers_mut().remove("connection");
    answer.headers_mut().insert("x-version", format!("{:?}", seen.head.version).parse().expect("value"));
    answer
}

#[tokio::test]
async fn a_dependency_has_many_names_and_two_doors() {
    let (dns, pod) = (Dns::start().await, FakePod::start(echo).await);
    dns.pods("inventory", &[&pod]);
    let port = free_port();
    let local = Dependency { local_port: Some(port), ..Dependency::new("inventory") };
    let app = caller(&dns, vec![local]).await;
    for host in ["inventory", "inventory:80", "inventory.shop", "inventory.shop.svc.cluster.local:8080"] {
        let answer = get(&app, host, "/a", "x-from-app: 1\r\n").await;
        assert_eq!((answer.status, answer.body), (200, format!("/a {host} 1")));
        assert_eq!(answer.headers["x-request-id"].len(), 32, "made where it is missing");
        assert!(
            answer.headers["x-shop-deadline-ms"].to_str().expect("text").parse::<u64>().expect("ms")
                <= 15_000
        );
    }
    // As a client with HTTP_PROXY asks.
    let mut client = Http1::connect(outbound(&app)).await;
    client.write("GET http://inventory/b?c=d HTTP/1.1\r\nhost: inventory\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "/b inventory ");
    // On the same connection another one, by the port of its own.
    let mut client = Http1::connect(([127, 0, 0, 1], port).into()).await;
    client.write("GET /e HTTP/1.1\r\nhost: 127.0.0.1:7001\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "/e inventory ");
    // HTTP/2 stays HTTP/2.
    let mut client = Http2::connect(outbound(&app)).await;
    let response = client.send(request("GET", "http://inventory.shop/f")).await;
    assert_eq!(
        (response.status(), &response.headers()["x-version"]),
        (StatusCode::OK, &"HTTP/2.0".parse().expect("v"))
    );
    // Of gRPC it is told in the way of gRPC.
    drop(pod);
    let mut call = request("POST", "http://inventory/shop.Inventory/Get");
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("value"));
    let response = client.send(call).await;
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().expect("v"))
    );
    assert_eq!(response.headers()["x-shop-reason"], "dependency-unreachable");
    let stats = app.stats().await;
    let calls = stats.dependencies.first().expect("one");
    assert_eq!((calls.name.as_str(), calls.calls >= 6, calls.failures), ("inventory", true, 1));
}

#[tokio::test]
async fn other_hosts_pass_straight_through() {
    let (dns, other) = (Dns::start().await, FakePod::at(super::pods::address(), 0, echo).await);
    dns.set("elsewhere.example", &[other.ip]);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    let host = format!("elsewhere.example:{}", other.port);
    let answer = get(&app, &host, "/x", "").await;
    assert_eq!((answer.status, answer.body), (200, format!("/x {host} ")));
    assert_eq!(answer.headers["x-request-id"], "", "nothing is added");
    let host = format!("{}:{}", other.ip, other.port);
    assert_eq!(get(&app, &host, "/y", "").await.body, format!("/y {host} "));
    // By CONNECT, as for TLS.
    let mut client = Http1::connect(outbound(&app)).await;
    client.write(&format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.get("/z").await.body, "/z order ");
    // Nobody is there; nobody knows it; and the way back to this very port.
    let nobody = get(&app, "127.0.0.1:1", "/", "").await;
    assert_eq!((nobody.status, reason(&nobody)), (503, "dependency-unreachable"));
    assert_eq!(reason(&get(&app, "nowhere.example", "/", "").await), "dependency-unreachable");
    let here = outbound(&app).to_string();
    assert_eq!(reason(&get(&app, &here, "/", "").await), "bad-request");
}

#[tokio::test]
async fn a_host_outside_is_called_by_its_own_name() {
    let (dns, outside) = (Dns::start().await, FakePod::at(super::pods::address(), 0, echo).await);
    dns.set("pay.example.com", &[outside.ip]);
    let host = format!("pay.example.com:{}", outside.port);
    let fakepay = Dependency { host: Some(host.clone()), ..Dependency::new("fakepay") };
    let app = caller(&dns, vec![fakepay]).await;
    for name in ["fakepay", host.as_str()] {
        let answer = get(&app, name, "/pay", "").await;
        assert_eq!((answer.status, answer.body), (200, format!("/pay {host} ")));
        assert_eq!(answer.headers["x-shop-deadline-ms"], "", "nobody there would know it");
    }
    assert_eq!(app.stats().await.dependencies[0].calls, 2);
}

#[tokio::test]
async fn a_call_has_what_its_request_has() {
    let (dns, pod) = (Dns::start().await, FakePod::start(echo).await);
    dns.pods("inventory", &[&pod]);
    // The app calls its dependency with the trace of the request, and nothing else of it.
    let door: std::sync::Arc<std::sync::OnceLock<std::net::SocketAddr>> = std::sync::Arc::default();
    let known = std::sync::Arc::clone(&door);
    let order = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let door = *known.get().expect("known");
        async move {
            let trace = request.headers()["traceparent"].to_str().expect("text").to_owned();
            let mut client = Http1::connect(door).await;
            client.write(&format!("GET / HTTP/1.1\r\nhost: inventory\r\ntraceparent: {trace}\r\n\r\n")).await;
            let answer = client.answer().await;
            let field = |name: &str| answer.headers[name].to_str().expect("text").to_owned();
            text(format!(
                "{} {} {}",
                field("x-request-id"),
                field("x-shop-release"),
                field("x-shop-deadline-ms")
            ))
        }
    })
    .await;
    let app = caller_of(&dns, order.port, vec![Dependency::new("inventory")]).await;
    door.set(outbound(&app)).expect("once");
    let mut user = Http1::connect(app.sidecar.inbound).await;
    user.write(
        "GET / HTTP/1.1\r\nhost: order\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
         x-request-id: r-1\r\nx-shop-release: green\r\nx-shop-deadline-ms: 5000\r\n\r\n",
    )
    .await;
    let answer = user.answer().await;
    let mut words = answer.body.split(' ');
    assert_eq!((words.next(), words.next()), (Some("r-1"), Some("green")));
    let left: u64 = words.next().expect("deadline").parse().expect("ms");
    assert!(left <= 5_000, "{left}");
}

#[tokio::test]
async fn a_websocket_goes_through() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dns = Dns::start().await;
    let ip = super::pods::address();
    let listener = tokio::net::TcpListener::bind((ip, 9_440)).await.expect("listening");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut head = [0; 4_096];
        let length = stream.read(&mut head).await.expect("read");
        assert!(String::from_utf8_lossy(&head[..length]).contains("upgrade: websocket"));
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst";
        stream.write_all(answer.as_bytes()).await.expect("written");
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.expect("read");
        stream.write_all(&word).await.expect("written");
    });
    dns.set("inventory-pods.shop.svc", &[ip]);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    let mut client = Http1::connect(outbound(&app)).await;
    client
        .write("GET / HTTP/1.1\r\nhost: inventory\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    client.read_until("first").await;
    client.write("ping").await;
    client.read_until("ping").await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn calls_go_on_in_the_drain_and_rules_change_live() {
    let (dns, pod) = (Dns::start().await, FakePod::start(echo).await);
    dns.pods("inventory", &[&pod]);
    let port = free_port();
    let mut app =
        caller(&dns, vec![Dependency { local_port: Some(port), ..Dependency::new("inventory") }]).await;
    let mut client = Http1::connect(([127, 0, 0, 1], port).into()).await;
    assert_eq!(client.get("/a").await.status, 200);
    // Other rules, another dependency: what is open stays open.
    app.document.depends_on[0].timeout_ms = 700;
    app.document.depends_on.push(Dependency::new("payment"));
    app.document.generation += 1;
    assert_eq!(app.push(&Push::Document(app.document.clone())).await.0, 200);
    let left = client.get("/b").await.headers["x-shop-deadline-ms"].to_str().expect("text").parse::<u64>();
    assert!(left.expect("ms") <= 700);
    app.sidecar.drain.begin();
    assert_eq!(client.get("/c").await.status, 200);
    assert_eq!(get(&app, "inventory", "/d", "").await.status, 200);
    // Without dependencies nothing is open.
    app.document.depends_on.clear();
    app.document.generation += 1;
    assert_eq!(app.push(&Push::Document(app.document.clone())).await.0, 200);
    within(async {
        while app.sidecar.outbound().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn pods_come_and_go_with_dns_and_the_last_good_ones_are_kept() {
    let (dns, first) = (Dns::start().await, FakePod::start(|_| async { says("first") }).await);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    assert_eq!(reason(&get(&app, "inventory", "/", "").await), "dependency-unreachable");
    dns.pods("inventory", &[&first]);
    knows(&app, "inventory", 1).await;
    assert_eq!(get(&app, "inventory", "/", "").await.body, "first");
    let second = FakePod::start(|_| async { says("second") }).await;
    dns.pods("inventory", &[&first, &second]);
    knows(&app, "inventory", 2).await;
    drop(first);
    for _ in 0..10 {
        assert_eq!(get(&app, "inventory", "/", "").await.body, "second");
    }
    dns.set("inventory-pods.shop.svc", &[]);
    let asked = get(&app, "nowhere.example", "/", "").await;
    assert_eq!(reason(&asked), "dependency-unreachable", "DNS says that there is nothing");
    assert_eq!(get(&app, "inventory", "/", "").await.body, "second");
}
