//! Accounts: registering, reading, changing, removing; by oneself, by others, by an admin.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{PASSWORD, Shop, Tokens};

#[tokio::test]
async fn a_customer_registers_and_reads_its_account() {
    let shop = Shop::open().await;
    let answer = shop.register("Ada@Example.com").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let place = answer.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(
        (answer.body["name"].as_str(), &answer.body["roles"]),
        (Some("ada@example.com"), &json!(["customer"]))
    );
    let ada = Tokens::of(&shop.login("ADA@example.com", PASSWORD).await);
    let read = shop.get(&place, &ada.access).await;
    assert_eq!((read.status, read.body["id"].as_str()), (StatusCode::OK, Some(ada.user.as_str())));
    assert_eq!(read.body.as_object().unwrap().len(), 5, "nothing else: {}", read.body);
    assert_eq!(shop.register("ada@EXAMPLE.com").await.code(), (409, "name-taken"));
}

#[tokio::test]
async fn one_of_many_gets_a_name() {
    let shop = Shop::open().await;
    let answers = join_all((0..16).map(|_| shop.register("grace"))).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 1);
    assert!(answers.iter().all(|answer| matches!(answer.code(), (201, _) | (409, "name-taken"))));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let shop = Shop::open().await;
    let ada = shop.join("ada").await;
    let long = "x".repeat(1_025);
    for (body, code, field) in [
        (json!({"name": "a", "password": PASSWORD}), "invalid-field", "name"),
        (json!({"name": "a b c", "password": PASSWORD}), "invalid-field", "name"),
        (json!({"name": "bob", "password": "short"}), "invalid-field", "password"),
        (json!({"name": "bob", "password": long}), "invalid-field", "password"),
        (
            json!({"name": "bob", "password": PASSWORD, "display_name": "\u{7}"}),
            "invalid-field",
            "display_name",
        ),
        (json!({"name": "bob", "password": PASSWORD, "roles": ["admin"]}), "invalid-body", "roles"),
        (json!({"name": "bob"}), "invalid-body", "password"),
    ] {
        let answer = shop.post("/users", "", body.clone()).await;
        assert_eq!(answer.code(), (400, code), "{body}");
        assert_eq!(answer.body["field"], field, "{body}");
    }
    assert_eq!(shop.login("ada", &long).await.code(), (400, "invalid-field"));
    let own = format!("/users/{}", ada.user);
    let answer = shop.call(Method::PATCH, &own, &ada.access, Some(json!({"roles": ["king"]}))).await;
    assert_eq!(answer.code(), (400, "invalid-body"));
    let admin = shop.admin().await;
    let answer = shop.call(Method::PATCH, &own, &admin.access, Some(json!({"roles": []}))).await;
    assert_eq!(answer.code(), (400, "invalid-field"));
}

#[tokio::test]
async fn an_account_is_its_owners_and_the_admins() {
    let shop = Shop::open().await;
    let (ada, bob, admin) = (shop.join("ada").await, shop.join("bob").await, shop.admin().await);
    let of_ada = format!("/users/{}", ada.user);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let body = (method == Method::PATCH).then(|| json!({"display_name": "Mallory"}));
        let others = shop.call(method.clone(), &of_ada, &bob.access, body.clone()).await;
        let nobodys = shop.call(method.clone(), "/users/0123", &bob.access, body.clone()).await;
        assert_eq!(others.code(), (404, "user-not-found"), "{method}");
        assert_eq!(others.body, nobodys.body, "an account that one may not see is not there");
        assert_eq!(shop.call(method, &of_ada, "", body).await.code(), (401, "unauthenticated"));
    }
    let named =
        shop.call(Method::PATCH, &of_ada, &ada.access, Some(json!({"display_name": " Ada L. "}))).await;
    assert_eq!(named.body["display_name"], "Ada L.");
    assert!(shop.opens(&ada).await, "a new display name ends no session");
    let raised = shop.call(Method::PATCH, &of_ada, &ada.access, Some(json!({"roles": ["admin"]}))).await;
    assert_eq!(raised.code(), (403, "forbidden"));
    let raised =
        shop.call(Method::PATCH, &of_ada, &admin.access, Some(json!({"roles": ["support", "ops"]}))).await;
    assert_eq!(raised.body["roles"], json!(["support", "ops"]));
    assert!(!shop.opens(&ada).await, "tokens that name the old roles are over");
    let removed = shop.call(Method::DELETE, &format!("/users/{}", bob.user), &bob.access, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert!(!shop.opens(&bob).await);
    assert_eq!(shop.refresh(&bob.refresh).await.code(), (401, "refresh-refused"));
    assert_eq!(shop.login("bob", PASSWORD).await.code(), (401, "wrong-credentials"));
}

#[tokio::test]
async fn an_admin_pages_through_all_users() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for name in ["u-1", "u-2", "u-3", "u-4"] {
        shop.pass(std::time::Duration::from_millis(1));
        assert_eq!(shop.register(name).await.status, StatusCode::CREATED);
    }
    let (mut names, mut path) = (Vec::new(), "/users?limit=2".to_owned());
    loop {
        let page = shop.get(&path, &admin.access).await;
        let items = page.body["items"].as_array().unwrap();
        names.extend(items.iter().map(|user| user["name"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/users?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["admin", "u-1", "u-2", "u-3", "u-4"]);
    for (path, code) in [("/users?limit=0", "invalid-limit"), ("/users?cursor='", "invalid-cursor")] {
        assert_eq!(shop.get(path, &admin.access).await.code(), (400, code));
    }
    let ada = shop.join("ada").await;
    assert_eq!(shop.get("/users", &ada.access).await.code(), (403, "forbidden"));
}

#[tokio::test]
async fn a_file_keeps_users_sessions_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.sqlite");
    let flags = ["--database", file.to_str().unwrap()];
    let ada = Shop::with(&flags).await.join("ada").await;
    let again = Shop::with(&flags).await;
    assert!(again.opens(&ada).await);
    assert_eq!(again.refresh(&ada.refresh).await.status, StatusCode::OK);
    assert_eq!(again.register("ada").await.code(), (409, "name-taken"));
}

#[tokio::test]
async fn what_is_revoked_is_told_to_those_who_verify() {
    let shop = Shop::open().await;
    let ada = shop.join("ada").await;
    let before = shop.get("/tokens/revoked", "").await;
    assert_eq!((&before.body["revoked"], &before.body["more"]), (&json!([]), &json!(false)));
    let removed = shop.call(Method::DELETE, &format!("/users/{}", ada.user), &ada.access, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let next = before.body["next"].as_i64().unwrap();
    let after = shop.get(&format!("/tokens/revoked?since={next}"), "").await;
    let entry = &after.body["revoked"][0];
    assert_eq!((entry["subject"].as_str(), &entry["below_version"]), (Some(ada.user.as_str()), &Value::Null));
    assert!(entry["until"].as_i64().unwrap() > shop.now() + 24 * 3_600 * 1_000);
    shop.pass(std::time::Duration::from_hours(25));
    assert_eq!(shop.get("/tokens/revoked", "").await.body["revoked"], Value::Array(Vec::new()));
}
