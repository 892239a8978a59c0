//! Aborts and rollbacks.

use shop_crds::{
    DecisionOutcome, Reason, Verb,
    status::{Phase, RevisionResult},
};
use shop_release::ServiceKind;

use crate::{running, switched, twice, world::World};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

/// Releases an image that fails, and returns what became of it.
fn fails(image: &str) -> (World, Reason) {
    let mut world = running(2);
    world.image(image);
    world.run_until(300, |world| world.stable() && world.status.last_revision == 2);
    assert_eq!((world.active(), users(&world)), (1, Some(1)));
    world.run(10);
    assert_eq!(world.blocked(), Some(Reason::NotTriedAgain), "{}", world.describe());
    let outcome = world.status.revisions[1].outcome.clone().unwrap();
    assert_eq!(outcome.result, RevisionResult::Aborted);
    assert!(world.observed.pods.iter().all(|pod| pod.revision == 1));
    (world, outcome.reason)
}

#[test]
fn broken_candidates_are_aborted_each_for_its_reason() {
    assert_eq!(fails("pull").1, Reason::ImagePullFailed);
    assert_eq!(fails("crash-2").1, Reason::CrashLoop);
    assert_eq!(fails("unready-2").1, Reason::ProgressDeadlineExceeded);
    assert_eq!(fails("fades-2").1, Reason::CandidateLost);
}

#[test]
fn aborted_inputs_are_tried_again_after_a_change_or_a_retry() {
    let (mut world, _) = fails("crash-2");
    let again = world.decide(Verb::Retry, 2);
    world.run_until(5, |world| world.status.release.is_some());
    world.run_until(60, World::stable);
    world.run(5);
    assert_eq!(world.outcome(&again).0, Some(DecisionOutcome::Done));
    assert_eq!((world.active(), world.blocked()), (1, Some(Reason::NotTriedAgain)));
    world.image("good-1");
    world.run(5);
    assert_eq!(world.blocked(), None);
    world.image("crash-2");
    world.run_until(10, |world| world.status.release.is_some());
}

#[test]
fn a_rollback_while_the_old_revision_is_warm_takes_less_than_a_second() {
    for wait in [0, 3, 12] {
        let mut world = switched();
        world.run(wait);
        let decision = world.decide(Verb::Rollback, 2);
        let began = world.now;
        world.run_until(2, |world| users(world) == Some(1));
        assert!(world.now.duration_since(began).as_millis() <= 1000, "{wait}");
        world.run_until(120, World::stable);
        assert_eq!(world.outcome(&decision).0, Some(DecisionOutcome::Done));
        assert_eq!(world.active(), 1);
        assert_eq!(world.blocked(), Some(Reason::NotTriedAgain));
        assert_eq!(world.status.revisions[1].outcome.as_ref().unwrap().result, RevisionResult::RolledBack);
    }
}

#[test]
fn a_rollback_with_mute_sidecars_waits_half_a_second_only() {
    let mut world = switched();
    world.mute = world.observed.pods.iter().map(|pod| pod.uid.clone()).collect();
    world.decide(Verb::Rollback, 2);
    world.run_until(1, |world| users(world) == Some(1));
}

#[test]
fn pods_that_are_not_ready_any_more_hand_over_too_when_users_go_back() {
    let mut world = switched();
    let pods = |world: &World| world.observed.pods.iter().filter(|pod| pod.revision == 2).count();
    let sick: Vec<String> =
        world.observed.pods.iter().filter(|pod| pod.revision == 2).map(|pod| pod.uid.clone()).collect();
    world.sick.extend(sick.iter().skip(1).cloned());
    world.decide(Verb::Abort, 2);
    world.run_until(2, |world| users(world) == Some(1));
    assert_eq!(pods(&world), 3, "connections to them are open");
    for pod in world.observed.pods.iter().filter(|pod| pod.revision == 2) {
        let (seen, config) = (pod.sidecar.acknowledged.as_ref(), world.observed.configs.iter());
        let told = config.filter(|config| config.revision == 2).map(|config| config.generation).max();
        assert_eq!(seen.map(|seen| seen.generation), told, "{}", pod.name);
        let to = pod.sidecar.endpoints.as_ref().map(|seen| (seen.to_revision, seen.addresses.len()));
        assert_eq!(to, Some((1, 3)), "{}", pod.name);
    }
}

#[test]
fn a_rollback_after_the_drain_brings_the_old_revision_up_first() {
    let mut world = twice();
    world.manual();
    let decision = world.decide(Verb::Rollback, 2);
    world.run_until(60, |world| world.active() == 1);
    world.run_until(120, World::stable);
    assert_eq!(world.outcome(&decision).0, Some(DecisionOutcome::Done));
    assert_eq!(world.blocked(), Some(Reason::NotTriedAgain));
    let none = world.decide(Verb::Rollback, 1);
    world.run(1);
    assert_eq!(world.outcome(&none), (Some(DecisionOutcome::Refused), Some(Reason::NoWayBack)));
}

#[test]
fn the_candidate_without_pods_does_not_stop_an_abort() {
    let mut world = switched();
    world.sick =
        world.observed.pods.iter().filter(|pod| pod.revision == 2).map(|pod| pod.uid.clone()).collect();
    world.run_until(15, |world| users(world) == Some(1));
    world.run_until(90, World::stable);
}

#[test]
fn without_a_stable_pod_no_traffic_moves_and_promotion_is_offered() {
    let mut world = switched();
    let old: Vec<String> =
        world.observed.pods.iter().filter(|pod| pod.revision == 1).map(|pod| pod.uid.clone()).collect();
    world.sick.extend(old);
    world.pass(100);
    let decision = world.decide(Verb::Abort, 2);
    world.run(2);
    assert_eq!(world.outcome(&decision), (Some(DecisionOutcome::Refused), Some(Reason::NoWayBack)));
    assert_eq!(users(&world), Some(2));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn hold_keeps_everything_where_it_is_until_somebody_decides() {
    let mut world = running(2);
    world.hold();
    world.image("fades-2");
    world.run_until(60, |world| world.blocked() == Some(Reason::OnHold));
    assert_eq!((world.phase(), users(&world)), (Phase::Watching, Some(2)));
    world.run(300);
    assert_eq!(users(&world), Some(2));
    world.decide(Verb::Abort, 2);
    world.run_until(3, |world| users(world) == Some(1));
    world.run_until(90, World::stable);
}

#[test]
fn an_unreachable_sidecar_blocks_and_then_aborts() {
    let mut world = running(2);
    world.mute.insert(world.observed.pods[0].uid.clone());
    world.image("good-2");
    world.run_until(60, |world| world.blocked() == Some(Reason::SidecarUnreachable));
    assert_eq!(users(&world), Some(1));
    world.run_until(200, World::stable);
    assert_eq!(world.active(), 1);
}

#[test]
fn a_first_revision_that_fails_stays_and_says_so_and_a_newer_one_helps() {
    let mut world = World::new(crate::world::spec("crash-1", 2));
    world.run(400);
    assert_eq!((world.active(), world.blocked()), (1, Some(Reason::CrashLoop)));
    let ready = world.status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Degraded"));
    world.image("good-2");
    world.run_until(120, |world| world.stable() && world.active() == 2);
}
