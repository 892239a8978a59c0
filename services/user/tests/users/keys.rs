//! What tokens are signed with, and how others verify them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use shop_common::token::{Keys, Rules};

use crate::client::{Shop, Tokens, settings};

fn rules() -> Rules {
    Rules { issuer: "https://shop.example".into(), audience: "shop".into() }
}

async fn published(shop: &Shop) -> (Keys, usize) {
    let answer = shop.get("/.well-known/jwks.json", "").await;
    let count = answer.body["keys"].as_array().unwrap().len();
    assert!(!answer.body.to_string().contains("\"d\""), "no private key is published");
    (Keys::from_jwks(answer.body.to_string().as_bytes()).unwrap(), count)
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn everybody_may_verify_a_token() {
    let shop = Shop::open().await;
    let ada = shop.join("ada").await;
    let header = header(&ada.access);
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("ES256"), Some("at+jwt")));
    let (keys, _) = published(&shop).await;
    let claims = keys.verify(&ada.access, &rules(), shop.now() / 1_000).unwrap();
    assert_eq!((claims.sub, claims.roles), (ada.user, vec!["customer".to_owned()]));
    assert_eq!(claims.exp - claims.iat, 24 * 3_600);
}

#[tokio::test]
async fn keys_take_turns_and_the_one_before_is_good_until_its_tokens_end() {
    let shop = Shop::with(&["--key-days", "2"]).await;
    let day = Duration::from_hours(24);
    shop.pass(Duration::from_hours(47));
    let old = shop.join("ada").await;
    shop.pass(Duration::from_hours(1));
    shop.app.keys.refresh(shop.now()).await.unwrap();
    let new = Tokens::of(&shop.login("ada", crate::client::PASSWORD).await);
    assert_ne!(header(&old.access)["kid"], header(&new.access)["kid"]);
    let (keys, count) = published(&shop).await;
    assert_eq!(count, 2);
    for tokens in [&old, &new] {
        assert!(keys.verify(&tokens.access, &rules(), shop.now() / 1_000).is_ok());
        assert!(shop.opens(tokens).await);
    }
    shop.pass(day + Duration::from_secs(10));
    shop.app.keys.refresh(shop.now()).await.unwrap();
    assert_eq!(published(&shop).await.1, 1, "nothing that it signed is good any more");
}

/// Another replica has made a key: its tokens are good here at once.
#[tokio::test]
async fn a_key_that_another_replica_made_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.sqlite");
    let flags = ["--database", file.to_str().unwrap(), "--key-days", "2"];
    let (one, two) = (Shop::with(&flags).await, Shop::with(&flags).await);
    let ada = one.join("ada").await;
    assert!(two.opens(&ada).await, "they sign with the same key");
    for shop in [&one, &two] {
        shop.pass(Duration::from_hours(49));
    }
    one.app.keys.refresh(one.now()).await.unwrap();
    let ada = Tokens::of(&one.login("ada", crate::client::PASSWORD).await);
    assert!(two.opens(&ada).await);
    two.app.keys.refresh(two.now()).await.unwrap();
    assert_eq!(published(&two).await.1, 2, "two replicas make one key");
}

#[tokio::test]
async fn a_secret_signs_by_setting() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    std::fs::write(&first, [1; 64]).unwrap();
    std::fs::write(&second, [2; 64]).unwrap();
    let file = folder.path().join("users.sqlite");
    let (file, first, second) = (file.to_str().unwrap(), first.to_str().unwrap(), second.to_str().unwrap());
    let before = Shop::with(&["--database", file, "--jwt-secret-file", first]).await;
    let ada = before.join("ada").await;
    assert_eq!(header(&ada.access)["alg"], "HS512");
    assert_eq!(published(&before).await.1, 0, "a secret is not published");
    let flags = ["--database", file, "--jwt-secret-file", second, "--jwt-previous-secret-file", first];
    assert!(Shop::with(&flags).await.opens(&ada).await);
    let without = Shop::with(&["--database", file, "--jwt-secret-file", second]).await;
    assert!(!without.opens(&ada).await);
    std::fs::write(first, [1; 63]).unwrap();
    let short = shop_user::app(&settings(&["--jwt-secret-file", first]), std::sync::Arc::new(|| 0)).await;
    let said = short.err().unwrap().to_string();
    assert!(said.contains("63 bytes") && said.contains("openssl rand 64"), "{said}");
}
