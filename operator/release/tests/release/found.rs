//! What the model check found: each story is the shortest way there.

use shop_crds::{Reason, Verb, status::Phase};
use shop_release::{ObjectKind, ObjectRef, Refusal, ServiceKind, Source, SourceKind, SourceState};

use crate::{
    running, switched,
    world::{World, spec},
};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

/// A stranger scales a revision's Deployment.
fn scale(world: &mut World, revision: i64, replicas: i32) {
    let version = world.bump();
    let found = world.observed.deployments.iter_mut().find(|one| one.revision == revision).unwrap();
    (found.replicas, found.drifted, found.resource_version) = (replicas, true, version);
}

fn size(world: &World, revision: i64) -> i32 {
    world.observed.deployments.iter().find(|one| one.revision == revision).unwrap().replicas
}

/// The Services come first on the way back: a Deployment that admission refuses does not keep users on the bad revision.
#[test]
fn a_refused_write_does_not_hold_up_the_way_back() {
    let mut world = switched();
    let object = ObjectRef::new(ObjectKind::Deployment, "order-r2");
    world.observed.refused = vec![Refusal { object, at: world.now, message: "webhook is down".into() }];
    world.decide(Verb::Rollback, 2);
    world.run_until(1, |world| users(world) == Some(1));
}

/// What a stranger scales is put back, also where the planner only keeps a size as it is.
#[test]
fn a_revision_that_is_left_is_not_emptied_by_a_stranger() {
    let mut world = switched();
    world.sick.extend(world.observed.pods.iter().filter(|pod| pod.revision == 1).map(|pod| pod.uid.clone()));
    world.pass(100);
    // With nowhere to go, users stay with the revision that is being left.
    world.sick.extend(world.observed.pods.iter().filter(|pod| pod.revision == 2).map(|pod| pod.uid.clone()));
    world.pass(100);
    world.run_until(60, |world| world.phase() == Phase::Aborting);
    scale(&mut world, 2, 0);
    world.operate();
    world.operate();
    assert_eq!((users(&world), size(&world, 2)), (Some(2), 3));
}

/// A scale-down in the middle of a release moves the candidate too, which its preview Service selects.
#[test]
fn scaling_down_in_a_release_does_not_stop_it() {
    let mut world = running(4);
    world.image("good-2");
    world.run_until(60, |world| {
        size(world, 1) == 4 && world.observed.deployments.len() == 2 && size(world, 2) == 4
    });
    world.apply(|spec| spec.replicas = 2);
    world.run_until(60, |world| world.active() == 2);
    assert_eq!((size(&world, 1), size(&world, 2)), (2, 2));
    assert!(!world.events.iter().any(|event| event.reason == Reason::WriteWithheld));
}

/// Wanted pods come to those who have the users, also when the way back begins before either revision has any.
#[test]
fn a_way_back_from_zero_gives_the_users_pods() {
    let mut world = switched();
    world.apply(|spec| spec.replicas = 0);
    world.run_until(60, |world| size(world, 1) == 0 && size(world, 2) == 0);
    world.apply(|spec| spec.replicas = 2);
    world.decide(Verb::Rollback, 2);
    world.operate();
    world.operate();
    assert_eq!((users(&world), size(&world, 1), size(&world, 2)), (Some(2), 2, 2));
}

/// Pods that a stranger starts of a revision that is struck off already hand over to the revision that drains; they go first.
#[test]
fn a_struck_off_revision_that_runs_again_does_not_keep_the_old_one() {
    let mut world = running(1);
    world.image("crash-2");
    world.run_until(60, |world| world.stable() && world.status.last_revision == 2);
    world.status.revisions.retain(|state| state.number == 1);
    let document = world.observed.configs[0].document.clone().unwrap();
    let hand_off = shop_release::HandOff::of(10_000, 1, ServiceKind::Users, true);
    world.image("good-3");
    world.run_until(60, |world| world.phase() == Phase::Watching);
    let config = world.observed.configs.iter_mut().find(|one| one.revision == 2).unwrap();
    config.document =
        Some(shop_release::SidecarDocument { revision: 2, hand_off: Some(hand_off), ..document });
    scale(&mut world, 2, 1);
    world.run_until(120, World::stable);
    assert_eq!((world.active(), size(&world, 1)), (3, 0));
}

