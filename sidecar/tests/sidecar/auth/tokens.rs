//! Which tokens are good, without sockets and clock; and what verifying one costs.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use proptest::prelude::*;
use serde_json::{Value, json};
use shop_sidecar::auth::decide::{Bad, MAX_TOKEN, Rules, SKEW, verify};
use shop_sidecar::auth::keys::{BadKeys, Family, KeySet, MAX_SET};

use super::signer::{Signer, claims};

const NOW: i64 = 1_800_000_000;

fn rules() -> Rules {
    Rules { issuer: "https://shop.example".into(), audience: "shop".into() }
}

fn family(signer: &Signer) -> Family {
    if matches!(signer, Signer::Hs512(_)) { Family::Secret } else { Family::Public }
}

fn keys(signer: &Signer) -> KeySet {
    KeySet::read(&signer.set("k1"), family(signer)).expect("keys")
}

fn outcome(token: &str, keys: &KeySet) -> Result<(), Bad> {
    verify(token.as_bytes(), keys, &rules(), NOW).map(|_| ())
}

#[test]
fn every_algorithm_is_verified() {
    for signer in Signer::all() {
        let (keys, word) = (keys(&signer), signer.algorithm());
        let token = signer.token("k1", "u-1", NOW);
        let (claims, until) = verify(token.as_bytes(), &keys, &rules(), NOW).expect("good");
        assert_eq!((claims["sub"].as_str(), until), (Some("u-1"), NOW + 300 + SKEW), "{word}");
        let nameless = signer.sign(&json!({"alg": word}), &super::signer::claims("u-1", NOW));
        assert_eq!(outcome(&nameless, &keys), Ok(()), "{word}");
        assert_eq!(outcome(&signer.token("k2", "u-1", NOW), &keys), Err(Bad::UnknownKey), "{word}");
        for at in [token.len() - 3, token.len() / 2] {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(&forged, &keys, &rules(), NOW).is_err(), "{word} at {at}");
        }
    }
}

#[test]
fn the_key_says_the_algorithm() {
    let (rsa, ec) = (Signer::rs256(), Signer::es256());
    let keys = keys(&rsa);
    let good = claims("root", NOW);
    for alg in ["none", "None", "", "HS256", "HS384", "RS384", "PS256", "rs256"] {
        let unsigned = format!(
            "{}.{}.",
            BASE64.encode(json!({"alg": alg}).to_string()),
            BASE64.encode(good.to_string())
        );
        assert_eq!(outcome(&unsigned, &keys), Err(Bad::Algorithm), "{alg}");
    }
    // The public key's bytes as a secret: HS512 by who knows only what everybody knows.
    let mut modulus = BASE64.decode(rsa.jwk("k1")["n"].as_str().expect("n")).expect("bytes");
    modulus.truncate(64);
    let confused = Signer::Hs512(modulus.try_into().expect("64 bytes"));
    assert_eq!(outcome(&confused.token("k1", "root", NOW), &keys), Err(Bad::Algorithm));
    assert_eq!(outcome(&ec.token("k1", "root", NOW), &keys), Err(Bad::Algorithm));
    // A secret in a published set is none.
    let published = KeySet::read(&Signer::hs512().set("k1"), Family::Public);
    assert_eq!(published.err(), Some(BadKeys::Empty("RS256, ES256 or EdDSA")));
    let public = KeySet::read(&rsa.set("k1"), Family::Secret);
    assert_eq!(public.err(), Some(BadKeys::Empty("HS512")));
}

#[test]
fn claims_are_checked() {
    let signer = Signer::eddsa();
    let keys = keys(&signer);
    let mut cases: Vec<(Value, Result<(), Bad>)> = Vec::new();
    let mut case = |changes: Value, expected| cases.push((changes, expected));
    case(json!({"aud": ["other", "shop"]}), Ok(()));
    case(json!({"aud": ["other"]}), Err(Bad::Audience));
    case(json!({"aud": "shopkeeper"}), Err(Bad::Audience));
    case(json!({"aud": null}), Err(Bad::Audience));
    case(json!({"iss": "https://shop.example/"}), Err(Bad::Issuer));
    case(json!({"iss": null}), Err(Bad::Issuer));
    case(json!({"exp": NOW - SKEW + 1}), Ok(()));
    case(json!({"exp": NOW - SKEW}), Err(Bad::Expired));
    case(json!({"exp": (NOW as f64) + 0.5}), Ok(()));
    case(json!({"exp": "2030"}), Err(Bad::NoExpiry));
    case(json!({"exp": null}), Err(Bad::NoExpiry));
    case(json!({"exp": i64::MAX}), Ok(()));
    case(json!({"nbf": NOW + SKEW}), Ok(()));
    case(json!({"nbf": NOW + SKEW + 1}), Err(Bad::NotYet));
    case(json!({"iat": NOW + SKEW + 1}), Err(Bad::NotYet));
    for (changes, expected) in cases {
        let mut all = claims("u-1", NOW);
        for (name, value) in changes.as_object().expect("object") {
            all[name] = value.clone();
        }
        let token = signer.sign(&json!({"alg": "EdDSA", "kid": "k1"}), &all);
        assert_eq!(outcome(&token, &keys), expected, "{changes}");
    }
}

