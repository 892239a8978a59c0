//! What cannot run twice: at no time pods of two revisions exist.

use std::collections::BTreeSet;

use shop_crds::{DecisionOutcome, Reason, Verb, service::release::Strategy, status::Phase};
use shop_release::ServiceKind;

use crate::{
    running,
    world::{Dice, World},
};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

fn revisions(world: &World) -> BTreeSet<i64> {
    world.observed.pods.iter().map(|pod| pod.revision).collect()
}

/// Runs until `done`, and looks at all pods after every moment.
fn alone_until(world: &mut World, seconds: i64, done: impl Fn(&World) -> bool) {
    world.run_until(seconds, |world| {
        assert!(revisions(world).len() <= 1, "{:?} run: {}", revisions(world), world.describe());
        done(world)
    });
}

fn single(replicas: i32) -> World {
    let mut world = running(replicas);
    world.release(|release| release.strategy = Strategy::Recreate);
    world.farewell = jiff::SignedDuration::from_secs(20);
    world
}

#[test]
fn the_old_revision_is_gone_before_the_new_one_starts() {
    let mut world = single(2);
    world.image("good-2");
    alone_until(&mut world, 20, |world| world.phase() == Phase::Scaling);
    world.run(1);
    let blocked = world.status.blocked.clone().unwrap();
    assert_eq!((blocked.reason, users(&world)), (Reason::Draining, Some(1)));
    assert!(blocked.message.contains("revision 1 stops, then revision 2 starts"), "{}", blocked.message);
    assert!(blocked.next_check.is_some() && blocked.command.is_some());
    alone_until(&mut world, 60, |world| users(world) == Some(2));
    alone_until(&mut world, 60, World::stable);
    assert_eq!((world.active(), revisions(&world)), (2, BTreeSet::from([2])));
    world.written.clear();
    world.run(30);
    assert!(world.written.is_empty(), "{:?}", world.written);
}

