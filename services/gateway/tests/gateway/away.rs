//! Services that are away or slow, and too much to do.

use http::StatusCode;

use crate::shop::{Shop, context, mirror, service, users};

async fn catalogue() -> crate::shop::Service {
    let context = context();
    let catalogue = shop_product::store::load(None).await.unwrap();
    service(context.clone(), shop_product::routes::routes(context, catalogue)).await
}

#[tokio::test]
async fn the_catalogue_stays_when_its_service_goes() {
    let (users, products) = (users(&[]).await, catalogue().await);
    let flags = ["--user-url", &users.url(), "--product-url", &products.url(), "--allow", "127.0.0.1"];
    let shop = Shop::open(&flags).await;
    let path = "/api/v1/products/MUG-0001";
    let good = shop.get(path, "").await;
    assert_eq!(good.body["sku"], "MUG-0001");
    assert!(!good.headers.contains_key("x-shop-degraded"));
    products.end().await;
    let kept = shop.get(path, "").await;
    assert_eq!((kept.status, &kept.body), (StatusCode::OK, &good.body));
    assert_eq!(kept.headers["x-shop-degraded"], "last-good");
    assert_eq!(kept.headers["content-type"], "application/json");
    let unknown = shop.get("/api/v1/products/MUG-0002", "").await;
    assert_eq!(unknown.code(), (503, "upstream-unavailable"));
    // Enough failures open the breaker: it is said when it will be tried again.
    let mut longest = 0;
    for _ in 0..30 {
        let answer = shop.get("/api/v1/products/MUG-0002", "").await;
        longest = longest.max(answer.headers["retry-after"].to_str().unwrap().parse().unwrap_or(0));
    }
    assert_eq!(longest, 5);
    assert_eq!(shop.get(path, "").await.status, StatusCode::OK, "what is kept is there nevertheless");
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let (users, orders) = (users(&[]).await, mirror().await);
    let shop = Shop::open(&["--user-url", &users.url(), "--order-url", &orders.url()]).await;
    let (token, _) = shop.join("ada").await;
    let request = crate::shop::with(http::Method::GET, &token).header("x-shop-deadline-ms", "50");
    let answer = shop.call(request, "/api/v1/orders/slow", None).await;
    assert_eq!(answer.code(), (504, "deadline-exceeded"));
}

#[tokio::test]
async fn what_is_not_there_or_can_be_misread_is_nowhere() {
    let users = users(&[]).await;
    let shop = Shop::open(&["--user-url", &users.url()]).await;
    for path in [
        "/api/v1/tokens/revoked",
        "/api/v1/orders",
        "/api/v1/faults",
        "/api/v1/users/../tokens/revoked",
        "/api/v1/users/%2e%2e/tokens/revoked",
        "/api/v1//users",
    ] {
        assert_eq!(shop.get(path, "").await.code(), (404, "route-not-found"), "{path}");
    }
    let keys = shop.get("/.well-known/jwks.json", "").await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_document_tells_of_all_services() {
    let (users, products, orders) = (users(&[]).await, catalogue().await, mirror().await);
    orders.url();
    let flags =
        ["--user-url", &users.url(), "--product-url", &products.url(), "--cart-url", "http://127.0.0.1:1"];
    let shop = Shop::open(&flags).await;
    let api = shop.get("/api/openapi.json", "").await.body;
    assert_eq!(api["x-missing"], serde_json::json!(["cart"]));
    let login = &api["paths"]["/api/v1/users/login"]["post"];
    assert_eq!(login["tags"], serde_json::json!(["user"]));
    let body = &login["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/user.Login");
    assert!(api["components"]["schemas"]["user.Login"].is_object());
    assert!(api["paths"]["/api/v1/products/{sku}"].is_object());
    let page = shop.get("/api/docs", "").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}
