//! Decisions: for one revision, once.

use shop_crds::{DecisionOutcome, Reason, Verb};

use crate::{running, twice, world::World};

/// A service whose second revision waits for its promotion.
fn waiting() -> World {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world
}

#[test]
fn a_promotion_moves_the_revision_that_it_names() {
    let mut world = waiting();
    let blocked = world.status.blocked.clone().unwrap();
    assert_eq!(blocked.command.as_deref(), Some("kubectl shop promote order --revision 2 -n shop"));
    world.run(500);
    assert_eq!(world.active(), 1, "waiting for people has no deadline");
    let promote = world.decide(Verb::Promote, 2);
    world.run_until(1, |world| world.outcome(&promote).0 == Some(DecisionOutcome::Accepted));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    assert_eq!(world.outcome(&promote).0, Some(DecisionOutcome::Done));
}

#[test]
fn stale_decisions_are_refused() {
    let mut world = waiting();
    for (verb, revision, reason) in [
        (Verb::Promote, 1, Reason::StaleRevision),
        (Verb::Promote, 3, Reason::StaleRevision),
        (Verb::Abort, 7, Reason::StaleRevision),
        (Verb::Rollback, 2, Reason::StaleRevision),
        (Verb::Rollback, 1, Reason::NothingToDecide),
        (Verb::Retry, 2, Reason::NothingToDecide),
    ] {
        let decision = world.decide(verb, revision);
        world.run(1);
        assert_eq!(
            world.outcome(&decision),
            (Some(DecisionOutcome::Refused), Some(reason)),
            "{verb:?} {revision}"
        );
    }
    assert_eq!(world.blocked(), Some(Reason::AwaitingPromotion));
}

#[test]
fn a_decision_older_than_the_release_is_refused() {
    let mut world = waiting();
    let promote = world.decide(Verb::Promote, 2);
    let early = world.status.release.as_ref().unwrap().started.0 - jiff::SignedDuration::from_secs(5);
    world.observed.decisions[0].created = early;
    world.run(1);
    assert_eq!(world.outcome(&promote), (Some(DecisionOutcome::Refused), Some(Reason::StaleRevision)));
}

#[test]
fn a_promotion_of_another_image_is_refused() {
    let mut world = waiting();
    for (digest, outcome) in
        [("sha256:other", DecisionOutcome::Refused), ("sha256:good-2", DecisionOutcome::Accepted)]
    {
        let promote = world.decide(Verb::Promote, 2);
        world.observed.decisions.last_mut().unwrap().spec.digest = Some(digest.into());
        world.run_until(5, |world| world.outcome(&promote).0.is_some());
        assert_eq!(world.outcome(&promote).0, Some(outcome));
    }
}

#[test]
fn an_abort_ends_the_release_before_it_begins_to_move() {
    let mut world = waiting();
    let abort = world.decide(Verb::Abort, 2);
    world.run_until(10, World::stable);
    world.run(1);
    assert_eq!(world.outcome(&abort).0, Some(DecisionOutcome::Done));
    assert_eq!((world.active(), world.blocked()), (1, Some(Reason::NotTriedAgain)));
    assert_eq!(
        world.status.blocked.as_ref().unwrap().command.as_deref(),
        Some("kubectl shop retry order --revision 2 -n shop")
    );
}

#[test]
fn answered_decisions_are_bounded() {
    let mut world = twice();
    for _ in 0..60 {
        world.decide(Verb::Promote, 9);
        world.run(1);
    }
    world.run(2);
    assert_eq!(world.observed.decisions.len(), 50);
}

// Nobody waits behind a flood, least of all who wants to go back.
#[test]
fn a_flood_of_decisions_is_bounded_and_an_abort_is_not_lost_in_it() {
    let mut world = waiting();
    let abort = world.decide(Verb::Abort, 2);
    for _ in 0..400 {
        world.decide(Verb::Pause, 9);
    }
    let pass = world.operate();
    let answers = pass.planned.unwrap().writes.len();
    assert!(answers <= 160, "{answers} writes in one plan");
    assert_eq!(world.outcome(&abort).0, Some(DecisionOutcome::Accepted));
    world.run(10);
    assert_eq!((world.active(), world.phase()), (1, shop_crds::status::Phase::Stable));
    assert_eq!(world.observed.decisions.len(), 50);
    let unread = world.events.iter().filter(|event| event.reason == Reason::TooManyDecisions).count();
    assert!(unread > 0);
}
