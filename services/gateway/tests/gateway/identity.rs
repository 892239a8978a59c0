//! Who asks, and what services behind are told.

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::shop::{Shop, mirror, until, users, with};

#[tokio::test]
async fn a_user_is_told_to_the_services_and_nobody_else_can_say_it() {
    let (users, orders) = (users(&[]).await, mirror().await);
    let shop = Shop::open(&["--user-url", &users.url(), "--order-url", &orders.url()]).await;
    let (token, id) = shop.join("ada").await;
    let request = with(Method::POST, &token)
        .header("x-user-id", "root")
        .header("x_user_id", "root")
        .header("x-user-roles", "admin")
        .header("x-request-id", "my-own")
        .header("x-shop-release", "green")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-shop-deadline-ms", "2500")
        .header("connection", "x-secret-hop")
        .header("x-secret-hop", "1");
    let answer = shop.call(request, "/api/v1/orders?a=b", Some(json!({"sku": "MUG-0001"}))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!((&answer.body["path"], &answer.body["method"]), (&json!("/orders?a=b"), &json!("POST")));
    assert_eq!(answer.body["body"], r#"{"sku":"MUG-0001"}"#);
    assert_eq!(
        (answer.sent("x-user-id"), answer.sent("x-user-roles")),
        (vec![id.as_str()], vec!["customer"])
    );
    assert_eq!((answer.sent("x-request-id"), answer.sent("x-shop-release")), (vec!["my-own"], vec!["green"]));
    assert_eq!(answer.headers["x-request-id"], "my-own");
    assert_eq!(answer.sent("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.sent("x-shop-deadline-ms"), ["2500"]);
    assert_eq!(answer.sent("traceparent").len(), 1);
    for gone in ["x_user_id", "connection", "x-secret-hop"] {
        assert!(answer.sent(gone).is_empty(), "{gone}");
    }
    let nobody = shop.get("/api/v1/orders", "").await;
    assert_eq!(
        (nobody.code(), nobody.headers.contains_key("x-request-id")),
        ((401, "unauthenticated"), true)
    );
    assert_eq!(shop.get("/api/v1/orders", &format!("{token}x")).await.code(), (401, "unauthenticated"));
    let me = shop.get("/api/v1/me", &token).await;
    assert_eq!((me.status, me.body["id"].as_str()), (StatusCode::OK, Some(id.as_str())));
}

#[tokio::test]
async fn what_has_ended_is_noticed() {
    let (users, orders) = (users(&[]).await, mirror().await);
    let flags = ["--user-url", &users.url(), "--order-url", &orders.url(), "--allow", "127.0.0.0/8"];
    let shop = Shop::open(&flags).await;
    let (token, _) = shop.join("ada").await;
    assert_eq!(shop.get("/api/v1/orders", &token).await.status, StatusCode::OK);
    let out = shop.call(with(Method::POST, &token), "/api/v1/users/logout", None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    // It is looked for once a second; what is refused for coming too fast meanwhile is not what is waited for.
    until(async || shop.get("/api/v1/orders", &token).await.code() == (401, "unauthenticated")).await;
}

#[tokio::test]
async fn a_secret_is_verified_with_too() {
    let folder = std::env::temp_dir().join(format!("shop-gateway-{}", std::process::id()));
    std::fs::write(&folder, [3; 64]).unwrap();
    let secret = folder.to_str().unwrap();
    let (users, orders) = (users(&["--jwt-secret-file", secret]).await, mirror().await);
    let urls = ["--user-url", &users.url(), "--order-url", &orders.url()];
    let shop = Shop::open(&[&urls[..], &["--jwt-secret-file", secret]].concat()).await;
    let (token, _) = shop.join("ada").await;
    assert_eq!(shop.get("/api/v1/orders", &token).await.status, StatusCode::OK);
    let without = Shop::open(&urls).await;
    assert_eq!(without.get("/api/v1/orders", &token).await.code(), (401, "unauthenticated"));
    std::fs::remove_file(folder).unwrap();
}

/// Behind a sidecar that verifies tokens, its word is taken, and only its.
#[tokio::test]
async fn a_sidecar_may_verify_instead() {
    let orders = mirror().await;
    let flags = ["--order-url", &orders.url(), "--sidecar", "auth,limits"];
    let shop = Shop::open(&flags).await;
    let request = with(Method::GET, "").header("x-user-id", "u-1").header("x-user-roles", "ops");
    let answer = shop.call(request, "/api/v1/orders", None).await;
    assert_eq!((answer.sent("x-user-id"), answer.sent("x-user-roles")), (vec!["u-1"], vec!["ops"]));
    assert_eq!(shop.get("/api/v1/orders", "").await.code(), (401, "unauthenticated"));
    let routes = shop_gateway::routes::routes(shop_gateway::app(&crate::shop::settings(&flags)).unwrap());
    let mut request = with(Method::GET, "").header("x-user-id", "u-1").uri("/api/v1/orders");
    request.extensions_mut().unwrap().insert(shop_common::Peer([10, 0, 0, 7].into()));
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(routes.web, request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "it came past the sidecar");
}

#[tokio::test]
async fn a_websocket_goes_through() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-key: k"), "{head}");
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await.unwrap();
        stream.write_all(&echoed).await.unwrap();
    });
    let users = users(&[]).await;
    let shop = Shop::open(&["--user-url", &users.url(), "--product-url", &url]).await;
    let mut client = tokio::net::TcpStream::connect(shop.gateway.address).await.unwrap();
    let request = "GET /api/v1/prices/feed HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\nping";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nhelloping"), "{answer}");
}
