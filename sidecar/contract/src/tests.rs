use super::*;

fn document() -> Document {
    let text = r#"{
      "schema": 1,
      "identity": {"namespace": "shop", "service": "order", "serviceUid": "u-1", "revision": 7},
      "leaderEpoch": 3, "generation": 5, "role": "active", "colour": "green", "roleEpoch": 9,
      "app": {"port": 8080, "protocol": "http", "readiness": {"path": "/readyz", "timeoutMs": 5000}},
      "maxConnections": 10000, "drainMaxMs": 600000,
      "handOff": {"toRevision": 8, "share": 10000, "fallback": "order-preview.shop:80", "mayServeLocally": true},
      "pushKeys": {"current": "a2V5"}, "handoverKeys": {"current": "k1"}
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_document_is_what_its_json_says() {
    let document = document();
    assert_eq!(document.validate(), Ok(()));
    let again: Document = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
    assert_eq!(again, document);
    assert_eq!(document_hash(&again), document_hash(&document));
    assert_eq!(document_hash(&document).len(), 16);
    let other = Document { generation: 6, ..again };
    assert_ne!(document_hash(&other), document_hash(&document));
}

#[test]
fn an_unknown_field_is_refused() {
    let mut value = serde_json::to_value(document()).unwrap();
    value["surprise"] = 1.into();
    assert!(serde_json::from_value::<Document>(value).is_err());
}

#[test]
fn what_makes_no_sense_is_named() {
    type Change = fn(&mut Document);
    let cases: [(Change, &str); 5] = [
        (|document| document.schema = SCHEMA + 1, "newer than this sidecar"),
        (|document| document.generation = 0, "generation must be at least 1"),
        (|document| document.identity.service.clear(), "identity.service"),
        (|document| document.hand_off.as_mut().unwrap().share = 10_001, "handOff.share must be 0 to 10000"),
        (|document| document.hand_off.as_mut().unwrap().to_revision = 7, "the revision itself"),
    ];
    for (change, expected) in cases {
        let mut changed = document();
        change(&mut changed);
        let error = changed.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn too_many_addresses_are_refused() {
    let mut endpoints = Endpoints {
        identity: document().identity,
        leader_epoch: 1,
        sequence: 1,
        to_revision: 8,
        addresses: vec!["10.0.0.1:9440".parse().unwrap(); 2_000],
    };
    assert_eq!(endpoints.validate(), Ok(()));
    endpoints.addresses.push("10.0.0.2:9440".parse().unwrap());
    assert!(endpoints.validate().is_err());
}
