//! Releases as they are meant to go.

use shop_crds::{
    Reason,
    status::{Phase, RevisionResult},
};
use shop_release::{JwtKeys, ServiceKind, Source, SourceKind, SourceState};

use crate::{
    running, switched, twice,
    world::{World, spec},
};

#[test]
fn the_first_revision_is_selected_at_once() {
    let mut world = World::new(spec("good-1", 3));
    world.run_until(10, |world| world.observed.services.len() == 3);
    assert_eq!(world.active(), 1);
    assert_eq!(world.phase(), Phase::Preparing);
    world.run_until(30, World::stable);
    assert_eq!(world.status.stable.as_ref().unwrap().revision, 1);
    assert_eq!(world.status.ready.as_deref(), Some("3/3"));
    assert!(world.operate().planned.unwrap().requeue.is_none(), "a stable service waits for changes only");
}

#[test]
fn a_release_goes_from_one_revision_to_the_next() {
    let mut world = running(3);
    world.written.clear();
    world.image("good-2");
    world.run_until(120, |world| world.stable() && world.active() == 2);
    world.run(5);
    let writes = &world.written;
    assert!(writes.len() <= 24, "{} writes: {writes:#?}", writes.len());
    assert_eq!(world.observed.deployments.iter().find(|one| one.revision == 1).unwrap().replicas, 0);
    let outcome = world.status.revisions[1].outcome.clone().unwrap();
    assert_eq!(outcome.result, RevisionResult::Completed);
}

#[test]
fn a_converged_service_is_left_alone() {
    let mut world = twice();
    world.run(30);
    let before = (world.written.len(), world.status.clone());
    world.run(100);
    world.restart();
    world.run(10);
    assert_eq!((world.written.len(), world.status.clone()), before, "not even a new leader writes");
}

#[test]
fn inputs_settle_before_a_revision_is_cut() {
    let mut world = running(1);
    for image in ["good-2", "good-3", "good-4"] {
        world.image(image);
        world.run(1);
        assert_eq!(world.blocked(), Some(Reason::Settling));
    }
    world.run_until(60, |world| world.stable() && world.active() == 2);
    assert_eq!(world.status.revisions[1].image, "good-4");
    assert_eq!(world.status.last_revision, 2);
}

#[test]
fn keys_for_tokens_come_before_documents_name_them() {
    let mut world = running(2);
    let secret = |hash: &str| Source {
        kind: SourceKind::Secret,
        name: "token-keys".into(),
        state: SourceState::Found { hash: hash.into(), bytes: 100 },
    };
    let asked = |world: &World| {
        let document = world.observed.configs.last().unwrap().document.clone().unwrap();
        document.jwt.map(|jwt| jwt.keys)
    };
    world.apply(|spec| {
        let auth = r#"{"jwt": {"issuer": "a", "audience": "b", "secretRef": {"name": "token-keys"}}}"#;
        spec.auth = Some(serde_json::from_str(auth).unwrap());
    });
    world.observed.sources = vec![Source { state: SourceState::Missing, ..secret("") }];
    world.run(2);
    assert_eq!((asked(&world), world.blocked()), (None, Some(Reason::ConfigMissing)));
    for hash in ["1", "2"] {
        world.observed.sources = vec![secret(hash)];
        world.run(5);
        assert_eq!(asked(&world), Some(JwtKeys::Secret(hash.into())));
        assert_eq!(world.observed.token_keys.as_deref(), Some(hash));
    }
    world.observed.sources = vec![Source { state: SourceState::Missing, ..secret("") }];
    world.run(5);
    assert_eq!(asked(&world), Some(JwtKeys::Secret("2".into())), "nobody is let in because a Secret is gone");
    world.apply(|spec| {
        let auth = r#"{"jwt": {"issuer": "a", "audience": "b", "jwks": "http://user/keys"}}"#;
        spec.auth = Some(serde_json::from_str(auth).unwrap());
    });
    world.run(5);
    assert_eq!(asked(&world), Some(JwtKeys::Jwks("http://user/keys".into())));
    assert_eq!(world.status.last_revision, 1, "tokens are no part of a revision");
}

