//! The front by itself: requests in, answers out, no socket.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::*;
use crate::faults::Fault;

fn front(faults: &[Fault]) -> (Front, Stop) {
    let stop = Stop::new();
    let context = Context { version: "v7".into(), revision: Some("order-r7".into()), stop: stop.clone() };
    let routes = Routes { web: Router::new().route("/thing", get(async || "thing")), ..Routes::default() };
    (Front::new(&context, Faults::new(faults), routes).unwrap(), stop)
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

async fn get_status(front: &Front, path: &str) -> u16 {
    front.answer(request(Method::GET, path)).await.status().as_u16()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn every_answer_names_the_version() {
    let (front, _) = front(&[]);
    for (path, status) in
        [("/thing", 200), ("/healthz", 200), ("/readyz", 200), ("/version", 200), ("/nothing", 404)]
    {
        let response = front.answer(request(Method::GET, path)).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["x-shop-version"], "v7", "{path}");
        assert!(!response.headers().contains_key(header::CONNECTION));
    }
    let answer = json(front.answer(request(Method::GET, "/version")).await).await;
    assert_eq!(answer, json!({"version": "v7", "revision": "order-r7"}));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (front, _) = front(&[]);
    let missing = json(front.answer(request(Method::GET, "/faults/error")).await).await;
    assert_eq!(missing["code"], "route-not-found", "not switchable: no such path");
    let refused = front.answer(request(Method::POST, "/thing")).await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers()[header::ALLOW], "GET,HEAD");
    assert_eq!(json(refused).await["code"], "method-not-allowed");
}

#[tokio::test]
async fn withheld_readiness_touches_nothing_else() {
    let (front, _) = front(&[Fault::NotReady]);
    let response = front.answer(request(Method::GET, "/readyz")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(response).await["code"], "not-ready");
    assert_eq!(get_status(&front, "/healthz").await, 200);
    assert_eq!(get_status(&front, "/thing").await, 200);
}

#[tokio::test]
async fn errors_touch_the_api_and_never_health() {
    let (front, _) = front(&[Fault::ErrorRate(1.0)]);
    assert_eq!(get_status(&front, "/thing").await, 500);
    assert_eq!(get_status(&front, "/version").await, 500);
    assert_eq!(get_status(&front, "/healthz").await, 200);
    assert_eq!(get_status(&front, "/readyz").await, 200);
    let mut call = request(Method::POST, "/a.B/C");
    call.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let failed = front.answer(call).await;
    assert_eq!(
        (failed.status().as_u16(), &failed.headers()["grpc-status"]),
        (200, &HeaderValue::from_static("13"))
    );
}

#[tokio::test(start_paused = true)]
async fn latency_delays_the_api_and_never_health() {
    let (front, _) = front(&[Fault::Latency(Duration::from_hours(1))]);
    let before = tokio::time::Instant::now();
    assert_eq!(get_status(&front, "/readyz").await, 200);
    assert_eq!(before.elapsed(), Duration::ZERO, "virtual time has not moved");
    assert_eq!(get_status(&front, "/thing").await, 200);
    assert!(before.elapsed() >= Duration::from_hours(1));
}

#[tokio::test]
async fn faults_are_switched_while_it_runs() {
    let (front, _) = front(&[Fault::Switchable]);
    let switch = async |method: Method, path: &str| front.answer(request(method, path)).await;
    assert_eq!(switch(Method::POST, "/faults/error").await.status(), StatusCode::OK);
    assert_eq!(get_status(&front, "/thing").await, 500);
    assert_eq!(
        json(switch(Method::DELETE, "/faults/error").await).await,
        json!({"not_ready": false, "error_rate": 0.0})
    );
    assert_eq!(get_status(&front, "/thing").await, 200);
    switch(Method::POST, "/faults/not-ready").await;
    assert_eq!(get_status(&front, "/readyz").await, 503);
    switch(Method::DELETE, "/faults/not-ready").await;
    assert_eq!(get_status(&front, "/readyz").await, 200);
    assert_eq!(json(switch(Method::POST, "/faults/slow").await).await["code"], "unknown-fault");
    assert_eq!(json(switch(Method::DELETE, "/faults/crash").await).await["code"], "unknown-fault");
}

#[tokio::test]
async fn an_unknown_grpc_method_is_unimplemented() {
    let (front, _) = front(&[]);
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let mut call = request(Method::POST, "/thing");
        call.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        assert_eq!(front.answer(call).await.headers()["grpc-status"], "12", "{content_type}");
    }
    let mut web = request(Method::GET, "/thing");
    web.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc-web"));
    assert_eq!(front.answer(web).await.status(), StatusCode::OK, "gRPC-Web is another protocol");
}

#[tokio::test]
async fn at_the_end_http1_connections_are_told_to_close() {
    let (front, stop) = front(&[]);
    stop.begin();
    let response = front.answer(request(Method::GET, "/thing")).await;
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(get_status(&front, "/readyz").await, 503);
    let mut over_http2 = request(Method::GET, "/thing");
    *over_http2.version_mut() = Version::HTTP_2;
    assert!(!front.answer(over_http2).await.headers().contains_key(header::CONNECTION));
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_body_is_gone() {
    let (front, stop) = front(&[]);
    let response = front.answer(request(Method::GET, "/thing")).await;
    assert_eq!(stop.in_flight(), 1);
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
    drop(response);
    assert_eq!(stop.in_flight(), 0);
}

#[test]
fn a_version_that_no_header_can_carry_is_refused() {
    let context = Context { version: "v1\n".into(), revision: None, stop: Stop::new() };
    let error = Front::new(&context, Faults::new(&[]), Routes::default()).err().unwrap().to_string();
    assert!(error.contains("SHOP_VERSION"), "{error}");
}
