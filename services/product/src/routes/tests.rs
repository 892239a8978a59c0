//! The routes by themselves: requests in, answers out, no socket.

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use shop_common::Stop;
use tower::ServiceExt;

use super::*;
use crate::store;

async fn web() -> Router {
    let context = Context { version: "v1".into(), revision: None, stop: Stop::new() };
    routes(context, store::load(None).await.unwrap()).web
}

async fn get_with(router: &Router, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(name, *value));
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn get_json(router: &Router, path: &str) -> (StatusCode, Value) {
    let response = get_with(router, path, &[]).await;
    let status = response.status();
    (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

#[tokio::test]
async fn pages_lead_through_the_whole_catalogue() {
    let router = web().await;
    let mut skus: Vec<String> = Vec::new();
    let mut path = "/products?limit=50".to_owned();
    loop {
        let (status, page) = get_json(&router, &path).await;
        assert_eq!(status, StatusCode::OK);
        skus.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["sku"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/products?limit=50&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(skus.len(), 120);
    assert!(skus.is_sorted());
}

#[tokio::test]
async fn a_category_limits_the_list() {
    let router = web().await;
    let (_, page) = get_json(&router, "/products?category=garden&limit=100").await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    assert!(items.iter().all(|item| item["category"] == "garden"));
    let (status, page) = get_json(&router, "/products?category=nothing&limit=").await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn wrong_queries_are_problems() {
    let router = web().await;
    let (_, page) = get_json(&router, "/products?category=garden&limit=1").await;
    let garden = page["next"].as_str().unwrap();
    let of_another_list = format!("/products?category=home&cursor={garden}");
    for (path, code) in [
        ("/products?limit=0", "invalid-limit"),
        ("/products?limit=101", "invalid-limit"),
        ("/products?limit=ten", "invalid-limit"),
        ("/products?cursor=nonsense", "invalid-cursor"),
        (of_another_list.as_str(), "invalid-cursor"),
        ("/products?limit=1&limit=2", "invalid-request"),
    ] {
        let (status, problem) = get_json(&router, path).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some(code)), "{path}");
    }
}

#[tokio::test]
async fn a_product_is_sent_once_and_then_known() {
    let router = web().await;
    let first = get_with(&router, "/products/MUG-0001", &[]).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[header::CONTENT_TYPE], "application/json");
    let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&first.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["price"], serde_json::json!({"cents": 1666, "currency": "EUR"}));
    let known = get_with(&router, "/products/MUG-0001", &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(known.headers()[header::ETAG], etag.as_str());
    assert!(known.into_body().collect().await.unwrap().to_bytes().is_empty());
    let other = get_with(&router, "/products/MUG-0002", &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(other.status(), StatusCode::OK);
    let (status, problem) = get_json(&router, "/products/MUG-9999").await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::NOT_FOUND, Some("product-not-found")));
}

#[tokio::test]
async fn the_feed_wants_a_websocket() {
    let router = web().await;
    let response = get_with(&router, "/prices/feed", &[]).await;
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(response.headers()[header::UPGRADE], "websocket");
}
