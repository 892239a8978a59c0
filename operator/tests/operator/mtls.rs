//! TLS between sidecars: certificates, their renewal, the loss of the authority's key, and the way back.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use crate::{
    api::{Api, Place, State},
    behaviour::{Operator, idles, order, serves, spec},
};

const SECRETS: &str = "v1/secrets";
const POLICIES: &str = "networking.k8s.io/v1/networkpolicies";
const ID: &str = "spiffe://cluster.local/ns/shop/svc/order";

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

fn shop(api: &Api, name: &str, spec: &Value) {
    let place = ("shopkeeper.dev/v1alpha1/shopservices".to_owned(), "shop".to_owned(), name.to_owned());
    api.with(|state| {
        state.put(
            place,
            json!({
                "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService", "metadata": {}, "spec": spec,
            }),
        )
    });
}

fn keys_of(name: &str) -> Place {
    (SECRETS.to_owned(), "shop".to_owned(), format!("{name}-sidecar-keys"))
}

fn authority() -> Place {
    (SECRETS.to_owned(), "shopkeeper".to_owned(), "shopkeeper-ca".to_owned())
}

fn file(state: &State, place: &Place, name: &str) -> Option<String> {
    let text = state.objects.get(place)?["data"][name].as_str()?;
    Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
}

fn note(state: &State) -> Option<Value> {
    let secret = state.objects.get(&keys_of("order"))?;
    serde_json::from_str(secret["metadata"]["annotations"]["shopkeeper.dev/certificate"].as_str()?).ok()
}

fn document(state: &State, name: &str) -> Option<Value> {
    let config = state.get("v1/configmaps", &format!("{name}-r1-sidecar"))?;
    serde_json::from_str(config["data"]["document.json"].as_str()?).ok()
}

fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let bodies = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let body = |text: &str| text.split("-----END").next().unwrap().replace(['\n', '\r'], "");
    bodies.map(|text| STANDARD.decode(body(text)).unwrap()).collect()
}

/// Whether the certificate comes from one of the roots, is good now, and says who it is.
fn is_good(certificate: &str, roots: &str, id: &str) -> bool {
    let leaf = CertificateDer::from(certificates(certificate).remove(0));
    let roots: Vec<CertificateDer<'_>> = certificates(roots).into_iter().map(CertificateDer::from).collect();
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let good = |usage: KeyUsage| {
        let leaf = EndEntityCert::try_from(&leaf).unwrap();
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], UnixTime::now(), usage, None, None)
            .is_ok()
    };
    let names = leaf.windows(id.len()).any(|bytes| bytes == id.as_bytes());
    names && good(KeyUsage::client_auth()) && good(KeyUsage::server_auth())
}

fn strict(image: &str) -> Value {
    with(spec(image), "auth", json!({ "mtls": "strict", "callers": [{ "name": "gateway" }] }))
}

