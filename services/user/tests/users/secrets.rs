//! No password, token or key is in a log line or in an answer that is not the token's own.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};
use serde_json::json;
use shop_user::mini_program::Provider;
use tracing::level_filters::LevelFilter;

use crate::client::{PASSWORD, Shop, Tokens};
use crate::mini_program::{Mini, SECRET};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_stay_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of all tests of this program: none of them may say a secret.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let shop = Shop::open().await;
    let mut answers = vec![shop.register("ada").await];
    let ada = Tokens::of(&shop.login("ada", PASSWORD).await);
    let wrong = "s3cret-but-wrong";
    answers.push(shop.login("ada", wrong).await);
    answers.push(shop.login(wrong, wrong).await);
    answers.push(shop.post("/users/login", "", json!({"name": "ada", "password": [wrong]})).await);
    answers.push(shop.post("/users/login", "", json!({"name": "ada", "passwort": wrong})).await);
    answers.push(shop.post("/users/login", "", json!(wrong)).await);
    let own = format!("/users/{}", ada.user);
    let change = json!({"password": "another s3cret one", "current_password": wrong});
    answers.push(shop.call(Method::PATCH, &own, &ada.access, Some(change)).await);
    answers.push(shop.get(&own, &ada.access).await);
    answers.push(shop.get(&own, &format!("{}x", ada.access)).await);
    let next = Tokens::of(&shop.refresh(&ada.refresh).await);
    answers.push(shop.refresh(&ada.refresh).await);
    answers.push(shop.get(&own, &ada.access).await);
    answers.push(shop.get("/.well-known/jwks.json", "").await);
    answers.push(shop.get("/tokens/revoked", "").await);
    assert_eq!(answers[0].status, StatusCode::CREATED);

    let mini = Mini::open(SECRET, std::time::Duration::from_secs(30)).await;
    for behaviour in ["good", "busy", "risk"] {
        let code = mini.code("openid-1", behaviour).await;
        answers.extend([mini.login(&code).await, mini.login(&code).await]);
    }
    let unreachable = Provider::new("http://127.0.0.1:1", "shop", SECRET, std::time::Duration::from_secs(30));
    assert!(unreachable.unwrap().openid("a-code").await.is_err());

    let stored = shop.app.store.keys(0).await.unwrap();
    let phc = shop.app.store.password(&ada.user).await.unwrap().unwrap();
    let mut secrets = vec![
        PASSWORD,
        "s3cret",
        "session-key",
        phc.as_str(),
        "$argon2",
        ada.refresh.as_str(),
        next.refresh.as_str(),
    ];
    secrets.extend([&ada.access, &next.access].map(|token| token.rsplit('.').next().unwrap()));
    secrets.extend(stored.iter().map(|key| key.pkcs8.as_str()));
    let said = String::from_utf8(log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
    assert!(said.contains("used twice"), "the log is caught");
    let answered: Vec<_> =
        answers.iter().map(|answer| format!("{:?} {}", answer.headers, answer.body)).collect();
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in the log");
        assert!(!answered.iter().any(|answer| answer.contains(secret)), "{secret} is in an answer");
    }
}
