//! What goes wrong elsewhere, each as the story that fails on it: H1 to H11 of the reference's section 2.6, and the list of its
//! section 4.2, of which the rest is shown by others:
//!
//! | case | where |
//! | --- | --- |
//! | abort at 0, 1, half and all ready; wiped selector; abort while paused; promotion against a newer revision | H1 to H4 here; `e2e/tests/cluster/abort.rs`, `e2e/tests/disruptive/drift.rs` |
//! | the operator dies at every write | here; the model check (`Crash`, before and after any write); `e2e/tests/disruptive/killed.rs` |
//! | two operators at once | the model check (`NewLeader`, `OldLeaderActs`); `trouble.rs`; `e2e/tests/disruptive/two_operators.rs` |
//! | 409, 429 and 500 of the API server, one and many in a row | the model check (`ApiError`, in storms of any density); `operator/tests/operator/api.rs` |
//! | an autoscaler every second, a drained node, clocks that are wrong | here; the model check (`Replicas`, `PodDies`, `ClockAhead`, `ClockBack`) |
//! | no failed request, no answer outside of its window | needs real pods: `cargo bench-switch`, `e2e/tests/cluster/release.rs`, `e2e/tests/conformance` |
//! | 1,000 releases at once | in what order they get their turn: `operator/src/queue/tests.rs`; how long it takes needs a real API server, and is a benchmark of its own |

use shop_crds::{Reason, Verb, service::release::Release, status::Phase};
use shop_release::{Answer, AnswerValue, ServiceKind};

use crate::{
    running, switched,
    world::{World, spec},
};

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