#[test]
fn the_decision_comes_before_the_old_revision_is_stopped() {
    let mut world = single(1);
    world.manual();
    world.image("good-2");
    alone_until(&mut world, 20, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.run(300);
    assert_eq!((revisions(&world), world.status.ready.as_deref()), (BTreeSet::from([1]), Some("1/1")));
    world.decide(Verb::Promote, 2);
    alone_until(&mut world, 90, |world| world.stable() && world.active() == 2);
}

#[test]
fn an_abort_before_the_stop_disturbs_nobody() {
    let mut world = single(1);
    world.manual();
    world.image("good-2");
    alone_until(&mut world, 20, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    let pod = world.observed.pods[0].uid.clone();
    world.decide(Verb::Abort, 2);
    alone_until(&mut world, 10, World::stable);
    world.run(5);
    assert_eq!((world.active(), world.observed.pods[0].uid.clone()), (1, pod));
}

#[test]
fn a_candidate_that_fails_is_gone_before_the_old_revision_comes_back() {
    for image in ["crash-2", "pull", "unready-2", "fades-2"] {
        let mut world = single(2);
        world.image(image);
        alone_until(&mut world, 20, |world| world.phase() == Phase::Scaling);
        alone_until(&mut world, 400, World::stable);
        assert_eq!((world.active(), users(&world)), (1, Some(1)), "{image}");
        assert_eq!(world.status.ready.as_deref(), Some("2/2"), "{image}");
        world.run(5);
        assert_eq!(world.blocked(), Some(Reason::NotTriedAgain));
    }
}

#[test]
fn an_abort_while_the_old_revision_stops_brings_it_back() {
    let mut world = single(1);
    world.image("good-2");
    alone_until(&mut world, 20, |world| world.phase() == Phase::Scaling);
    world.run(3);
    let abort = world.decide(Verb::Abort, 2);
    alone_until(&mut world, 60, World::stable);
    assert_eq!((world.active(), world.outcome(&abort).0), (1, Some(DecisionOutcome::Done)));
}

#[test]
fn a_rollback_goes_the_same_way() {
    let mut world = single(1);
    world.image("good-2");
    alone_until(&mut world, 90, |world| world.phase() == Phase::Watching);
    let rollback = world.decide(Verb::Rollback, 2);
    alone_until(&mut world, 90, |world| world.stable() && world.active() == 1);
    assert_eq!(world.outcome(&rollback).0, Some(DecisionOutcome::Done));
    world.image("good-3");
    alone_until(&mut world, 90, |world| world.stable() && world.active() == 3);
    world.decide(Verb::Rollback, 3);
    alone_until(&mut world, 90, |world| world.stable() && world.active() == 1);
}

#[test]
fn an_old_pod_that_does_not_go_blocks_and_the_deadline_does_not_count() {
    let mut world = single(1);
    world.farewell = jiff::SignedDuration::from_secs(1_000);
    world.image("good-2");
    alone_until(&mut world, 20, |world| world.phase() == Phase::Scaling);
    world.run(600);
    assert_eq!((world.phase(), world.blocked()), (Phase::Scaling, Some(Reason::Draining)));
    alone_until(&mut world, 500, |world| world.active() == 2);
}

#[test]
fn a_newer_revision_in_between_comes_after_the_old_one_is_back() {
    let mut world = single(1);
    world.image("unready-2");
    alone_until(&mut world, 60, |world| revisions(world) == BTreeSet::from([2]));
    world.image("good-3");
    alone_until(&mut world, 200, |world| world.stable() && world.active() == 3);
}

#[test]
fn a_strategy_that_becomes_recreate_begins_the_release_anew() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    assert_eq!(revisions(&world).len(), 2);
    world.release(|release| release.strategy = Strategy::Recreate);
    world.run_until(30, |world| revisions(world) == BTreeSet::from([1]));
    alone_until(&mut world, 30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.release(|release| release.strategy = Strategy::BlueGreen);
    world.run_until(30, |world| revisions(world).len() == 2);
    world.decide(Verb::Promote, 2);
    world.run_until(90, |world| world.stable() && world.active() == 2);
}

#[test]
fn a_restart_stops_all_pods_before_it_starts_others() {
    let mut world = single(2);
    world.run(2);
    assert!(world.observed.deployments.iter().all(|one| one.recreate), "before anything is to be replaced");
    let before: BTreeSet<String> = world.observed.pods.iter().map(|pod| pod.uid.clone()).collect();
    let restart = world.decide(Verb::Restart, 1);
    world.run_until(90, |world| {
        let restarts: BTreeSet<i64> = world.observed.pods.iter().map(|pod| pod.restart).collect();
        assert!(restarts.len() <= 1 && world.observed.pods.len() <= 2, "{}", world.describe());
        world.outcome(&restart).0 == Some(DecisionOutcome::Done)
    });
    assert!(world.observed.pods.iter().all(|pod| pod.restart == 1 && !before.contains(&pod.uid)));
    // And back to pods that are replaced one after the other: nothing is stopped for that.
    let pods = world.observed.pods.clone();
    world.release(|release| release.strategy = Strategy::BlueGreen);
    world.run(10);
    assert!(world.observed.deployments.iter().all(|one| !one.recreate));
    assert_eq!(pods.len(), world.observed.pods.iter().filter(|pod| !pod.terminating).count());
}

#[test]
fn a_lost_status_in_between_starts_nothing_twice() {
    let mut world = single(1);
    world.image("good-2");
    for phase in [Phase::Scaling, Phase::Switching] {
        alone_until(&mut world, 60, |world| world.phase() == phase || world.stable() && world.active() == 2);
        world.run(3);
        world.status = shop_crds::ShopServiceStatus::default();
        world.subject.resource_version = world.bump();
        alone_until(&mut world, 200, |world| world.stable() && world.active() == 2);
    }
}

/// Crashes, lost writes, stale reads, new leaders, sick pods, decisions and newer revisions: pods of two revisions never exist.
#[test]
fn whatever_happens_nothing_runs_twice() {
    for seed in 1..120 {
        let mut dice = Dice::new(seed);
        let mut world = single(i32::try_from(dice.roll(3)).unwrap() + 1);
        world.farewell = jiff::SignedDuration::from_millis(i64::try_from(dice.roll(9_000)).unwrap());
        for _ in 0..250 {
            match dice.roll(40) {
                0 => world.image(&format!("good-{}", dice.roll(5))),
                1 => world.image(["crash-6", "unready-7", "fades-8"][usize::try_from(dice.roll(3)).unwrap()]),
                2 => drop(world.decide(Verb::Abort, world.status.last_revision)),
                3 => drop(world.decide(Verb::Rollback, world.active().max(1))),
                4 => drop(world.decide(Verb::Retry, world.status.last_revision)),
                5 => world.apply(|spec| spec.replicas = i32::try_from(dice.roll(4)).unwrap()),
                6 => world.restart(),
                7 => {
                    let all = world.observed.pods.iter().map(|pod| pod.uid.clone());
                    world.sick = all.filter(|_| dice.one_in(2)).collect();
                }
                8 => world.sick.clear(),
                _ => {}
            }
            let lag = usize::try_from(dice.roll(4)).unwrap();
            let crash = dice.one_in(6).then(|| usize::try_from(dice.roll(8)).unwrap());
            let fails = dice.one_in(6).then(|| usize::try_from(dice.roll(8)).unwrap());
            world.operate_with(lag, crash, fails);
            world.pass(i64::try_from(dice.roll(2_000)).unwrap());
            assert!(revisions(&world).len() <= 1, "seed {seed}: {}", world.describe());
        }
        world.sick.clear();
        world.apply(|spec| spec.image = "good-9".into());
        alone_until(&mut world, 900, |world| {
            world.stable()
                && world
                    .status
                    .revisions
                    .iter()
                    .any(|one| one.number == world.active() && one.image == "good-9")
        });
    }
}