#[test]
fn headers_and_sizes_are_checked() {
    let signer = Signer::eddsa();
    let keys = keys(&signer);
    let sign = |header: Value| signer.sign(&header, &claims("u-1", NOW));
    assert_eq!(outcome(&sign(json!({"alg": "EdDSA", "crit": ["exp"]})), &keys), Err(Bad::Critical));
    assert_eq!(outcome(&sign(json!({"alg": "EdDSA", "kid": 7})), &keys), Err(Bad::Malformed));
    assert_eq!(outcome(&sign(json!({"kid": "k1"})), &keys), Err(Bad::Malformed));
    let twice = format!("{}.{}.AA", BASE64.encode(r#"{"alg":"EdDSA","alg":"none"}"#), BASE64.encode("{}"));
    assert_eq!(outcome(&twice, &keys), Err(Bad::Malformed));
    let good = signer.token("k1", "u-1", NOW);
    for bad in
        ["", ".", "..", "a.b", "a.b.c.d", &format!("{good}="), &format!("{good}.x"), &good.replace('.', " ")]
    {
        assert_eq!(outcome(bad, &keys), Err(Bad::Malformed), "{bad}");
    }
    let long = sign(json!({"alg": "EdDSA", "pad": "a".repeat(MAX_TOKEN)}));
    assert_eq!(outcome(&long, &keys), Err(Bad::TooLong));
}

#[test]
fn key_sets_are_bounded_and_forgiving() {
    let signer = Signer::es256();
    let set = |keys: Vec<Value>| json!({ "keys": keys }).to_string().into_bytes();
    let strange =
        vec![json!({"kty": "EC", "crv": "P-521"}), json!(7), json!({"kty": "RSA", "n": "AQ", "e": "AQAB"})];
    assert!(KeySet::read(&set(strange.clone()), Family::Public).is_err());
    let mixed = set([strange, vec![signer.jwk("k1")]].concat());
    let keys = KeySet::read(&mixed, Family::Public).expect("keys");
    assert_eq!(outcome(&signer.token("k1", "u-1", NOW), &keys), Ok(()));
    for (field, value) in [("use", json!("enc")), ("alg", json!("RS256")), ("key_ops", json!(["sign"]))] {
        let mut key = signer.jwk("k1");
        key[field] = value;
        assert!(KeySet::read(&set(vec![key]), Family::Public).is_err(), "{field}");
    }
    assert_eq!(KeySet::read(&vec![b' '; MAX_SET + 1], Family::Public).err(), Some(BadKeys::Malformed));
    let short = set(vec![json!({"kty": "oct", "kid": "weak", "k": BASE64.encode([1; 63])})]);
    assert_eq!(KeySet::read(&short, Family::Secret).err(), Some(BadKeys::Short("weak".into())));
    let two = set(vec![Signer::hs512().jwk("old"), Signer::Hs512([8; 64]).jwk("new")]);
    let keys = KeySet::read(&two, Family::Secret).expect("keys");
    for (signer, kid) in [(Signer::hs512(), "old"), (Signer::Hs512([8; 64]), "new")] {
        assert_eq!(outcome(&signer.token(kid, "u-1", NOW), &keys), Ok(()), "{kid}");
    }
    assert_eq!(outcome(&Signer::hs512().token("new", "u-1", NOW), &keys), Err(Bad::Signature));
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_a_token(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let keys = KeySet::read(&Signer::hs512().set("k1"), Family::Secret).expect("keys");
        prop_assert!(verify(&bytes, &keys, &rules(), NOW).is_err());
    }
}

/// Prints what the README tells: run it with `--nocapture`.
#[test]
fn what_a_token_costs() {
    for signer in Signer::all() {
        let (keys, token) = (keys(&signer), signer.token("k1", "u-1", NOW));
        let rounds = 200;
        let begun = Instant::now();
        for _ in 0..rounds {
            assert!(verify(token.as_bytes(), &keys, &rules(), NOW).is_ok());
        }
        let each = begun.elapsed() / rounds;
        println!("{}: {each:?} for a token of {} bytes", signer.algorithm(), token.len());
    }
}