/// A pause keeps everything where it is, but nobody from going back.
#[test]
fn h3_an_abort_while_paused_moves_everybody_back() {
    for (phase, sick) in [Phase::Scaling, Phase::Switching, Phase::Watching].into_iter().zip([0, 3, 3]) {
        let mut world = running(3);
        world.image("good-2");
        world.run_until(60, |world| world.phase() == phase);
        world.decide(Verb::Pause, 2);
        world.run_until(2, |world| world.blocked() == Some(Reason::Paused));
        sicken(&mut world, 2, sick);
        world.decide(Verb::Abort, 2);
        world.run_until(2, |world| users(world) == Some(1) && world.phase() == Phase::Aborting);
        world.run_until(120, World::stable);
        assert_eq!((users(&world), size(&world, 1), size(&world, 2)), (Some(1), 3, 0));
    }
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

/// Fewer pods and another image in one edit: the fewer are the new revision's.
#[test]
fn h6_fewer_pods_that_come_with_another_image_do_not_hit_who_has_the_users() {
    let both = |world: &mut World, image: &str, replicas: i32| {
        world.apply(|spec| (spec.image, spec.replicas) = (image.into(), replicas));
    };
    let mut world = running(8);
    world.manual();
    both(&mut world, "good-2", 2);
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    assert_eq!((size(&world, 1), world.status.ready.as_deref()), (8, Some("8/8")));
    // What is asked for alone counts at once: an autoscaler.
    for replicas in [9, 7, 2] {
        world.apply(|spec| spec.replicas = replicas);
        world.run_until(2, |world| size(world, 1) == replicas);
    }
    world.apply(|spec| spec.replicas = 8);
    world.run_until(2, |world| size(world, 1) == 8);
    both(&mut world, "good-3", 2);
    world.run_until(30, |world| world.status.last_revision == 3 && world.phase() == Phase::Verifying);
    world.decide(Verb::Promote, 3);
    world.run_until(60, |world| world.phase() == Phase::Watching);
    assert_eq!((size(&world, 1), size(&world, 3)), (8, 2), "warm as it was, for the way back");
    world.run_until(120, World::stable);
    assert_eq!((size(&world, 1), world.status.ready.as_deref()), (0, Some("2/2")));
    assert_eq!(world.status.kept_size, None);
    // One that fails leaves the size as it was; the image given up, the smaller size is a wish of its own.
    world.apply(|spec| spec.replicas = 4);
    world.run(10);
    both(&mut world, "crash-4", 1);
    world.run_until(60, |world| world.blocked() == Some(Reason::NotTriedAgain));
    world.run(10);
    assert_eq!((world.active(), size(&world, 3)), (3, 4));
    world.image("good-3");
    world.run_until(3, |world| size(world, 3) == 1);
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

/// A peer reads a valid interval as none, and a bad one as 0 s.
#[test]
fn h8_a_time_that_is_set_counts_and_a_bad_one_is_refused() {
    let mut world = running(2);
    world.release(|release| release.keep_old = Some("37s".parse().unwrap()));
    world.image("good-2");
    world.run_until(60, |world| world.status.release.as_ref().is_some_and(|one| one.succeeded.is_some()));
    let began = world.now;
    world.run_until(60, |world| world.phase() == Phase::Draining);
    let kept = world.now.duration_since(began).as_millis();
    assert!((37_000..38_000).contains(&kept), "{kept}");
    for bad in ["soon", "", "5", "-5s", "5 parsecs"] {
        let read = serde_json::from_value::<Release>(serde_json::json!({ "keepOld": bad }));
        assert!(read.is_err(), "{bad:?} is read as {:?}", read.unwrap().keep_old);
    }
}

/// At no time all 200 pods are ready: each second another one is away, from the beginning to the end.
#[test]
fn h9_pods_that_come_and_go_hold_no_release_up() {
    for strategy in ["blueGreen", "canary", "recreate"] {
        let mut world = running(200);
        world.release(|release| {
            let steps = serde_json::json!({ "steps": [{ "replicas": "50%" }, { "weight": "50%" }] });
            release.strategy = serde_json::from_value(strategy.into()).unwrap();
            release.canary = (strategy == "canary").then(|| serde_json::from_value(steps).unwrap());
        });
        world.image("good-2");
        for second in 0..45 {
            let mut pods = world.observed.pods.iter().filter(|pod| pod.revision == 2 && !pod.terminating);
            world.sick = pods.nth(second).map(|pod| pod.uid.clone()).into_iter().collect();
            world.run(1);
        }
        assert_eq!((world.active(), users(&world)), (2, Some(2)), "{strategy}: {:?}", world.status.blocked);
    }
}

/// Below ten pods each one is needed: a service of three does not move to two.
#[test]
fn h9_a_small_service_misses_no_pod() {
    let mut world = running(9);
    world.image("good-2");
    for _ in 0..60 {
        let pod = world.observed.pods.iter().find(|pod| pod.revision == 2).map(|pod| pod.uid.clone());
        world.sick = pod.into_iter().collect();
        world.run(1);
    }
    assert_eq!((world.phase(), world.blocked()), (Phase::Preparing, Some(Reason::WaitingForPods)));
}

/// A release with a check before and after the promotion; its hook has been asked.
fn asked(image: &str) -> World {
    let mut world = World::new(spec(image, 3));
    let analysis = serde_json::json!({
        "when": ["verifying", "watching"], "duration": "5s",
        "checks": [{"name": "hook", "webhook": {"url": "http://hook/"}}],
    });
    world.release(|release| release.analysis = Some(serde_json::from_value(analysis).unwrap()));
    world.run_until(60, World::stable);
    assert!(world.asked.is_empty() && world.status.release.is_none());
    world.image("good-2");
    world.run_until(60, |world| world.asked.len() == 1);
    world
}

/// The hook says yes to everything that it was asked.
fn says_yes(world: &mut World) {
    let (at, outcome) = (world.now, Ok(AnswerValue { status: 200, number: None, text: String::new() }));
    let answers = std::mem::take(&mut world.asked).into_iter();
    let answers = answers.map(|question| Answer { id: question.id, at, outcome: outcome.clone() });
    world.observed.answers.extend(answers);
}

/// What was measured before a pod died says nothing about those that come after it.
#[test]
fn h10_a_pod_that_dies_in_an_analysis_does_not_pass_it() {
    let mut world = asked("good-1");
    let before = world.asked.clone();
    sicken(&mut world, 2, 3);
    says_yes(&mut world);
    world.run(30);
    assert_eq!((world.phase(), users(&world)), (Phase::Preparing, Some(1)));
    world.sick.clear();
    world.run_until(30, |world| world.asked.len() == 1);
    assert_ne!(world.asked, before, "it is asked anew");
    world.run(30);
    assert_eq!((world.phase(), users(&world)), (Phase::Verifying, Some(1)));
    says_yes(&mut world);
    world.run_until(60, |world| users(world) == Some(2));
    // After the switch a revision that loses its pods is left, whatever is measured.
    world.run_until(60, |world| world.asked.len() == 1);
    sicken(&mut world, 2, 3);
    says_yes(&mut world);
    world.run_until(15, |world| users(world) == Some(1));
}

/// A first revision has no analysis, and nothing that follows one is left undone for that.
#[test]
fn h11_a_first_revision_is_complete_without_its_analysis() {
    let mut world = asked("good-1");
    let first = &world.status.revisions[0];
    assert!(first.proven && first.outcome.as_ref().unwrap().reason == Reason::ReleaseCompleted);
    says_yes(&mut world);
    world.run_until(60, |world| world.phase() == Phase::Watching && world.asked.len() == 1);
    says_yes(&mut world);
    world.run_until(90, World::stable);
    assert_eq!((users(&world), size(&world, 1)), (Some(2), 0));
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

/// The number of replicas changes every second from the beginning to the end.
#[test]
fn an_autoscaler_that_changes_its_mind_stops_no_release() {
    let mut world = running(3);
    world.image("good-2");
    for second in 0..60 {
        world.apply(|spec| spec.replicas = 3 + second % 3);
        world.run(1);
    }
    assert_eq!((world.active(), users(&world)), (2, Some(2)));
}

/// A node with half of both revisions' pods is drained, at any point of a release; the budgets let one pod go at a time.
#[test]
fn a_node_that_is_drained_in_the_switch_costs_nobody_anything() {
    let phases = [Phase::Preparing, Phase::Scaling, Phase::Shifting, Phase::Switching, Phase::Watching];
    for phase in phases {
        let mut world = running(6);
        world.image("good-2");
        world.run_until(60, |world| world.phase() == phase);
        let on_node: Vec<String> = world.observed.pods.iter().step_by(2).map(|pod| pod.uid.clone()).collect();
        for uid in on_node {
            for revision in [1, 2] {
                let pods = || world.observed.pods.iter().filter(|pod| pod.revision == revision);
                let enough = pods().filter(|pod| pod.ready).count() > 5;
                let evicted = |pod: &&mut shop_release::Pod| pod.revision == revision && pod.uid == uid;
                if enough && let Some(pod) = world.observed.pods.iter_mut().find(evicted) {
                    (pod.terminating, pod.ready) = (true, false);
                }
            }
            world.run(3);
            let serving = users(&world).unwrap();
            let ready = world.observed.pods.iter().filter(|pod| pod.revision == serving && pod.ready).count();
            assert!(ready >= 5, "{phase:?}: {}", world.describe());
        }
        world.run_until(200, |world| world.stable() && world.active() == 2);
        assert!(world.events.iter().all(|event| event.reason != Reason::ReleaseAborted), "{phase:?}");
    }
}

/// The operator's clock is a minute ahead, or behind, from one moment to the next: deadlines of two minutes end nothing.
#[test]
fn clocks_that_are_a_minute_wrong_end_no_release() {
    let phases = [Phase::Preparing, Phase::Scaling, Phase::Shifting, Phase::Switching, Phase::Watching];
    for (phase, seconds) in phases.into_iter().flat_map(|phase| [(phase, 60), (phase, -60)]) {
        let mut world = running(3);
        world.image("good-2");
        world.run_until(30, |world| world.phase() == phase);
        world.skew = jiff::SignedDuration::from_secs(seconds);
        world.run_until(300, |world| world.stable() && world.active() == 2);
        assert!(
            world.events.iter().all(|event| event.reason != Reason::ReleaseAborted),
            "{phase:?} {seconds}"
        );
        world.skew = jiff::SignedDuration::ZERO;
        world.image("good-3");
        world.run_until(300, |world| world.stable() && world.active() == 3);
    }
}

/// By the clock of the API server an abort may be older than the release that it ends.
#[test]
fn a_clock_that_is_ahead_stops_no_abort_and_no_rollback() {
    for (phase, verb) in
        [(Phase::Preparing, Verb::Abort), (Phase::Switching, Verb::Abort), (Phase::Watching, Verb::Rollback)]
    {
        let mut world = running(3);
        world.skew = jiff::SignedDuration::from_secs(60);
        world.image("good-2");
        world.run_until(30, |world| world.phase() == phase);
        world.decide(verb, 2);
        world.run_until(2, |world| users(world) == Some(1) && world.phase() != phase);
        world.run_until(120, |world| world.stable() && world.active() == 1);
    }
}
