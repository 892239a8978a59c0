//! Canaries: shares, pauses, sizes, and everything that may happen meanwhile.

use serde_json::json;
use shop_crds::{
    DecisionOutcome, Reason, Verb,
    service::release::{Promote, Strategy, canary::Canary},
    status::Phase,
};
use shop_release::{HandOff, Match, Role, ServiceKind, Sticky};

use crate::{running, twice, world::World};

fn canary(value: serde_json::Value) -> Canary {
    serde_json::from_value(value).unwrap()
}

/// Releases from now on follow these steps.
fn walks(world: &mut World, steps: &serde_json::Value) {
    world.release(|release| {
        release.strategy = Strategy::Canary;
        release.canary = Some(canary(json!({ "steps": steps })));
    });
}

/// A service whose second revision is on its way by these steps.
fn walking(replicas: i32, steps: &serde_json::Value) -> World {
    let mut world = running(replicas);
    walks(&mut world, steps);
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Shifting);
    world
}

/// What the sidecars of revision 1 hand over.
fn hand_off(world: &World) -> Option<HandOff> {
    let config = world.observed.configs.iter().find(|one| one.revision == 1);
    config.and_then(|config| config.document.clone()).and_then(|document| document.hand_off)
}

fn share(world: &World) -> u32 {
    hand_off(world).map_or(0, |hand_off| hand_off.share)
}

fn step(world: &World) -> Option<i64> {
    world.status.release.as_ref().and_then(|release| release.step)
}

fn pods(world: &World, revision: i64) -> i32 {
    world.observed.deployments.iter().find(|one| one.revision == revision).map_or(0, |one| one.replicas)
}

#[test]
fn shares_rise_step_by_step_and_then_everything_moves() {
    let mut world =
        walking(3, &json!([{"weight": "0.1%"}, {"pause": "60s"}, {"weight": "50%"}, {"pause": "30s"}]));
    world.run_until(5, |world| step(world) == Some(1));
    let began = world.now;
    assert_eq!((share(&world), world.blocked()), (10, Some(Reason::StepPause)));
    assert!(world.status.message.as_ref().unwrap().contains("0.1% of the requests for 1m (step 2)"));
    let next = world.status.blocked.as_ref().unwrap().next_check.clone().unwrap().0;
    assert_eq!(next.duration_since(began).as_secs(), 60);
    world.run_until(70, |world| share(world) == 5_000);
    assert!(world.now.duration_since(began).as_secs() >= 59);
    world.run_until(5, |world| step(world) == Some(3));
    world.run_until(40, |world| world.active() == 2);
    world.run_until(120, World::stable);
}

#[test]
fn a_pause_goes_on_where_it_was_after_a_restart() {
    let mut world = walking(2, &json!([{"weight": "10%"}, {"pause": "60s"}]));
    world.run_until(5, |world| world.blocked() == Some(Reason::StepPause));
    let began = world.now;
    world.run(40);
    world.restart();
    world.run_until(60, |world| world.active() == 2);
    let took = world.now.duration_since(began).as_secs();
    assert!((59..=65).contains(&took), "{took}");
}

