//! Restarts: new pods for the active revision, one after the other, and what can come between.

use shop_crds::{DecisionOutcome, Reason, Verb, status::Phase};
use shop_release::ServiceKind;

use crate::{running, twice, world::World};

/// Runs until the restart has ended; at no time are there fewer ready pods than wanted.
fn run_through(world: &mut World, wanted: usize) {
    for _ in 0..600 {
        world.run(1);
        let ready = world.observed.pods.iter().filter(|one| one.ready && !one.terminating).count();
        assert!(ready >= wanted, "{}", world.describe());
        if world.status.restart.is_none() {
            return;
        }
    }
    panic!("the restart does not end: {}", world.describe());
}

fn records(world: &World) -> Vec<i64> {
    let restarts = world.observed.revisions.iter().flat_map(|one| &one.restarts);
    restarts.map(|one| one.ordinal).collect()
}

#[test]
fn all_pods_are_replaced_and_none_is_missed() {
    let mut world = running(3);
    let before: Vec<String> = world.observed.pods.iter().map(|one| one.uid.clone()).collect();
    let restart = world.decide(Verb::Restart, 1);
    world.run_until(5, |world| world.blocked() == Some(Reason::Restarting));
    assert_eq!(world.outcome(&restart).0, Some(DecisionOutcome::Accepted));
    let progressing = world.status.conditions.iter().find(|one| one.type_ == "Progressing").unwrap();
    assert_eq!((progressing.status.as_str(), progressing.reason.as_str()), ("True", "Restarting"));
    world.run_until(30, |world| {
        let message = world.status.message.clone().unwrap_or_default();
        message == "restarting revision 1: 1 of 3 pods"
    });
    run_through(&mut world, 3);
    world.run(1);
    assert_eq!(world.outcome(&restart).0, Some(DecisionOutcome::Done));
    assert!(world.observed.pods.iter().all(|one| one.restart == 1 && !before.contains(&one.uid)));
    assert_eq!((world.active(), world.status.last_revision, world.stable()), (1, 1, true));
    // Once more, although nothing has changed: only the last record stays.
    world.decide(Verb::Restart, 1);
    world.run(1);
    run_through(&mut world, 3);
    world.run(2);
    assert!(world.observed.pods.iter().all(|one| one.restart == 2));
    assert_eq!((records(&world), world.blocked()), (vec![2], None));
}

#[test]
fn without_pods_it_is_done_at_once_and_the_next_pods_are_new() {
    let mut world = running(2);
    world.apply(|spec| spec.replicas = 0);
    world.run_until(30, |world| world.observed.pods.is_empty());
    let restart = world.decide(Verb::Restart, 1);
    world.run_until(3, |world| world.outcome(&restart).0 == Some(DecisionOutcome::Done));
    assert_eq!((world.status.restart.clone(), world.blocked(), records(&world)), (None, None, vec![1]));
    world.apply(|spec| spec.replicas = 2);
    world.run(10);
    assert_eq!(world.observed.pods.iter().filter(|one| one.ready && one.restart == 1).count(), 2);
}

#[test]
fn restarts_are_for_the_active_revision_outside_of_releases() {
    let mut world = twice();
    for revision in [1, 3] {
        let other = world.decide(Verb::Restart, revision);
        world.run(1);
        assert_eq!(world.outcome(&other), (Some(DecisionOutcome::Refused), Some(Reason::StaleRevision)));
    }
    world.manual();
    world.image("good-3");
    world.run_until(30, |world| world.phase() == Phase::Verifying);
    let during = world.decide(Verb::Restart, 2);
    world.run(1);
    assert_eq!(world.outcome(&during), (Some(DecisionOutcome::Refused), Some(Reason::Releasing)));
    assert_eq!(records(&world), Vec::<i64>::new());
}

