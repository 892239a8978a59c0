//! Pause and resume: no step forward, and nothing else is held up.

use shop_crds::{DecisionOutcome, Reason, Verb, status::Phase};
use shop_release::ServiceKind;

use crate::{running, world::World};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

/// A release of revision 2 that was paused as soon as it came to this phase.
fn paused_in(phase: Phase) -> World {
    let mut world = running(3);
    world.image("good-2");
    world.run_until(60, |world| world.phase() == phase);
    let pause = world.decide(Verb::Pause, 2);
    world.run_until(1, |world| world.outcome(&pause).0.is_some());
    assert_eq!(world.outcome(&pause).0, Some(DecisionOutcome::Done), "{phase:?}");
    world
}

#[test]
fn a_paused_release_takes_no_step_until_it_is_resumed() {
    for phase in [Phase::Preparing, Phase::Scaling, Phase::Shifting, Phase::Switching, Phase::Watching] {
        let mut world = paused_in(phase);
        let (before, with) = (world.phase(), users(&world));
        world.run(500);
        assert_eq!((world.phase(), users(&world)), (before, with), "{phase:?}");
        assert_eq!(world.blocked(), Some(Reason::Paused), "no deadline runs");
        let blocked = world.status.blocked.clone().unwrap();
        assert_eq!(blocked.command.as_deref(), Some("kubectl shop resume order --revision 2 -n shop"));
        let resume = world.decide(Verb::Resume, 2);
        world.run_until(120, World::stable);
        assert_eq!((world.active(), world.outcome(&resume).0), (2, Some(DecisionOutcome::Done)));
    }
}

#[test]
fn the_hand_off_is_not_begun_while_paused() {
    let mut world = running(3);
    world.manual();
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Verifying);
    world.decide(Verb::Promote, 2);
    world.run_until(60, |world| world.phase() == Phase::Scaling);
    world.decide(Verb::Pause, 2);
    world.run(60);
    assert_eq!(world.phase(), Phase::Scaling);
    let hands = |world: &World| {
        let documents = world.observed.configs.iter().filter_map(|one| one.document.clone());
        documents.filter(|document| document.hand_off.is_some()).count()
    };
    assert_eq!(hands(&world), 0);
    world.decide(Verb::Resume, 2);
    world.run_until(60, |world| hands(world) == 1);
}

#[test]
fn a_pause_never_stops_an_abort() {
    for phase in [Phase::Preparing, Phase::Scaling, Phase::Shifting, Phase::Switching, Phase::Watching] {
        let mut world = paused_in(phase);
        let abort = world.decide(Verb::Abort, 2);
        let began = world.now;
        world.run_until(2, |world| {
            users(world) == Some(1) && world.status.release.as_ref().is_none_or(|one| one.aborting.is_some())
        });
        assert!(world.now.duration_since(began).as_millis() <= 1_000, "{phase:?}");
        world.run_until(120, World::stable);
        assert_eq!((world.active(), world.outcome(&abort).0), (1, Some(DecisionOutcome::Done)), "{phase:?}");
    }
}

#[test]
fn a_paused_revision_that_breaks_is_left_and_a_newer_one_takes_its_place() {
    let mut world = paused_in(Phase::Watching);
    world.sick =
        world.observed.pods.iter().filter(|one| one.revision == 2).map(|one| one.uid.clone()).collect();
    world.run_until(15, |world| users(world) == Some(1));
    world.run_until(90, World::stable);

    let mut world = paused_in(Phase::Preparing);
    world.image("good-3");
    world.run_until(120, |world| world.stable() && world.active() == 3);
    let mut world = paused_in(Phase::Scaling);
    world.image("good-1");
    world.run_until(30, |world| world.stable() && world.active() == 1);
}

#[test]
fn a_promotion_waits_for_the_resume() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Verifying);
    world.decide(Verb::Pause, 2);
    let promote = world.decide_by("", Verb::Promote, 2, |spec| spec.full = true);
    world.run(5);
    assert_eq!(world.outcome(&promote), (Some(DecisionOutcome::Refused), Some(Reason::Paused)));
    assert_eq!(world.phase(), Phase::Verifying);
}

#[test]
fn pause_and_resume_are_for_one_release() {
    let mut world = running(2);
    let none = world.decide(Verb::Pause, 1);
    world.run(1);
    assert_eq!(world.outcome(&none), (Some(DecisionOutcome::Refused), Some(Reason::NothingToDecide)));
    let mut world = paused_in(Phase::Preparing);
    world.image("good-3");
    world.run_until(30, |world| world.status.release.as_ref().is_some_and(|release| release.to == 3));
    let pause = world.decide(Verb::Pause, 3);
    world.run(1);
    for revision in [2, 4] {
        let resume = world.decide(Verb::Resume, revision);
        world.run(1);
        assert_eq!(world.outcome(&resume), (Some(DecisionOutcome::Refused), Some(Reason::StaleRevision)));
        assert_eq!(world.blocked(), Some(Reason::Paused));
    }
    assert_eq!(world.outcome(&pause).0, Some(DecisionOutcome::Done));
    world.decide(Verb::Resume, 3);
    world.run(1);
    let again = world.decide(Verb::Resume, 3);
    world.run(1);
    assert_eq!(world.outcome(&again).0, Some(DecisionOutcome::Done), "twice is as good as once");
}

// The status is written, then the operator dies before the first answer: the row of decisions is taken once more.
#[test]
fn a_crash_between_status_and_answer_changes_nothing() {
    let mut world = running(3);
    world.manual();
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Verifying);
    let pause = world.decide(Verb::Pause, 2);
    world.operate_with(0, Some(1), None);
    let resume = world.decide(Verb::Resume, 2);
    world.operate_with(0, Some(1), None);
    world.operate_with(0, Some(2), None);
    world.run(2);
    assert_eq!(world.blocked(), Some(Reason::AwaitingPromotion));
    for decision in [pause, resume] {
        assert_eq!(world.outcome(&decision).0, Some(DecisionOutcome::Done));
    }
}