/// The certificate in the Secret was made that long ago: longer than it would wait for the authority, which is new.
fn age(api: &Api, hours: i64) {
    api.with(|state| {
        let mut note = note(state).unwrap();
        let issued: Timestamp = note["issued"].as_str().unwrap().parse().unwrap();
        note["issued"] = json!(issued - SignedDuration::from_hours(hours));
        let mut secret = state.objects[&keys_of("order")].clone();
        secret["metadata"]["annotations"]["shopkeeper.dev/certificate"] = json!(note.to_string());
        state.put(keys_of("order"), secret);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_a_certificate_and_a_new_one_after_a_day() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, strict("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let first = api.with(|state| {
        let [certificate, roots] =
            ["tls.crt", "ca.crt"].map(|name| file(state, &keys_of("order"), name).unwrap());
        assert!(is_good(&certificate, &roots, ID));
        assert!(!is_good(&certificate, &roots, "spiffe://cluster.local/ns/shop/svc/cart"));
        assert!(file(state, &keys_of("order"), "tls.key").unwrap().contains("PRIVATE KEY"));
        let mtls = document(state, "order").unwrap()["auth"]["mtls"].clone();
        let callers = ["spiffe://cluster.local/ns/shop/svc/gateway"];
        assert_eq!(mtls, json!({ "mode": "strict", "id": ID, "callers": callers }));
        let policy = state.get(POLICIES, "order-shop").unwrap();
        assert_eq!(policy["metadata"]["ownerReferences"][0]["name"], "order");
        certificate
    });
    idles(&api).await;
    age(&api, 50);
    let second = api
        .until("a new certificate", |state| {
            file(state, &keys_of("order"), "tls.crt").filter(|certificate| *certificate != first)
        })
        .await;
    api.with(|state| {
        assert!(is_good(&second, &file(state, &keys_of("order"), "ca.crt").unwrap(), ID));
        let issued: Timestamp = note(state).unwrap()["issued"].as_str().unwrap().parse().unwrap();
        assert!(issued.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(10));
        assert_eq!(document(state, "order").unwrap()["auth"]["mtls"]["mode"], "strict");
    });
    idles(&api).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_the_authority_breaks_nothing() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, strict("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let [certificate, root] =
        api.with(|state| ["tls.crt", "ca.crt"].map(|name| file(state, &keys_of("order"), name).unwrap()));

    // Who still has it in memory writes it again.
    api.with(|state| state.remove(&authority()));
    age(&api, 50);
    let again = api.until("it is there again", |state| file(state, &authority(), "current.crt")).await;
    assert_eq!(again, root);
    let certificate = api
        .until("a new certificate", |state| {
            file(state, &keys_of("order"), "tls.crt").filter(|other| *other != certificate)
        })
        .await;
    operator.stop().await;

    // Nobody has it any more.
    api.with(|state| state.remove(&authority()));
    let operator = Operator::start(&api, "shopkeeper-1").await;
    let before = api.until("a new one", |state| file(state, &authority(), "before.crt")).await;
    assert_eq!(certificates(&before), certificates(&root));
    idles(&api).await;
    operator.stop().await;

    api.with(|state| {
        let mut secret = state.objects[&authority()].clone();
        let earlier = Timestamp::now() - SignedDuration::from_mins(20);
        secret["data"]["changed"] = json!(STANDARD.encode(earlier.to_string()));
        state.put(authority(), secret);
    });
    let operator = Operator::start(&api, "shopkeeper-2").await;
    let roots = api
        .until("both roots are with the service", |state| {
            file(state, &keys_of("order"), "ca.crt").filter(|roots| certificates(roots).len() == 2)
        })
        .await;
    assert!(is_good(&certificate, &roots, ID), "what was made by the old root is still good");
    let kept = api.with(|state| file(state, &keys_of("order"), "tls.crt"));
    assert_eq!(kept.as_deref(), Some(certificate.as_str()), "others may not know the new root yet");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_use_tls_and_the_way_back_is_clean() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    let permissive = |mode: &str| with(spec("order:1"), "auth", json!({ "mtls": mode }));
    order(&api, permissive("permissive"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    shop(&api, "cart", &with(spec("cart:1"), "dependsOn", json!([{ "name": "order" }])));
    let tls = |state: &State, name: &str| Some(document(state, name)?["dependsOn"][0]["tls"].clone());
    api.until("cart calls by TLS", |state| (tls(state, "cart")? == json!({ "sidecar": ID })).then_some(()))
        .await;
    let mode = |state: &State, name: &str| Some(document(state, name)?["auth"]["mtls"]["mode"].clone());
    api.with(|state| {
        assert_eq!(mode(state, "cart").unwrap(), "off");
        let [certificate, roots] =
            ["tls.crt", "ca.crt"].map(|name| file(state, &keys_of("cart"), name).unwrap());
        assert!(is_good(&certificate, &roots, "spiffe://cluster.local/ns/shop/svc/cart"));
        assert_eq!(file(state, &keys_of("order"), "ca.crt"), Some(roots));
    });
    order(&api, permissive("strict"));
    api.until("order is strict", |state| (mode(state, "order")? == "strict").then_some(())).await;

    order(&api, spec("order:1"));
    api.until("cart calls plainly", |state| tls(state, "cart")?.is_null().then_some(())).await;
    for name in ["order", "cart"] {
        api.until("its files are gone", |state| {
            let secret = state.objects.get(&keys_of(name))?;
            let annotations = &secret["metadata"]["annotations"];
            let gone =
                secret["data"]["tls.key"].is_null() && annotations["shopkeeper.dev/certificate"].is_null();
            assert!(secret["data"].as_object().is_some_and(|data| !data.is_empty()), "the MAC key stays");
            (gone && document(state, name)?["auth"].is_null()).then_some(())
        })
        .await;
    }
    api.until("nothing keeps anybody out", |state| state.get(POLICIES, "order-shop").is_none().then_some(()))
        .await;
    idles(&api).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_network_policy_is_put_back() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, strict("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let place = (POLICIES.to_owned(), "shop".to_owned(), "order-shop".to_owned());
    let written = api.with(|state| {
        let policy = state.objects[&place].clone();
        let mut open = policy.clone();
        open["spec"]["ingress"][0].as_object_mut().unwrap().remove("from");
        state.put(place.clone(), open);
        policy
    });
    api.until("it is put back", |state| {
        (state.objects.get(&place)?["spec"] == written["spec"]).then_some(())
    })
    .await;
    operator.stop().await;
}
