//! What goes wrong elsewhere (reference, sections 2.6 and 4.2), each as the story that fails on it: H3 is in `paused.rs`, H10 and H11
//! are about analysis; H8 is about a setting that there is not.

use shop_crds::{Reason, Verb, status::Phase};
use shop_release::ServiceKind;

use crate::{running, switched, world::World};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

fn size(world: &World, revision: i64) -> i32 {
    world.observed.deployments.iter().find(|one| one.revision == revision).unwrap().replicas
}

/// So many pods of the revision are not ready any more.
fn sicken(world: &mut World, revision: i64, count: usize) {
    let pods = world.observed.pods.iter().filter(|pod| pod.revision == revision);
    let uids: Vec<String> = pods.take(count).map(|pod| pod.uid.clone()).collect();
    world.sick.extend(uids);
    world.pass(100);
}

#[test]
fn h1_an_abort_after_the_switch_does_not_ask_how_the_new_revision_is() {
    for (sick, full) in [(0, 3), (1, 3), (2, 3), (3, 3)] {
        let mut world = switched();
        sicken(&mut world, 2, sick);
        world.decide(Verb::Rollback, 2);
        world.run_until(2, |world| users(world) == Some(1));
        assert_eq!(size(&world, 2), full, "nothing is scaled down while it may have users");
        world.run_until(120, World::stable);
        assert_eq!((users(&world), size(&world, 1), size(&world, 2)), (Some(1), 3, 0));
    }
}

#[test]
fn h2_a_wiped_selector_promotes_nothing_and_comes_back() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    for _ in 0..20 {
        let version = world.bump();
        let service = world.observed.services.get_mut(&ServiceKind::Users).unwrap();
        (service.selects, service.drifted, service.resource_version) = (None, true, version);
        world.run(1);
        assert_eq!((users(&world), world.active(), world.phase()), (Some(1), 1, Phase::Verifying));
    }
    assert_eq!(world.status.stable.as_ref().unwrap().revision, 1);
    assert_eq!(size(&world, 1), 2);
}

#[test]
fn h4_a_promotion_that_comes_late_moves_no_newer_revision() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.image("good-3");
    world.run_until(60, |world| {
        world.blocked() == Some(Reason::AwaitingPromotion) && world.status.last_revision == 3
    });
    let late = world.decide(Verb::Promote, 2);
    world.run(30);
    assert_eq!(world.outcome(&late).1, Some(Reason::StaleRevision));
    assert_eq!((world.active(), world.phase()), (1, Phase::Verifying));
}

#[test]
fn h5_what_is_kept_warm_does_not_grow_with_the_service() {
    let mut world = switched();
    world.run_until(30, |world| world.status.release.as_ref().is_some_and(|one| one.succeeded.is_some()));
    world.apply(|spec| spec.replicas = 10);
    world.run_until(4, |world| size(world, 2) == 10);
    assert_eq!(size(&world, 1), 3);
}

#[test]
fn h7_a_scale_down_that_fails_is_tried_again() {
    let mut world = switched();
    world.run_until(120, |world| world.phase() == Phase::Draining);
    for _ in 0..50 {
        world.operate_with(0, None, Some(1));
        world.pass(500);
    }
    world.run_until(90, World::stable);
    assert_eq!(size(&world, 1), 0);
}

/// The operator dies before each of its writes in turn, and each write fails in turn: the release gets there all the same.
#[test]
fn every_write_of_a_release_may_be_the_last_one() {
    for (dies, at) in (0..12).flat_map(|at| [(true, at), (false, at)]) {
        let mut world = running(3);
        world.image("good-2");
        for _ in 0..40 {
            let (crash, fails) = if dies { (Some(at), None) } else { (None, Some(at)) };
            world.operate_with(0, crash, fails);
            if dies {
                world.restart();
            }
            for _ in 0..3 {
                world.operate();
            }
            world.pass(700);
        }
        world.run_until(200, |world| world.stable() && world.active() == 2);
        assert_eq!(users(&world), Some(2));
    }
}

/// The number of replicas changes every second in the whole release.
#[test]
fn an_autoscaler_that_changes_its_mind_stops_no_release() {
    let mut world = running(3);
    world.image("good-2");
    for second in 0..60 {
        world.apply(|spec| spec.replicas = 3 + second % 3);
        world.run(1);
    }
    world.run_until(200, |world| world.stable() && world.active() == 2);
}
