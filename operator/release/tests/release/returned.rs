//! Who comes back: a revision that users have left a moment ago, and its pods that are still there, or just going.

use shop_crds::status::Phase;
use shop_release::{HandOff, ServiceKind, Write};

use crate::{
    running, switched, twice,
    world::{Pass, World},
};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

fn size(world: &World, revision: i64) -> i32 {
    world.observed.deployments.iter().find(|one| one.revision == revision).unwrap().replicas
}

/// Uids of the revision's pods that are not on their way out.
fn living(world: &World, revision: i64) -> Vec<String> {
    let pods = world.observed.pods.iter().filter(|pod| pod.revision == revision && !pod.terminating);
    pods.map(|pod| pod.uid.clone()).collect()
}

fn ready(world: &World, revision: i64) -> usize {
    let pods = world.observed.pods.iter().filter(|pod| pod.revision == revision);
    pods.filter(|pod| pod.ready && !pod.terminating && !world.doomed.contains(&pod.uid)).count()
}

/// What the revision's sidecars are told to hand over.
fn handed(world: &World, revision: i64) -> Option<HandOff> {
    let config = world.observed.configs.iter().find(|one| one.revision == revision);
    config.and_then(|config| config.document.as_ref()?.hand_off.clone())
}

/// Whether the pass wrote that some share goes to the revision.
fn hands_to(pass: &Pass, revision: i64) -> bool {
    pass.planned.iter().flat_map(|plan| &plan.writes).any(|write| {
        let Write::WriteConfig { document, .. } = write else { return false };
        document.hand_off.as_ref().is_some_and(|hand_off| hand_off.to_revision == revision)
    })
}

/// Runs until the release of `to` is over; whenever a document hands over to it, it has ready pods.
fn arrives(world: &mut World, to: i64) {
    for _ in 0..600 {
        for _ in 0..40 {
            let able = ready(world, to) > 0 || users(world) == Some(to);
            let pass = world.operate();
            assert!(able || !hands_to(&pass, to), "{}", world.describe());
            if !pass.changed {
                break;
            }
        }
        if world.stable() && users(world) == Some(to) {
            return;
        }
        world.pass(100);
    }
    panic!("revision {to} does not get the users: {}", world.describe());
}

/// A newer spec has ended keepOld and the old revision was scaled to zero; its pods are still seen as ready when it is asked for
/// again. Nothing is handed to them: they are replaced first.
#[test]
fn pods_that_are_about_to_go_are_not_what_a_return_counts() {
    let mut world = switched();
    world.release(|release| release.settle = Some(shop_crds::Span::secs(0)));
    world.run_until(30, |world| world.status.release.as_ref().is_some_and(|one| one.succeeded.is_some()));
    world.image("good-3");
    while size(&world, 1) > 0 {
        world.operate();
    }
    world.image("good-1");
    let doomed = living(&world, 1);
    assert_eq!((doomed.len(), ready(&world, 1)), (3, 0), "seen as ready, and about to go");
    while world.operate().changed {}
    assert_eq!((world.phase(), size(&world, 1)), (Phase::Preparing, 0), "it is not there yet");
    arrives(&mut world, 1);
    assert!(living(&world, 1).iter().all(|uid| !doomed.contains(uid)));
    assert_eq!(living(&world, 1).len(), 3);
}

/// The same where the old revision was drained in peace.
#[test]
fn a_revision_that_was_just_scaled_to_zero_starts_anew() {
    let mut world = switched();
    world.release(|release| release.settle = Some(shop_crds::Span::secs(0)));
    world.run_until(120, |world| size(world, 1) == 0);
    world.image("good-1");
    arrives(&mut world, 1);
    assert_eq!(living(&world, 1).len(), 3);
}

/// Candidates that lose all their pods get no requests until they have some again.
#[test]
fn a_share_goes_back_at_once_when_nobody_is_left_to_take_it() {
    let mut world = running(3);
    world.image("good-2");
    world.run_until(60, |world| handed(world, 1).is_some());
    let sick = living(&world, 2);
    world.sick.extend(sick.clone());
    // The users' Service is not there yet: what was handed over is served where it arrives.
    world.pass(1);
    while world.operate().changed {}
    assert_eq!((handed(&world, 1), users(&world), world.phase()), (None, Some(1), Phase::Shifting));
    for uid in &sick {
        world.sick.remove(uid);
    }
    arrives(&mut world, 2);
}

/// A candidate that stays without pods is left, and users never went there.
#[test]
fn a_candidate_that_lost_all_its_pods_is_left() {
    let mut world = running(3);
    world.image("good-2");
    world.run_until(60, |world| handed(world, 1).is_some());
    world.sick.extend(living(&world, 2));
    world.pass(1);
    world.run_until(30, |world| world.phase() == Phase::Aborting);
    assert_eq!(handed(&world, 1), None);
    world.run_until(90, World::stable);
    assert_eq!((users(&world), world.active()), (Some(1), 1));
}

/// Inputs of the revision that is kept warm: it takes the users back with the pods that it has.
#[test]
fn a_return_within_keep_old_keeps_the_warm_pods() {
    let mut world = switched();
    world.run_until(30, |world| world.status.release.as_ref().is_some_and(|one| one.succeeded.is_some()));
    let warm = living(&world, 1);
    world.image("good-1");
    arrives(&mut world, 1);
    assert_eq!((living(&world, 1), world.status.last_revision), (warm, 2));
}

/// The same while the old revision is being drained, which takes as long as its last request.
#[test]
fn a_return_in_the_drain_keeps_the_warm_pods() {
    let mut world = switched();
    world.linger = 40;
    world.run_until(60, |world| world.phase() == Phase::Draining);
    let warm = living(&world, 1);
    assert_eq!(warm.len(), 3);
    world.image("good-1");
    arrives(&mut world, 1);
    assert_eq!(living(&world, 1), warm);
}

/// A candidate that users have left for the stable revision, and that is asked for again while it drains.
#[test]
fn a_candidate_that_drains_after_an_abort_comes_back_with_its_pods() {
    let mut world = switched();
    world.linger = 40;
    world.decide(shop_crds::Verb::Rollback, 2);
    world.run_until(5, |world| {
        let abort = world.status.release.as_ref().and_then(|release| release.aborting.as_ref());
        abort.is_some_and(|abort| abort.back_since.is_some())
    });
    let warm = living(&world, 2);
    world.image("good-1");
    world.run(1);
    world.image("good-2");
    arrives(&mut world, 2);
    assert_eq!((living(&world, 2), world.status.last_revision), (warm, 2));
}

/// A revision that must be looked at again before users get it keeps its pods all the same.
#[test]
fn a_return_that_is_verified_again_keeps_the_warm_pods() {
    let mut world = switched();
    world.release(|release| release.rollback_window = Some(0));
    world.run_until(30, |world| world.status.release.as_ref().is_some_and(|one| one.succeeded.is_some()));
    world.manual();
    let warm = living(&world, 1);
    world.image("good-1");
    world.run_until(10, |world| world.phase() == Phase::Verifying);
    world.run(5);
    assert_eq!((living(&world, 1), size(&world, 1), world.phase()), (warm, 3, Phase::Verifying));
}

/// Where nothing of it runs any more it is brought up as any other.
#[test]
fn a_return_long_after_the_drain_starts_new_pods() {
    let mut world = twice();
    world.run(10);
    assert_eq!(living(&world, 1), Vec::<String>::new());
    world.image("good-1");
    arrives(&mut world, 1);
    assert_eq!(living(&world, 1).len(), 3);
}