#[test]
fn a_manual_pause_waits_for_a_decision_and_has_no_deadline() {
    let mut world =
        walking(2, &json!([{"weight": "10%"}, {"pause": "manual"}, {"weight": "20%"}, {"pause": "manual"}]));
    world.run_until(5, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world.run(600);
    assert_eq!((share(&world), step(&world)), (1_000, Some(1)));
    let blocked = world.status.blocked.clone().unwrap();
    assert_eq!(blocked.command.as_deref(), Some("kubectl shop promote order --revision 2 -n shop"));
    let stale = world.decide(Verb::Promote, 3);
    world.run(2);
    assert_eq!(world.outcome(&stale).0, Some(DecisionOutcome::Refused));
    let first = world.decide(Verb::Promote, 2);
    world.run_until(5, |world| step(world) == Some(3));
    world.run(5);
    assert_eq!((share(&world), world.blocked()), (2_000, Some(Reason::AwaitingPromotion)));
    let second = world.decide(Verb::Promote, 2);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    assert_eq!(world.outcome(&first).0, Some(DecisionOutcome::Done));
    assert_eq!(world.outcome(&second).0, Some(DecisionOutcome::Done));
}

#[test]
fn a_full_promotion_skips_what_is_left_but_not_the_pods() {
    let mut world =
        walking(10, &json!([{"replicas": "10%"}, {"weight": "10%"}, {"pause": "1h"}, {"weight": "20%"}]));
    world.run_until(10, |world| step(world) == Some(2));
    let promote = world.decide(Verb::Promote, 2);
    world.run(2);
    assert_eq!((world.outcome(&promote).0, step(&world)), (Some(DecisionOutcome::Done), Some(2)));
    world.decide(Verb::Promote, 2);
    world.observed.decisions.last_mut().unwrap().spec.full = true;
    world.run_until(20, |world| share(world) == 10_000);
    assert_eq!(pods(&world, 2), 10);
    world.run_until(20, |world| world.active() == 2);
}

#[test]
fn a_paused_release_takes_no_step() {
    let mut world = walking(2, &json!([{"weight": "10%"}, {"pause": "30s"}, {"weight": "50%"}]));
    world.run_until(10, |world| step(world) == Some(1));
    world.decide(Verb::Pause, 2);
    world.run(100);
    assert_eq!((share(&world), step(&world), world.blocked()), (1_000, Some(1), Some(Reason::Paused)));
    world.decide(Verb::Resume, 2);
    world.run(25);
    assert_eq!(step(&world), Some(1), "the step's own pause begins anew");
    world.run_until(20, |world| world.active() == 2);
}

#[test]
fn a_small_candidate_grows_with_its_share() {
    let mut world = walking(
        10,
        &json!([{"replicas": "10%"}, {"weight": "5%"}, {"pause": "10s"}, {"weight": "35%"}, {"pause": "10s"},
            {"replicas": "80%"}, {"pause": "10s"}, {"weight": "40%"}, {"pause": "10s"}]),
    );
    assert_eq!(pods(&world, 2), 1);
    world.run_until(20, |world| step(world) == Some(2));
    assert_eq!((share(&world), pods(&world, 2)), (500, 1));
    world.run_until(20, |world| pods(world, 2) == 4);
    assert_eq!((share(&world), world.blocked()), (500, Some(Reason::WaitingForPods)), "the pods come first");
    world.run_until(20, |world| step(world) == Some(6));
    assert_eq!((share(&world), pods(&world, 2)), (3_500, 8));
    world.run_until(20, |world| step(world) == Some(8));
    assert_eq!((share(&world), pods(&world, 2)), (4_000, 8), "nothing in use is made smaller");
    world.run_until(30, |world| world.active() == 2);
    assert_eq!(pods(&world, 2), 10);
    world.run_until(120, World::stable);
}

#[test]
fn an_abort_takes_the_share_back_first() {
    let mut world = walking(2, &json!([{"weight": "30%"}, {"pause": "manual"}]));
    world.run_until(5, |world| share(world) == 3_000 && step(world) == Some(1));
    world.decide(Verb::Abort, 2);
    let began = world.now;
    world.run_until(2, |world| hand_off(world).is_none());
    assert!(world.now.duration_since(began).as_millis() <= 500);
    world.run_until(90, World::stable);
    assert_eq!((world.active(), pods(&world, 2)), (1, 0));
}

#[test]
fn a_candidate_that_loses_its_pods_in_a_pause_is_aborted() {
    let mut world = walking(3, &json!([{"weight": "60%"}, {"pause": "manual"}]));
    world.run_until(5, |world| step(world) == Some(1));
    world.sick =
        world.observed.pods.iter().filter(|pod| pod.revision == 2).map(|pod| pod.uid.clone()).collect();
    world.run_until(90, World::stable);
    assert_eq!(world.status.revisions[1].outcome.as_ref().unwrap().reason, Reason::CandidateLost);
}

#[test]
fn sidecars_that_do_not_acknowledge_a_share_end_the_release() {
    let mut world = walking(2, &json!([{"weight": "30%"}, {"pause": "10s"}, {"weight": "60%"}]));
    world.run_until(5, |world| step(world) == Some(1));
    world.mute.insert(world.observed.pods[0].uid.clone());
    world.run_until(30, |world| world.blocked() == Some(Reason::SidecarUnreachable));
    assert_eq!(world.active(), 1);
    world.run_until(200, World::stable);
    let outcome = world.status.revisions[1].outcome.clone().unwrap();
    assert_eq!(outcome.reason, Reason::ProgressDeadlineExceeded);
}

#[test]
fn matched_requests_go_over_before_any_share() {
    let mut world = running(2);
    world.release(|release| {
        release.strategy = Strategy::Canary;
        release.canary = Some(canary(json!({
            "steps": [{"pause": "30s"}, {"weight": "20%"}, {"pause": "manual"}],
            "match": [{"header": {"user-tier": "premium"}}, {"cookie": {"beta": "1"}}],
            "sticky": {"header": "x-user-id"},
        })));
    });
    world.image("good-2");
    world.run_until(60, |world| hand_off(world).is_some());
    let first = hand_off(&world).unwrap();
    assert_eq!((first.share, world.phase(), world.blocked()), (0, Phase::Shifting, Some(Reason::StepPause)));
    let premium = Match { header: Some(("user-tier".into(), "premium".into())), cookie: None };
    assert_eq!((first.matches.len(), &first.matches[0]), (2, &premium));
    assert_eq!(first.sticky, Some(Sticky::Header("x-user-id".into())));
    world.run_until(60, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    assert_eq!(hand_off(&world).unwrap().matches.len(), 2);
    world.release(|release| release.canary.as_mut().unwrap().matches.clear());
    world.run(2);
    assert_eq!(hand_off(&world).unwrap().matches.len(), 0, "policy changes live");
    world.decide(Verb::Promote, 2);
    world.run_until(60, |world| world.active() == 2);
    assert_eq!(hand_off(&world), Some(HandOff::of(10_000, 2, ServiceKind::Users, false)));
}

#[test]
fn requests_are_mirrored_while_the_candidate_waits_for_its_promotion() {
    let mut world = running(2);
    world.manual();
    world.release(|release| {
        release.strategy = Strategy::Canary;
        release.canary = Some(canary(json!({"steps": [{"weight": "10%"}], "mirror": {"share": "25%"}})));
    });
    world.image("good-2");
    let mirror = |world: &World| {
        let config = world.observed.configs.iter().find(|one| one.revision == 1);
        config.and_then(|config| config.document.clone()).and_then(|document| document.mirror)
    };
    world.run_until(30, |world| world.status.candidate.is_some());
    assert_eq!(mirror(&world), None, "nobody is there yet");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    let found = mirror(&world).unwrap();
    assert_eq!((found.to_revision, found.share, found.methods.len()), (2, 2_500, 2));
    world.decide(Verb::Promote, 2);
    world.run_until(30, |world| world.phase() == Phase::Shifting);
    assert_eq!(mirror(&world), None);
    world.run_until(90, World::stable);
}

#[test]
fn a_strategy_that_changes_before_requests_move_is_the_one_that_counts() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    walks(&mut world, &json!([{"weight": "10%"}, {"pause": "manual"}]));
    world.decide(Verb::Promote, 2);
    world.run_until(30, |world| step(world) == Some(1));
    assert_eq!(share(&world), 1_000);
    world.release(|release| (release.strategy, release.canary) = (Strategy::BlueGreen, None));
    world.run_until(10, |world| world.active() == 2);
    world.run_until(90, World::stable);
}

#[test]
fn steps_that_appear_late_go_on_from_the_share_in_use() {
    let mut world = walking(4, &json!([{"weight": "40%"}, {"pause": "manual"}]));
    world.run_until(10, |world| step(world) == Some(1));
    // In between there is no sidecar to tell the whole share to.
    world.mute = world.observed.pods.iter().map(|pod| pod.uid.clone()).collect();
    world.release(|release| (release.strategy, release.canary) = (Strategy::BlueGreen, None));
    world.run(1);
    assert_eq!((step(&world), world.status.release.as_ref().unwrap().weight), (None, Some(10_000)));
    walks(&mut world, &json!([{"weight": "5%"}, {"pause": "manual"}]));
    world.mute.clear();
    world.run_until(20, |world| world.active() == 2);
}

#[test]
fn steps_that_disappear_are_no_decision() {
    let mut world = walking(4, &json!([{"weight": "40%"}, {"pause": "manual"}]));
    world.run_until(10, |world| step(world) == Some(1));
    world.release(|release| {
        (release.strategy, release.canary, release.promote) = (Strategy::BlueGreen, None, Promote::Manual);
    });
    world.run(1200);
    assert_eq!((share(&world), world.blocked()), (4_000, Some(Reason::AwaitingPromotion)));
    let promote = world.decide(Verb::Promote, 2);
    world.run_until(20, |world| world.active() == 2);
    world.run(2);
    assert_eq!(world.outcome(&promote).0, Some(DecisionOutcome::Done));
}

#[test]
fn steps_may_be_edited_while_they_are_walked() {
    let mut world = walking(4, &json!([{"weight": "10%"}, {"pause": "1h"}, {"weight": "90%"}]));
    world.run_until(10, |world| step(world) == Some(1));
    world.run(60);
    walks(&mut world, &json!([{"weight": "50%"}, {"pause": "2m"}, {"weight": "20%"}, {"pause": "manual"}]));
    world.run(5);
    assert_eq!((step(&world), share(&world)), (Some(1), 1_000), "what was reached stays");
    world.run_until(70, |world| step(world) == Some(3));
    assert_eq!(share(&world), 2_000);
    walks(&mut world, &json!([{"weight": "50%"}]));
    world.run_until(20, |world| world.active() == 2);
}

#[test]
fn scaling_while_the_steps_are_walked_moves_both() {
    let mut world = walking(2, &json!([{"replicas": "50%"}, {"weight": "50%"}, {"pause": "manual"}]));
    world.run_until(10, |world| step(world) == Some(2));
    assert_eq!(pods(&world, 2), 1);
    world.apply(|spec| spec.replicas = 6);
    world.run_until(10, |world| pods(world, 1) == 6 && pods(world, 2) == 3);
    world.apply(|spec| spec.replicas = 2);
    world.run_until(10, |world| pods(world, 1) == 2 && pods(world, 2) == 2);
    world.run(5);
    assert!(world.events.iter().all(|event| event.reason != Reason::WriteWithheld));
    assert_eq!((share(&world), step(&world)), (5_000, Some(2)));
    world.decide(Verb::Promote, 2);
    world.run_until(60, World::stable);
}

#[test]
fn a_newer_revision_supersedes_a_canary() {
    let mut world = walking(2, &json!([{"weight": "50%"}, {"pause": "manual"}]));
    world.run_until(10, |world| step(world) == Some(1));
    world.image("good-3");
    world.run_until(120, |world| world.status.last_revision == 3 && step(world) == Some(1));
    assert_eq!(hand_off(&world).unwrap().to_revision, 3);
    assert_eq!(pods(&world, 2), 0);
}

#[test]
fn a_return_inside_of_the_rollback_window_takes_no_steps() {
    let mut world = twice();
    walks(&mut world, &json!([{"replicas": "10%"}, {"weight": "10%"}, {"pause": "1h"}]));
    world.image("good-1");
    world.run_until(10, |world| world.active() == 1);
    world.run_until(90, World::stable);
}

#[test]
fn a_first_revision_takes_no_steps() {
    let mut world = World::new(crate::world::spec("good-1", 2));
    walks(&mut world, &json!([{"weight": "10%"}, {"pause": "manual"}]));
    world.run_until(10, World::stable);
}

#[test]
fn a_service_without_pods_walks_too() {
    let mut world = running(0);
    walks(&mut world, &json!([{"replicas": "50%"}, {"weight": "10%"}, {"weight": "100%"}]));
    world.image("good-2");
    world.run_until(60, |world| world.stable() && world.active() == 2);
}

#[test]
fn more_steps_than_a_plan_takes_are_walked_all_the_same() {
    let steps: Vec<_> = (0..50).map(|_| json!({"pause": "0s"})).collect();
    let mut world = walking(1, &json!(steps));
    world.run_until(10, |world| world.active() == 2);
}

#[test]
fn roles_stay_while_shares_rise() {
    let world = walking(2, &json!([{"weight": "30%"}, {"pause": "manual"}]));
    let role =
        |revision: i64| world.observed.deployments.iter().find(|one| one.revision == revision).unwrap().role;
    assert_eq!((role(1), role(2)), (Some(Role::Active), Some(Role::Candidate)));
}