#[test]
fn live_fields_change_without_a_revision() {
    let mut world = running(2);
    world.apply(|spec| spec.replicas = 5);
    world.run_until(30, |world| world.status.ready.as_deref() == Some("5/5"));
    world.apply(|spec| {
        spec.sidecar =
            serde_json::from_str(r#"{"maxConnections": 77, "trustedHops": ["10.0.0.0/8"]}"#).unwrap();
    });
    world.run(2);
    let document = world.observed.configs[0].document.as_ref().unwrap();
    assert_eq!(
        (document.max_connections, document.trusted_hops.as_slice()),
        (77, &["10.0.0.0/8".to_owned()][..])
    );
    world.apply(|spec| spec.limits = serde_json::from_str(r#"{"maxBodyBytes": "1Ki"}"#).unwrap());
    world.run(2);
    let limits = world.observed.configs[0].document.as_ref().unwrap().limits.clone().unwrap();
    assert_eq!(limits.max_body_bytes.unwrap().units(), Some(1_024));
    world.apply(|spec| spec.limits = Some(shop_crds::service::limits::Limits::default()));
    world.run(2);
    assert_eq!(world.observed.configs[0].document.as_ref().unwrap().limits, None);
    let told =
        |pod: &shop_release::Pod| pod.sidecar.acknowledged.as_ref().map(|seen| seen.generation) == Some(4);
    assert!(world.observed.pods.iter().all(told), "{}", world.describe());
    assert_eq!(world.status.last_revision, 1);
}

/// Pods that share limits know each other, outside of releases too; and a service without limits costs no push.
#[test]
fn pods_that_share_limits_are_told_of_each_other() {
    let mut world = running(2);
    world.run(2);
    assert!(world.observed.pods.iter().all(|pod| pod.sidecar.peers.is_none()));
    let limits = r#"{"rate": [{"per": "ip", "requests": 10, "window": "1m"}]}"#;
    world.apply(|spec| spec.limits = serde_json::from_str(limits).unwrap());
    let knows = |pod: &shop_release::Pod| pod.sidecar.peers.as_ref().map_or(0, |peers| peers.addresses.len());
    world.run_until(10, |world| world.observed.pods.iter().all(|pod| knows(pod) == 2));
    world.apply(|spec| spec.replicas = 3);
    world.run_until(30, |world| {
        world.observed.pods.len() == 3 && world.observed.pods.iter().all(|pod| knows(pod) == 3)
    });
}

#[test]
fn scaling_in_a_release_moves_both_revisions() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.apply(|spec| spec.replicas = 4);
    world.run_until(30, |world| world.observed.deployments[0].replicas == 4);
    assert_eq!(world.observed.deployments[1].replicas, 1, "the preview keeps its size");
    world.release(|release| release.promote = shop_crds::service::release::Promote::Automatic);
    world.run_until(60, |world| world.active() == 2);
    assert_eq!(world.status.ready.as_deref(), Some("4/4"));
}

#[test]
fn the_old_revision_hands_over_until_it_is_gone() {
    let mut world = switched();
    world.run(1);
    let hand_off = world.observed.configs[0].document.as_ref().unwrap().hand_off.clone().unwrap();
    assert_eq!((hand_off.to_revision, hand_off.share, hand_off.may_serve_locally), (2, 10_000, false));
    assert_eq!(hand_off.fallback, ServiceKind::Users);
    world.run_until(60, |world| world.phase() == Phase::Draining || world.stable());
    world.run_until(60, World::stable);
    assert_eq!(world.observed.budgets.iter().map(|one| one.revision).collect::<Vec<_>>(), [2]);
}

#[test]
fn draining_waits_for_requests_and_no_longer_than_drain_max() {
    let mut world = running(2);
    world.linger = 10_000;
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Draining);
    world.run(50);
    assert_eq!(world.phase(), Phase::Draining);
    world.run_until(15, World::stable);
}

#[test]
fn equal_inputs_return_to_the_living_revision_under_its_number() {
    let mut world = twice();
    world.image("good-1");
    world.run_until(120, |world| world.stable() && world.active() == 1);
    assert_eq!(world.status.last_revision, 2);
    world.image("good-3");
    world.run_until(120, |world| world.stable() && world.active() == 3);
}

#[test]
fn config_is_snapshotted_and_a_change_of_it_is_a_revision() {
    let mut world = running(1);
    let source = |hash: &str| Source {
        kind: SourceKind::ConfigMap,
        name: "settings".into(),
        state: SourceState::Found { hash: hash.into(), bytes: 10 },
    };
    world.apply(|spec| {
        spec.config = serde_json::from_str(r#"[{"configMap": "settings", "mountPath": "/etc/x"}]"#).unwrap();
    });
    world.observed.sources = vec![Source { state: SourceState::Missing, ..source("") }];
    world.run(5);
    assert_eq!(world.blocked(), Some(Reason::ConfigMissing));
    world.observed.sources = vec![source("a")];
    world.bump();
    world.run_until(60, |world| world.stable() && world.active() == 2);
    world.observed.sources = vec![source("b")];
    world.bump();
    world.run_until(60, |world| world.stable() && world.active() == 3);
    let kept: Vec<&str> = world.observed.snapshots.iter().map(|one| one.snapshot.hash.as_str()).collect();
    assert_eq!(kept, ["a", "b"]);
}

#[test]
fn revisions_past_the_history_limit_are_removed() {
    let mut world = running(1);
    world.release(|release| release.history_limit = Some(3));
    for number in 2..=7 {
        world.image(&format!("good-{number}"));
        world.run_until(120, |world| world.stable() && world.active() == number);
    }
    world.run(10);
    let kept: Vec<i64> = world.status.revisions.iter().map(|one| one.number).collect();
    assert_eq!(kept, [4, 5, 6, 7]);
    assert_eq!(world.observed.revisions.iter().map(|one| one.number).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert_eq!(world.observed.configs.len(), 4);
    assert_eq!(world.observed.deployments.len(), 4);
}

#[test]
fn a_return_inside_of_the_rollback_window_needs_no_decision() {
    let mut world = twice();
    world.manual();
    world.image("good-1");
    let began = world.now;
    world.run_until(10, |world| world.active() == 1);
    assert!(world.now.duration_since(began).as_secs() <= 5, "settle, pods, switch");
    world.run_until(60, World::stable);
    world.release(|release| release.rollback_window = Some(0));
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
}

#[test]
fn a_revision_that_was_left_is_none_of_the_rollback_window() {
    let mut world = twice();
    world.decide(shop_crds::Verb::Rollback, 2);
    world.run_until(120, |world| world.stable() && world.active() == 1);
    world.manual();
    world.image("good-3");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.image("good-2");
    world.run_until(60, |world| {
        world.blocked() == Some(Reason::AwaitingPromotion)
            && world.status.release.as_ref().is_some_and(|release| release.to == 2)
    });
}

#[test]
fn a_promotion_comes_by_itself_once_nobody_has_decided_for_long_enough() {
    let mut world = running(1);
    world.release(|release| release.promote_after = Some(shop_crds::Span::secs(600)));
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    let since = world.status.release.as_ref().unwrap().phase_since.0;
    let next = world.status.blocked.as_ref().unwrap().next_check.clone().unwrap().0;
    assert_eq!(next.duration_since(since).as_secs(), 600);
    world.restart();
    world.run(590);
    assert_eq!(world.blocked(), Some(Reason::AwaitingPromotion));
    world.run_until(60, |world| world.active() == 2);
    let by = world.status.release.as_ref().unwrap().promoted_by.clone();
    assert_eq!(by.as_deref(), Some("spec.release.promoteAfter: 10m"));
}

#[test]
fn a_newer_revision_takes_the_place_of_the_candidate() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.image("good-3");
    world.run_until(30, |world| {
        world.blocked() == Some(Reason::AwaitingPromotion) && world.status.last_revision == 3
    });
    world.run_until(30, |world| world.observed.pods.iter().all(|pod| pod.revision != 2));
    assert_eq!(world.active(), 1);
}

#[test]
fn after_the_switch_a_newer_revision_waits_for_the_end() {
    let mut world = switched();
    world.release(|release| release.keep_old = Some(shop_crds::Span::secs(3600)));
    world.image("good-3");
    world.run_until(60, |world| world.stable() && world.active() == 2 || world.active() == 3);
    world.run_until(120, |world| world.active() == 3);
}

#[test]
fn going_back_to_the_active_inputs_ends_the_release() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.image("good-1");
    world.run_until(10, World::stable);
    assert_eq!(world.active(), 1);
    world.run_until(30, |world| world.status.revisions.len() == 1 && world.observed.revisions.len() == 1);
}

#[test]
fn a_service_without_pods_is_released_too() {
    let mut world = running(0);
    world.image("good-2");
    world.run_until(60, |world| world.stable() && world.active() == 2);
}

#[test]
fn a_template_laid_over_is_shown_to_the_api_server_before_it_is_cut() {
    let mut world = running(1);
    world.against = Some("spec.template.spec.nodeSelektor: unknown field".into());
    let overlay = |text: serde_json::Value| serde_json::from_value(text).unwrap();
    world.apply(|spec| spec.pod = overlay(serde_json::json!({"spec": {"nodeSelektor": {"disk": "ssd"}}})));
    world.run_until(20, |world| world.blocked() == Some(Reason::InvalidSpec));
    assert!(world.status.message.as_ref().unwrap().contains("nodeSelektor"), "{:?}", world.status.message);
    assert_eq!(world.status.last_revision, 1, "nothing is cut of it");
    world.against = None;
    world.run_until(90, |world| world.stable() && world.active() == 2);
}

#[test]
fn an_overlay_of_a_field_that_the_service_has_is_named() {
    let mut world = running(1);
    let overlay = serde_json::json!({"spec": {"containers": [{"name": "app", "image": "other"}]}});
    world.apply(|spec| spec.pod = serde_json::from_value(overlay).unwrap());
    world.run_until(20, |world| world.blocked() == Some(Reason::InvalidSpec));
    assert!(
        world.status.message.as_ref().unwrap().contains("write spec.image"),
        "{:?}",
        world.status.message
    );
    world.apply(|spec| spec.pod = None);
    world.run_until(20, |world| world.blocked().is_none());
}
