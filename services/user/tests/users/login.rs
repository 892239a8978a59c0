//! Logging in: right, wrong, too often, too many at a time.

use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use shop_user::attempts::ATTEMPTS;
use shop_user::domain::Password;
use shop_user::passwords::{Checked, Passwords};

use crate::client::{PASSWORD, Shop};

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_look_the_same() {
    let shop = Shop::open().await;
    shop.join("ada").await;
    let (wrong, unknown) =
        (shop.login("ada", "not it at all").await, shop.login("bob", "not it at all").await);
    let impossible = shop.login("no such name", "not it at all").await;
    assert_eq!(wrong.code(), (401, "wrong-credentials"));
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    assert_eq!(wrong.body, impossible.body);
    assert_eq!(wrong.headers, unknown.headers);
}

#[tokio::test]
async fn guessing_is_slowed_down_by_name() {
    let shop = Shop::open().await;
    shop.join("ada").await;
    for name in ["ada", "nobody"] {
        for _ in 0..ATTEMPTS {
            assert_eq!(shop.login(name, "a wrong guess").await.code(), (401, "wrong-credentials"), "{name}");
        }
        let refused = shop.login(name, PASSWORD).await;
        assert_eq!(refused.code(), (429, "too-many-attempts"), "{name}: not even looked at");
        assert_eq!(refused.headers["retry-after"], "300");
    }
    shop.join("bob").await;
    shop.pass(Duration::from_mins(20));
    assert_eq!(shop.login("ada", PASSWORD).await.status, StatusCode::OK);
    for _ in 0..4 * ATTEMPTS {
        assert_eq!(shop.login("ada", PASSWORD).await.status, StatusCode::OK, "a success begins anew");
    }
}

#[tokio::test]
async fn too_many_at_a_time_are_told_to_come_again() {
    let shop = Shop::open().await;
    let names: Vec<_> = (0..160).map(|number| format!("user-{number}")).collect();
    let answers = join_all(names.iter().map(|name| shop.login(name, PASSWORD))).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.code() == (503, "busy")).collect();
    assert!(!busy.is_empty(), "unknown names are hashed too, so that they wait too");
    assert!(busy.iter().all(|answer| answer.headers["retry-after"] == "1"));
    let served = answers.iter().filter(|answer| answer.code() == (401, "wrong-credentials")).count();
    assert_eq!(served + busy.len(), names.len());
    assert!(served >= 100, "{served}");
    shop.join("ada").await;
}

#[tokio::test]
async fn a_hash_of_older_parameters_is_made_again() {
    let passwords = Passwords::new().unwrap();
    let password = || Password::present("password".to_owned()).unwrap();
    // argon2id with 64 KiB, as the reference implementation makes it.
    let old = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(64, 1, 1, None).unwrap(),
    );
    let old =
        argon2::PasswordHasher::hash_password_with_salt(&old, b"password", b"somesaltsomesalt").unwrap();
    let Checked::Outdated(new) = passwords.check(password(), Some(old.to_string())).await.unwrap() else {
        unreachable!("it is right, and outdated");
    };
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
    assert_eq!(passwords.check(password(), Some(new)).await.unwrap(), Checked::Right);
    assert_eq!(passwords.check(password(), Some("nonsense".to_owned())).await.unwrap(), Checked::Wrong);
    assert_eq!(passwords.check(password(), None).await.unwrap(), Checked::Wrong);
}
