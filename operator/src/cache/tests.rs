//! The cache as a plain structure: objects arrive and go.

use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn shop(name: &str, secret: &str) -> DynamicObject {
    object(json!({
        "metadata": { "name": name, "namespace": "shop", "uid": "u", "resourceVersion": "5", "generation": 1 },
        "spec": { "image": "order:1", "port": 8080, "config": [{ "secret": secret, "mountPath": "/etc/x" }] },
        "status": { "leaderEpoch": 3 },
    }))
}

fn labelled(name: &str, service: Option<&str>, version: &str) -> DynamicObject {
    object(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": version,
            "labels": service.map(|service| json!({ "shopkeeper.dev/service": service })),
            "annotations": { "shopkeeper.dev/leader-epoch": "4" },
        },
        "spec": { "replicas": 2 },
        "status": { "conditions": [{ "type": "ReplicaFailure", "status": "True", "message": "quota" }] },
    }))
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("shop", name)
}

fn touched(names: &[&str]) -> Touched {
    names.iter().map(|name| key(name)).collect()
}

#[test]
fn objects_are_found_by_their_service() {
    let cache = Cache::default();
    assert_eq!(cache.apply(Kind::ShopService, &shop("order", "keys")), touched(&["order"]));
    assert_eq!(cache.apply(Kind::Deployment, &labelled("order-r1", Some("order"), "6")), touched(&["order"]));
    let entry = cache.entry(&key("order")).unwrap();
    assert_eq!(entry.version(Kind::Deployment, "order-r1"), Some(("order-r1", "6")));
    let held = &entry.held[&(Kind::Deployment, "order-r1".to_owned())];
    assert_eq!(held.content(), json!({ "spec": { "replicas": 2 } }));
    assert_eq!(held.failure.as_deref(), Some("quota"));
    assert_eq!(cache.highest_epoch(), 4);
    assert_eq!(cache.counts()[&Kind::Deployment], 1);
}

#[test]
fn what_loses_its_label_leaves_its_service() {
    let cache = Cache::default();
    cache.apply(Kind::Deployment, &labelled("order-r1", Some("order"), "6"));
    assert_eq!(
        cache.apply(Kind::Deployment, &labelled("order-r1", Some("cart"), "7")),
        touched(&["cart", "order"])
    );
    assert_eq!(cache.apply(Kind::Deployment, &labelled("order-r1", None, "8")), touched(&["cart"]));
    assert!(cache.entry(&key("cart")).is_none());
}

#[test]
fn a_source_touches_those_that_name_it_when_its_version_changes() {
    let cache = Cache::default();
    cache.apply(Kind::ShopService, &shop("order", "keys"));
    cache.apply(Kind::ShopService, &shop("cart", "other"));
    assert_eq!(cache.apply(Kind::Secret, &labelled("keys", None, "6")), touched(&["order"]));
    assert_eq!(cache.apply(Kind::Secret, &labelled("keys", None, "6")), touched(&[]));
    assert_eq!(cache.source(SourceKind::Secret, "shop", "keys").as_deref(), Some("6"));
    cache.apply(Kind::ShopService, &shop("order", "others"));
    assert_eq!(cache.apply(Kind::Secret, &labelled("keys", None, "7")), touched(&[]));
    let gone = labelled("keys", None, "8");
    cache.delete(Kind::Secret, &gone.metadata);
    assert_eq!(cache.source(SourceKind::Secret, "shop", "keys"), None);
}

#[test]
fn what_a_new_watch_does_not_show_is_gone() {
    let cache = Cache::default();
    for name in ["order-r1", "order-r2"] {
        cache.apply(Kind::Deployment, &labelled(name, Some("order"), "6"));
    }
    cache.apply(Kind::Service, &labelled("order", Some("order"), "6"));
    let seen = HashSet::from([("shop".to_owned(), "order-r2".to_owned())]);
    assert_eq!(cache.replaced(Kind::Deployment, &seen, |_| true), touched(&["order"]));
    let entry = cache.entry(&key("order")).unwrap();
    assert_eq!(entry.held.keys().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["order-r2", "order"]);
}

#[test]
fn a_service_that_cannot_be_read_is_known_as_such() {
    let cache = Cache::default();
    let newer = object(json!({
        "metadata": { "name": "order", "namespace": "shop", "uid": "u", "resourceVersion": "5" },
        "spec": { "image": { "from": "a newer version" } },
    }));
    assert_eq!(cache.apply(Kind::ShopService, &newer), touched(&["order"]));
    assert!(cache.entry(&key("order")).unwrap().shop.unwrap().content.is_err());
    assert_eq!(cache.keys(), [key("order")]);
}

#[test]
fn a_pod_is_pruned_to_what_a_plan_looks_at() {
    let cache = Cache::default();
    let pod = object(json!({
        "metadata": {
            "name": "order-r7-x", "namespace": "shop", "uid": "p", "resourceVersion": "6",
            "labels": { "shopkeeper.dev/service": "order", "shopkeeper.dev/revision": "7" },
        },
        "status": {
            "podIP": "10.244.0.9",
            "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [{
                "name": "app", "ready": false, "restartCount": 2, "image": "order:1", "imageID": "order@sha256:1",
                "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
                "lastState": { "terminated": { "exitCode": 3 } },
            }],
        },
    }));
    cache.apply(Kind::Pod, &pod);
    let entry = cache.entry(&key("order")).unwrap();
    let pod = &entry.pods["order-r7-x"];
    assert_eq!((pod.revision, pod.ready, pod.terminating), (7, false, false));
    assert_eq!(pod.image_id.as_deref(), Some("order@sha256:1"));
    assert_eq!((pod.containers[0].restarts, pod.containers[0].last_exit), (2, Some(3)));
    assert_eq!(pod.containers[0].waiting.as_ref().unwrap().0, "CrashLoopBackOff");
}
