//! Which documents a sidecar accepts, and from whom.

use std::sync::Arc;

use crate::support::client::get;
use crate::support::{Keys, Pod, TestApp, document, identity, to, until, write_document};
use shop_contract::{Endpoints, Push, Role, document_hash};
use tempfile::TempDir;

#[tokio::test]
async fn a_push_is_acknowledged_and_said_twice_changes_nothing() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let pod = Pod::start(7, app.port, &keys).await;
    let mut newer = pod.document.clone();
    newer.generation = 5;
    newer.role_epoch = 3;
    for _ in 0..2 {
        let (status, acknowledgement) = pod.push(&Push::Document(newer.clone())).await;
        assert_eq!((status, acknowledgement.refused.clone()), (200, None));
        assert_eq!(
            (acknowledgement.generation, acknowledgement.role_epoch, acknowledgement.revision),
            (5, 3, 7)
        );
        assert_eq!(acknowledgement.hash, document_hash(&newer));
    }
    let (status, asked) = pod.push(&Push::Query(identity(7))).await;
    assert_eq!((status, asked.generation), (200, 5));
    assert!(pod.metrics().await.contains("shop_sidecar_config_generation 5"));
}

#[tokio::test]
async fn what_is_not_newer_not_for_this_pod_or_not_valid_is_refused() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let mut first = document(7, app.port, &keys);
    (first.leader_epoch, first.generation) = (3, 5);
    let pod = Pod::with(first.clone(), &keys).await;
    let changed = |change: &dyn Fn(&mut shop_contract::Document)| {
        let mut document = first.clone();
        document.generation = 9;
        change(&mut document);
        Push::Document(document)
    };
    let refusals = [
        (409, "generation", changed(&|document| document.generation = 4)),
        (409, "generation", changed(&|document| (document.generation, document.role_epoch) = (5, 99))),
        (409, "epoch", changed(&|document| document.leader_epoch = 2)),
        (409, "is for", changed(&|document| document.identity.revision = 8)),
        (409, "is for", changed(&|document| document.identity.service_uid = "uid-2".into())),
        (400, "schema", changed(&|document| document.schema = 99)),
        (400, "handOff", changed(&|document| document.hand_off = Some(to(7, 1, "a:1", true)))),
        (400, "share", changed(&|document| document.hand_off = Some(to(8, 10_001, "a:1", true)))),
        (400, "pushKeys.current", changed(&|document| document.push_keys.current = "nokey".into())),
        (409, "\"k9\"", changed(&|document| document.handover_keys.current = "k9".into())),
        (409, "is for", Push::Query(identity(8))),
    ];
    for (expected, word, push) in refusals {
        let (status, acknowledgement) = pod.push(&push).await;
        let refused = acknowledgement.refused.unwrap_or_default();
        assert!(
            status == expected && refused.contains(word),
            "{status} {refused:?}, expected {expected} {word:?}"
        );
        assert_eq!(acknowledgement.generation, 5, "what is in use stays, and is told");
    }
    let later = changed(&|document| (document.leader_epoch, document.generation) = (4, 1));
    assert_eq!(pod.push(&later).await.0, 200, "a new leader's document is newer whatever its generation");
    let metrics = pod.metrics().await;
    for cause in ["generation", "epoch", "identity", "invalid", "public-key", "mac-key"] {
        assert!(
            metrics.contains(&format!("shop_sidecar_config_refused_total{{cause=\"{cause}\"}}")),
            "{cause}: {metrics}"
        );
    }
}

#[tokio::test]
async fn only_the_operators_signature_over_these_bytes_counts() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let pod = Pod::start(7, app.port, &keys).await;
    let bytes = serde_json::to_vec(&Push::Query(identity(7))).expect("json");
    let mut other_bytes = bytes.clone();
    other_bytes.push(b' ');
    let signatures = [Keys::new().sign(&bytes), keys.sign(&other_bytes), "garbage".to_owned(), String::new()];
    for signature in signatures {
        let (status, acknowledgement) = pod.push_bytes(bytes.clone(), &signature).await;
        assert_eq!((status, acknowledgement.generation), (400, 0), "{signature}");
        assert!(acknowledgement.refused.is_some_and(|refused| refused.contains("signature")));
    }
    assert_eq!(pod.push_bytes(bytes.clone(), &keys.sign(&bytes)).await.0, 200);
}

#[tokio::test]
async fn keys_are_rotated_by_documents() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let pod = Pod::start(7, app.port, &keys).await;
    let successor = Keys::new();
    let bytes = serde_json::to_vec(&Push::Query(identity(7))).expect("json");
    assert_eq!(pod.push_bytes(bytes.clone(), &successor.sign(&bytes)).await.0, 400);
    let mut announced = pod.document.clone();
    announced.generation = 2;
    announced.push_keys.next = Some(successor.public().current);
    assert_eq!(pod.push(&Push::Document(announced)).await.0, 200);
    assert_eq!(pod.push_bytes(bytes.clone(), &successor.sign(&bytes)).await.0, 200);
}

