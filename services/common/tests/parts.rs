//! Parts that all services use: bodies that are read strictly, and tokens that are verified strictly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::body::Body;
use axum::extract::FromRequest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use shop_common::body::{MAX_BODY, parse};
use shop_common::token::{Bad, Claims, Keys, LEEWAY, Rules, bearer};
use shop_common::{Code, Strict};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only whether it can be read is asked")]
struct Login {
    name: String,
    attempts: u8,
}

#[test]
fn a_wrong_body_is_explained_without_its_values() {
    for (body, detail) in [
        (r#"{"name": "a", "attempts": "s3cret"}"#, "line 1, column 34: expected u8"),
        (r#"{"name": "a", "attempts": 1, "other": 2}"#, "unknown field: line 1, column 36"),
        (r#"{"name": "a"}"#, "missing field: line 1, column 13"),
        (r#"{"name": "a", "#, "send a whole JSON object (RFC 8259)"),
        (r#""s3cret""#, "line 1, column 8: expected struct Login"),
    ] {
        let problem = parse::<Login>(body.as_bytes()).unwrap_err();
        assert_eq!((problem.code(), problem.detail()), (Code::InvalidBody, detail), "{body}");
    }
}

#[tokio::test]
async fn a_body_is_json_and_bounded() {
    let read = async |content_type: &str, body: String| {
        let request = Request::post("/").header("content-type", content_type).body(Body::from(body)).unwrap();
        Strict::<Value>::from_request(request, &()).await.map_err(|problem| problem.code())
    };
    assert!(read("Application/JSON ; charset=utf-8", "{}".to_owned()).await.is_ok());
    assert_eq!(read("text/plain", "{}".to_owned()).await.unwrap_err(), Code::UnsupportedMediaType);
    let long = format!("\"{}\"", "a".repeat(MAX_BODY));
    assert_eq!(read("application/json", long).await.unwrap_err(), Code::BodyTooLarge);
    let deep = "[".repeat(10_000);
    assert_eq!(read("application/json", deep).await.unwrap_err(), Code::InvalidBody);
}

const NOW: i64 = 1_800_000_000;

fn rules() -> Rules {
    Rules { issuer: "https://shop.example".into(), audience: "shop".into() }
}

fn claims() -> Value {
    json!({"iss": "https://shop.example", "aud": "shop", "sub": "u-1", "exp": NOW + 60, "iat": NOW, "jti": "j",
        "sid": "s", "ver": 1, "roles": ["customer"]})
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn es256(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64.encode(signature))
}

fn hs512(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, secret), message.as_bytes());
    format!("{message}.{}", BASE64.encode(tag))
}

fn jwks(pair: &EcdsaKeyPair) -> Vec<u8> {
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    json!({"keys": [{"kty": "RSA", "kid": "r"}, {"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y}]})
        .to_string()
        .into_bytes()
}

#[test]
fn a_good_token_is_read() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = Keys::from_jwks(&jwks(&pair)).unwrap();
    let token = es256(&pair, &json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"}), &claims());
    let read: Claims = keys.verify(&token, &rules(), NOW).unwrap();
    assert_eq!((read.sub.as_str(), read.roles), ("u-1", vec!["customer".to_owned()]));
    assert!(keys.verify(&token, &rules(), NOW + 60 + LEEWAY - 1).is_ok());
    assert_eq!(keys.verify(&token, &rules(), NOW + 60 + LEEWAY), Err(Bad::Time));
    assert_eq!(keys.verify(&token, &rules(), NOW - LEEWAY - 1), Err(Bad::Time));
    let secret = [7; 64];
    let mut keys = Keys::default();
    assert!(!keys.add_hs512("h", &secret[..63]), "too short");
    assert!(keys.add_hs512("h", &secret));
    let token = hs512(&secret, &json!({"alg": "HS512", "typ": "at+jwt", "kid": "h"}), &claims());
    assert!(keys.verify(&token, &rules(), NOW).is_ok());
}

/// The attacks of RFC 8725 section 2.
#[test]
fn a_token_that_is_not_ours_is_refused() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = Keys::from_jwks(&jwks(&pair)).unwrap();
    let header = |alg: &str, typ: &str, kid: &str| json!({"alg": alg, "typ": typ, "kid": kid});
    let good = es256(&pair, &header("ES256", "at+jwt", "k"), &claims());
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let public = pair.public_key().as_ref();
    let without = |claim: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(claim);
        es256(&pair, &header("ES256", "at+jwt", "k"), &claims)
    };
    let with = |claim: &str, value: Value| {
        let mut claims = claims();
        claims[claim] = value;
        es256(&pair, &header("ES256", "at+jwt", "k"), &claims)
    };
    let none = message(&header("none", "at+jwt", "k"), &claims());
    for (token, bad) in [
        (format!("{none}."), Bad::Signature),
        (format!("{unsigned}."), Bad::Signature),
        (hs512(public, &header("HS512", "at+jwt", "k"), &claims()), Bad::Signature),
        (es256(&pair, &header("HS512", "at+jwt", "k"), &claims()), Bad::Signature),
        (es256(&pair, &header("ES256", "at+jwt", "other"), &claims()), Bad::UnknownKey),
        (es256(&pair, &json!({"alg": "ES256", "typ": "at+jwt"}), &claims()), Bad::UnknownKey),
        (es256(&pair, &header("ES256", "JWT", "k"), &claims()), Bad::Type),
        (
            es256(&pair, &json!({"alg": "ES256", "typ": "at+jwt", "kid": "k", "crit": ["x"]}), &claims()),
            Bad::Type,
        ),
        (with("iss", "https://other.example".into()), Bad::Rules),
        (with("aud", "other".into()), Bad::Rules),
        (with("exp", (NOW - 60).into()), Bad::Time),
        (with("exp", "never".into()), Bad::Malformed),
        (without("exp"), Bad::Malformed),
        (without("jti"), Bad::Malformed),
        (without("sub"), Bad::Malformed),
        (without("ver"), Bad::Malformed),
        ("a.b".to_owned(), Bad::Malformed),
        (String::new(), Bad::Malformed),
        ("a".repeat(5_000), Bad::Malformed),
    ] {
        assert_eq!(keys.verify(&token, &rules(), NOW), Err(bad), "{token}");
    }
    let flipped = good.replacen('.', "x.", 1);
    assert!(keys.verify(&flipped, &rules(), NOW).is_err());
}

#[test]
fn a_bearer_token_is_sent_once() {
    let headers = |values: &[&str]| {
        let mut headers = http::HeaderMap::new();
        for value in values {
            headers.append("authorization", value.parse().unwrap());
        }
        headers
    };
    assert_eq!(bearer(&headers(&["bearer a.b.c"])), Some("a.b.c"));
    assert_eq!(bearer(&headers(&["Bearer a.b.c", "Bearer d.e.f"])), None);
    assert_eq!(bearer(&headers(&["Basic YTpi"])), None);
    assert_eq!(bearer(&headers(&[])), None);
}