#[test]
fn pods_that_do_not_get_ready_leave_the_others_and_a_second_restart_helps() {
    let mut world = running(3);
    let restart = world.decide(Verb::Restart, 1);
    world.run_until(5, |world| world.observed.pods.iter().any(|one| one.restart == 1));
    for _ in 0..1_500 {
        let new = world.observed.pods.iter().filter(|one| one.restart == 1).map(|one| one.uid.clone());
        world.sick = new.collect();
        world.operate();
        world.pass(100);
        let old = world.observed.pods.iter().filter(|one| one.ready && one.restart == 0).count();
        assert_eq!(old, 3);
    }
    assert_eq!(world.blocked(), Some(Reason::RestartFailed));
    let blocked = world.status.blocked.clone().unwrap();
    assert!(blocked.message.contains("restarting revision 1: 0 of 3 pods"), "{}", blocked.message);
    assert_eq!(blocked.command.as_deref(), Some("kubectl shop restart order --revision 1 -n shop"));
    let again = world.decide(Verb::Restart, 1);
    world.run_until(60, |world| world.status.restart.is_none());
    world.run(1);
    assert_eq!(world.outcome(&restart), (Some(DecisionOutcome::Refused), Some(Reason::Superseded)));
    assert_eq!(world.outcome(&again).0, Some(DecisionOutcome::Done));
    assert!(world.observed.pods.iter().all(|one| one.restart == 2));
}

#[test]
fn a_release_is_not_held_up_by_a_restart() {
    let mut world = running(3);
    let restart = world.decide(Verb::Restart, 1);
    world.run_until(5, |world| world.observed.pods.iter().any(|one| one.restart == 1));
    world.image("good-2");
    world.run_until(120, |world| world.active() == 2 && world.stable());
    world.run(1);
    assert!(world.status.restart.is_none());
    assert!(world.outcome(&restart).0.is_some_and(|outcome| outcome != DecisionOutcome::Accepted));
    // Back again: the last template of the revision is the one that counts.
    world.decide(Verb::Rollback, 2);
    world.run_until(120, |world| world.active() == 1 && world.stable());
    assert!(world.observed.pods.iter().filter(|one| one.revision == 1).all(|one| one.restart == 1));
}

#[test]
fn a_crash_anywhere_in_it_restarts_once() {
    for crash in 0..4 {
        let mut world = running(2);
        let restart = world.decide(Verb::Restart, 1);
        for _ in 0..3 {
            world.operate_with(0, Some(crash), None);
            world.restart();
        }
        world.run_until(60, |world| {
            world.status.restart.is_none() && world.outcome(&restart).0 == Some(DecisionOutcome::Done)
        });
        assert_eq!((world.status.revisions[0].restarts, records(&world)), (1, vec![1]), "{crash}");
    }
}

#[test]
fn records_go_with_their_revision_and_a_lost_status_knows_them() {
    let mut world = running(1);
    world.decide(Verb::Restart, 1);
    world.run(1);
    run_through(&mut world, 1);
    world.status = shop_crds::ShopServiceStatus::default();
    world.subject.resource_version = world.bump();
    world.run(5);
    assert_eq!((world.status.revisions[0].restarts, world.stable()), (1, true));
    assert_eq!(world.observed.services[&ServiceKind::Users].selects, Some(1));
    world.release(|release| {
        release.rollback_window = Some(1);
        release.history_limit = Some(1);
    });
    for image in ["good-2", "good-3", "good-4"] {
        world.image(image);
        world.run(60);
    }
    world.run(60);
    assert!(world.observed.revisions.iter().all(|one| one.number != 1), "{}", world.describe());
    assert_eq!(records(&world), Vec::<i64>::new());
}

/// A sidecar that is older than what it is told refuses it, and goes on as before: nobody would see why nothing changes.
#[test]
fn who_has_older_sidecars_is_told_to_restart() {
    let mut world = running(2);
    let message = "refused: cannot be read: unknown field `faults`, expected one of `schema`, `identity`";
    let (since, at) = (world.now, world.now);
    let failed = shop_release::PushFailed { since, at, message: message.into() };
    world.observed.pods[0].sidecar.failed = Some(failed);
    world.run(2);
    let blocked = world.status.blocked.clone().unwrap();
    assert_eq!(blocked.reason, Reason::SidecarUnreachable);
    assert_eq!(blocked.command.as_deref(), Some("kubectl shop restart order -n shop"));
    assert!(blocked.message.contains("is older than a field that the spec uses"), "{}", blocked.message);
    world.observed.pods[0].sidecar.failed = None;
    world.run(2);
    assert_eq!(world.blocked(), None);
}
