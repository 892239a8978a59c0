//! Differences as people see them.

use super::*;

fn record(number: i64, image: &str, log: &str, settings: &str) -> Record {
    let template = json!({
        "metadata": {"labels": {"shopkeeper.dev/revision": number.to_string(), "shopkeeper.dev/service": "order"}},
        "spec": {
            "terminationGracePeriodSeconds": 630,
            "initContainers": [{"name": "shop-sidecar", "image": "sidecar:1", "env": [{"name": "SHOP_REVISION", "value": number.to_string()}]}],
            "containers": [{
                "name": "app", "image": image, "args": ["serve", log],
                "env": [{"name": "LOG", "value": log}],
                "envFrom": [{"configMapRef": {"name": format!("order-r{number}-settings")}}],
            }],
        },
    });
    let facts = serde_json::from_value(json!({
        "hash": "h", "image": image, "port": 8080, "protocol": "http", "readinessTimeoutMs": 5000, "drainMax": "10m",
        "sidecarMemory": 1,
        "snapshots": [
            {"kind": "configMap", "source": "settings", "name": format!("order-r{number}-settings"), "hash": settings},
            {"kind": "secret", "source": "keys", "name": format!("order-r{number}-keys"), "hash": "same"},
        ],
    }))
    .unwrap();
    Record { number, facts, template }
}

#[test]
fn only_what_the_user_changed_differs() {
    let (six, seven) = (record(6, "order:1", "info", "a"), record(7, "order:2", "debug", "b"));
    let found = inputs("order", &six, &seven);
    let fields: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|one| (one.field.as_str(), one.from.as_deref().unwrap(), one.to.as_deref().unwrap()))
        .collect();
    assert_eq!(
        fields,
        [
            ("args", r#"["serve","info"]"#, r#"["serve","debug"]"#),
            ("env[LOG].value", "info", "debug"),
            ("image", "order:1", "order:2"),
        ]
    );
    assert_eq!(inputs("order", &six, &record(9, "order:1", "info", "a")), []);
}

#[test]
fn sources_with_the_same_content_are_left_out() {
    let (six, seven) = (record(6, "order:1", "info", "a"), record(7, "order:2", "debug", "b"));
    let (old, new) = (Some("order-r6-settings".to_owned()), Some("order-r7-settings".to_owned()));
    assert_eq!(sources(&six, &seven), [(SourceKind::ConfigMap, "settings".to_owned(), old.clone(), new)]);
    let mut without = record(8, "order:1", "info", "a");
    without.facts.snapshots.clear();
    assert_eq!(sources(&six, &without)[0], (SourceKind::ConfigMap, "settings".to_owned(), old, None));
}

#[test]
fn values_of_config_maps_are_shown_and_of_secrets_never() {
    let map = |text: &str| Content {
        shown: [("app.yaml".to_owned(), text.to_owned())].into(),
        ..Content::default()
    };
    let found = keys(&map("a: 1\nb: 2\n"), &map("a: 1\nb: 3\n"));
    assert_eq!(found[0].diff.as_deref(), Some("@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n"));
    let secret = |pairs: &[(&str, &str)]| Content {
        hidden: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
        ..Content::default()
    };
    let found = keys(
        &secret(&[("password", "hunter2"), ("old", "x"), ("same", "y")]),
        &secret(&[("password", "swordfish"), ("new", "x"), ("same", "y")]),
    );
    let told: Vec<(&str, &str)> = found.iter().map(|one| (one.key.as_str(), one.change)).collect();
    assert_eq!(told, [("new", "added"), ("old", "removed"), ("password", "changed")]);
    assert!(found.iter().all(|one| one.diff.is_none()));
}