#[tokio::test]
async fn endpoints_are_ordered_by_epoch_and_sequence() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let mut first = document(7, app.port, &keys);
    first.leader_epoch = 2;
    let pod = Pod::with(first, &keys).await;
    let endpoints = |leader_epoch, sequence, to_revision| {
        let addresses = vec!["10.0.0.1:9440".parse().expect("address")];
        Push::Endpoints(Endpoints { identity: identity(7), leader_epoch, sequence, to_revision, addresses })
    };
    let pushes = [
        (endpoints(2, 5, 8), 200, 5),
        (endpoints(2, 5, 8), 200, 5),
        (endpoints(2, 5, 9), 409, 5),
        (endpoints(2, 4, 8), 409, 5),
        (endpoints(1, 9, 8), 409, 5),
        (endpoints(3, 1, 8), 200, 1),
        (endpoints(2, 9, 8), 409, 1),
    ];
    for (push, expected, seen) in pushes {
        let (status, acknowledgement) = pod.push(&push).await;
        assert_eq!((status, acknowledgement.endpoints_seen), (expected, seen), "{push:?}");
        assert_eq!(acknowledgement.endpoints_revision, 8);
    }
}

#[tokio::test]
async fn the_mounted_document_is_followed() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let document = document(7, app.port, &keys);
    let pod = Pod::mounted(None, document.clone(), &keys, Arc::new(TempDir::new().expect("folder"))).await;
    assert_eq!(pod.readiness().await, 503);
    assert_eq!(pod.push(&Push::Query(identity(7))).await.0, 409, "no key is known before the first document");
    assert_eq!(get(pod.sidecar.admin, "/livez").await.0, 200, "the sidecar itself is up");
    assert_eq!(get(pod.sidecar.inbound, "/").await.0, 503);

    write_document(&pod.config_dir, &document);
    until("the document is read", async || pod.readiness().await == 200).await;
    let mut newer = document.clone();
    newer.generation = 2;
    newer.role = Role::Retiring;
    write_document(&pod.config_dir, &newer);
    until("the change is read", async || {
        pod.sidecar.config.current().is_some_and(|current| current.document.generation == 2)
    })
    .await;

    // A bad document and one of an old leader change nothing.
    let mut late = newer.clone();
    (late.leader_epoch, late.generation) = (0, 9);
    write_document(&pod.config_dir, &late);
    until("it is refused", async || {
        pod.metrics().await.contains(r#"_config_refused_total{cause="invalid"}"#)
    })
    .await;
    assert_eq!(pod.sidecar.config.current().map(|current| current.document.generation), Some(2));
}

#[tokio::test]
async fn the_newer_of_kept_and_mounted_wins_at_the_start() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let state = Arc::new(TempDir::new().expect("folder"));
    let first = document(7, app.port, &keys);
    let pod = Pod::mounted(Some(&first), first.clone(), &keys, Arc::clone(&state)).await;
    let mut newer = first.clone();
    newer.generation = 4;
    assert_eq!(pod.push(&Push::Document(newer)).await.0, 200);
    drop(pod);
    let generation = |pod: &Pod| pod.sidecar.config.current().map(|current| current.document.generation);
    let restarted = Pod::mounted(Some(&first), first.clone(), &keys, Arc::clone(&state)).await;
    assert_eq!(generation(&restarted), Some(4), "the push had been ahead of the mount");
    drop(restarted);
    let mut newest = first.clone();
    newest.generation = 6;
    let restarted = Pod::mounted(Some(&newest), first.clone(), &keys, state).await;
    assert_eq!(generation(&restarted), Some(6), "the mount is ahead of the kept one");
}

#[tokio::test]
async fn the_role_is_told_and_its_change_awaited() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let pod = Pod::start(7, app.port, &keys).await;
    let (status, body) = get(pod.sidecar.admin, "/role").await;
    assert_eq!((status, &body[..]), (200, &br#"{"role":"active","revision":7,"roleEpoch":1}"#[..]));
    let admin = pod.sidecar.admin;
    let waiting = tokio::spawn(async move { get(admin, "/role?epoch=1").await });
    let mut newer = pod.document.clone();
    (newer.generation, newer.role, newer.role_epoch) = (2, Role::Retiring, 2);
    assert_eq!(pod.push(&Push::Document(newer)).await.0, 200);
    let (status, body) = waiting.await.expect("answer");
    assert_eq!((status, &body[..]), (200, &br#"{"role":"retiring","revision":7,"roleEpoch":2}"#[..]));
}