/// A first revision that is stored, and whose config changes before it is copied: its pods can never be made.
fn unmade(replicas: i32) -> World {
    let mut world = World::new(spec("good-1", replicas));
    let source = |hash: &str| Source {
        kind: SourceKind::ConfigMap,
        name: "settings".into(),
        state: SourceState::Found { hash: hash.into(), bytes: 5 },
    };
    world.observed.sources = vec![source("1")];
    world.apply(|spec| {
        spec.config = serde_json::from_str(r#"[{"configMap": "settings", "mountPath": "/x"}]"#).unwrap();
    });
    world.operate();
    world.pass(3_000);
    world.operate_with(0, Some(2), None);
    assert_eq!((world.observed.revisions.len(), world.observed.snapshots.len()), (1, 0));
    world.observed.sources = vec![source("2")];
    world.bump();
    world
}

/// A first revision whose pods could never be made is nothing to go back to.
#[test]
fn a_first_revision_without_pods_gives_way() {
    let mut world = unmade(1);
    world.run_until(60, |world| world.status.release.as_ref().is_some_and(|release| release.to == 2));
    assert_eq!(world.status.release.as_ref().unwrap().from, None, "there is nobody to go back to");
    world.run_until(60, |world| world.stable() && world.active() == 2);
}

/// Nor is it one that serves because no pods are wanted.
#[test]
fn a_first_revision_that_cannot_be_made_does_not_serve_with_no_pods_either() {
    let mut world = unmade(0);
    world.run_until(60, |world| world.stable() && world.active() == 2);
    assert!(!world.status.revisions[0].proven, "{}", world.describe());
    world.apply(|spec| spec.replicas = 2);
    world.run_until(60, |world| world.status.ready.as_deref() == Some("2/2"));
}

/// Users that a stranger sent to the old revision, which is kept warm at its old size, come back to the size that is wanted now.
#[test]
fn users_come_back_from_a_larger_old_revision() {
    let mut world = switched();
    world.run_until(30, |world| {
        world.status.release.as_ref().is_some_and(|release| release.succeeded.is_some())
    });
    world.linger = 10_000;
    world.apply(|spec| spec.replicas = 1);
    world.run_until(10, |world| size(world, 2) == 1);
    assert_eq!(size(&world, 1), 3, "kept as it was");
    let version = world.bump();
    let service = world.observed.services.get_mut(&ServiceKind::Users).unwrap();
    (service.selects, service.drifted, service.resource_version) = (Some(1), true, version);
    world.run_until(2, |world| users(world) == Some(2));
}

/// Where the first revision never had pods, the next one waits for its expand Job with the Services still at the first: nobody
/// loses anything when they move, and the Job is run.
#[test]
fn a_second_first_revision_is_not_kept_from_its_expand_job() {
    let mut world = World::new(spec("good-1", 2));
    world.release(|release| {
        release.jobs = Some(serde_json::from_str(r#"{"expand": {}}"#).unwrap());
    });
    world.observed.refused = vec![Refusal {
        object: ObjectRef::new(ObjectKind::Deployment, "order-r1"),
        at: world.now,
        message: "invalid".into(),
    }];
    world.run(5);
    // The Services were made when the Deployment was refused only later.
    for kind in ServiceKind::ALL {
        let write = shop_release::Write::WriteService { service: kind, selects: 1, replaces: None };
        world.write(&write).unwrap();
    }
    world.image("good-2");
    world.observed.refused.clear();
    world.run_until(60, |world| world.observed.jobs.iter().any(|job| job.name == "order-r2-expand"));
    assert!(!world.events.iter().any(|event| event.reason == Reason::WriteWithheld));
}

/// Where the old revision has no ready pods, the switch comes before any request was handed over: not to a candidate that has lost
/// its own pods meanwhile.
#[test]
fn nothing_is_handed_over_to_a_candidate_without_pods() {
    let sicken = |world: &mut World, revision: i64| {
        let all = world.observed.pods.iter().filter(|pod| pod.revision == revision);
        let all: Vec<String> = all.map(|pod| pod.uid.clone()).collect();
        world.sick.extend(all);
        world.pass(100);
    };
    let mut world = running(3);
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Scaling);
    world.decide(Verb::Pause, 2);
    world.run(10);
    sicken(&mut world, 1);
    world.decide(Verb::Resume, 2);
    // It crashes once the status is written.
    world.operate_with(0, Some(1), None);
    assert_eq!(world.phase(), Phase::Switching);
    sicken(&mut world, 2);
    let handed = |world: &World| {
        let config = world.observed.configs.iter().find(|one| one.revision == 1);
        config.and_then(|one| one.document.as_ref()?.hand_off.clone()).map(|hand_off| hand_off.share)
    };
    world.run(2);
    assert_eq!((handed(&world), users(&world)), (None, Some(1)));
}

/// A manual pause may last for days. Pods of the revision that users have, which are not ready and do not answer, are told for a
/// minute; then they have the document as a file.
#[test]
fn nothing_is_asked_again_and_again_while_people_are_waited_for() {
    let mut world = running(2);
    world.release(|release| {
        release.strategy = shop_crds::service::release::Strategy::Canary;
        let canary = serde_json::json!({
            "steps": [{"pause": "manual"}, {"weight": "50%"}], "match": [{"header": {"user-tier": "premium"}}]
        });
        release.canary = serde_json::from_value(canary).unwrap();
    });
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.run(2);
    let old = world.observed.pods.iter().filter(|pod| pod.revision == 1).map(|pod| pod.uid.clone());
    world.sick.extend(old.collect::<Vec<_>>());
    // What they were told is not known any more.
    world.restart();
    world.run(90);
    let (version, plan) = (world.version, world.operate().planned.unwrap());
    assert_eq!((plan.requeue, world.version), (None, version), "{plan:#?}");
    world.sick.clear();
    world.pass(100);
    world.run_until(5, |world| {
        let pods = world.observed.pods.iter().filter(|pod| pod.revision == 1);
        pods.clone().count() == 2 && pods.clone().all(|pod| pod.sidecar.endpoints.is_some())
    });
}
