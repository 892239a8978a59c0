//! Sessions: refreshing, using a token twice, ending them.

use std::time::Duration;

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::client::{PASSWORD, Shop, Tokens};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn an_access_token_ends_and_is_refreshed() {
    let shop = Shop::open().await;
    let mut ada = shop.join("ada").await;
    for _ in 0..3 {
        shop.pass(HOUR * 24);
        assert!(shop.opens(&ada).await, "clocks may be five seconds apart");
        shop.pass(Duration::from_secs(5));
        assert!(!shop.opens(&ada).await);
        ada = Tokens::of(&shop.refresh(&ada.refresh).await);
        assert!(shop.opens(&ada).await);
    }
    shop.pass(HOUR * 24 * 30);
    assert_eq!(shop.refresh(&ada.refresh).await.code(), (401, "refresh-refused"));
    assert_eq!(shop.refresh("nonsense").await.code(), (401, "refresh-refused"));
}

/// Whoever has stolen a refresh token uses it before or after its owner; then neither may go on.
#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_the_session() {
    let shop = Shop::open().await;
    let (first, other) = (shop.join("ada").await, Tokens::of(&shop.login("ada", PASSWORD).await));
    let second = Tokens::of(&shop.refresh(&first.refresh).await);
    assert_eq!(shop.refresh(&first.refresh).await.code(), (401, "refresh-refused"));
    assert_eq!(shop.refresh(&second.refresh).await.code(), (401, "refresh-refused"));
    assert!(!shop.opens(&first).await && !shop.opens(&second).await, "its access tokens are over, too");
    assert!(shop.opens(&other).await, "another session goes on");
    assert_eq!(shop.refresh(&other.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_of_many_uses_a_refresh_token() {
    let shop = Shop::open().await;
    let ada = shop.join("ada").await;
    let answers = join_all((0..20).map(|_| shop.refresh(&ada.refresh))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    assert!(!shop.opens(&ada).await);
}

#[tokio::test]
async fn logging_out_ends_one_session() {
    let shop = Shop::open().await;
    let (ada, other) = (shop.join("ada").await, Tokens::of(&shop.login("ada", PASSWORD).await));
    assert_eq!(
        shop.call(Method::POST, "/users/logout", &ada.access, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!shop.opens(&ada).await && shop.opens(&other).await);
    assert_eq!(shop.refresh(&ada.refresh).await.code(), (401, "refresh-refused"));
    let again = shop.call(Method::POST, "/users/logout", &ada.access, None).await;
    assert_eq!(again.code(), (401, "unauthenticated"));
    assert_eq!(again.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn another_password_ends_all_sessions() {
    let shop = Shop::open().await;
    let (ada, other) = (shop.join("ada").await, Tokens::of(&shop.login("ada", PASSWORD).await));
    let own = format!("/users/{}", ada.user);
    let new = "another good password";
    for current in [json!({}), json!({"current_password": "a wrong guess"})] {
        let mut body = json!({"password": new});
        body.as_object_mut().unwrap().extend(current.as_object().unwrap().clone());
        let answer = shop.call(Method::PATCH, &own, &ada.access, Some(body)).await;
        assert_eq!(
            (answer.code(), answer.text("field").as_str()),
            ((400, "invalid-field"), "current_password")
        );
    }
    let body = json!({"password": new, "current_password": PASSWORD});
    assert_eq!(shop.call(Method::PATCH, &own, &ada.access, Some(body)).await.status, StatusCode::OK);
    assert!(!shop.opens(&ada).await && !shop.opens(&other).await);
    assert_eq!(shop.refresh(&other.refresh).await.code(), (401, "refresh-refused"));
    assert_eq!(shop.login("ada", PASSWORD).await.code(), (401, "wrong-credentials"));
    let back = Tokens::of(&shop.login("ada", new).await);
    assert!(shop.opens(&back).await);
    let admin = shop.admin().await;
    let reset = shop.call(Method::PATCH, &own, &admin.access, Some(json!({"password": PASSWORD}))).await;
    assert_eq!(reset.status, StatusCode::OK, "an admin resets it without knowing it");
    assert!(!shop.opens(&back).await);
}
