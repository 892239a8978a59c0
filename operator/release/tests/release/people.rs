//! Promotions that take several people, and what a decision may ask for beside its verb.

use shop_crds::{DecisionOutcome, Reason, Verb, status::Phase};

use crate::{running, twice, world::World};

/// A service whose second revision waits for this many people.
fn waiting_for(people: i32) -> World {
    let mut world = running(2);
    world.release(|release| release.approvals = Some(people));
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    world
}

fn promote(world: &mut World, person: &str) -> String {
    let decision = world.decide_by(person, Verb::Promote, 2, |_| {});
    world.run(1);
    decision
}

fn says(world: &World, decision: &str) -> String {
    world.decision(decision).status.clone().unwrap().message.unwrap()
}

#[test]
fn two_different_people_must_promote() {
    let mut world = waiting_for(2);
    let first = promote(&mut world, "ann");
    assert_eq!(world.outcome(&first).0, Some(DecisionOutcome::Accepted));
    assert!(says(&world, &first).contains("1 other person must decide"), "{}", says(&world, &first));
    let again = promote(&mut world, "ann");
    assert_eq!(world.outcome(&again).0, Some(DecisionOutcome::Done));
    assert!(says(&world, &again).contains("already"), "{}", says(&world, &again));
    world.run(200);
    assert_eq!((world.active(), world.phase()), (1, Phase::Verifying));
    let message = world.status.blocked.clone().unwrap().message;
    assert!(message.contains("1 of 2 people have decided to promote it (ann:promote-2)"), "{message}");
    let second = promote(&mut world, "bob");
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    for decision in [first, second] {
        assert_eq!(world.outcome(&decision).0, Some(DecisionOutcome::Done));
    }
}

#[test]
fn two_who_decide_at_once_are_both_counted() {
    let mut world = waiting_for(2);
    let both = ["ann", "bob"].map(|person| world.decide_by(person, Verb::Promote, 2, |_| {}));
    // The status is written, and the answers are not.
    world.operate_with(0, Some(1), None);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    for decision in both {
        assert_eq!(world.outcome(&decision).0, Some(DecisionOutcome::Done));
    }
}

#[test]
fn a_new_candidate_starts_anew() {
    let mut world = waiting_for(2);
    let first = promote(&mut world, "ann");
    world.image("good-3");
    world.run_until(60, |world| {
        world.status.release.as_ref().is_some_and(|release| release.to == 3 && release.approvals.is_empty())
    });
    world.run_until(60, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    assert_eq!(world.outcome(&first), (Some(DecisionOutcome::Refused), Some(Reason::Superseded)));
    let late = promote(&mut world, "bob");
    assert_eq!(world.outcome(&late), (Some(DecisionOutcome::Refused), Some(Reason::StaleRevision)));
    let bob = world.decide_by("bob", Verb::Promote, 3, |_| {});
    world.run(20);
    assert_eq!((world.active(), world.outcome(&bob).0), (1, Some(DecisionOutcome::Accepted)));
}

#[test]
fn fewer_people_are_enough_once_the_spec_says_so() {
    let mut world = waiting_for(3);
    promote(&mut world, "ann");
    promote(&mut world, "bob");
    world.run(20);
    assert_eq!(world.active(), 1);
    world.release(|release| release.approvals = Some(2));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn an_abort_takes_one_person() {
    let mut world = waiting_for(5);
    promote(&mut world, "ann");
    let abort = world.decide(Verb::Abort, 2);
    world.run_until(10, World::stable);
    world.run(1);
    assert_eq!((world.active(), world.outcome(&abort).0), (1, Some(DecisionOutcome::Done)));
}

#[test]
fn a_full_promotion_takes_all_who_promote() {
    for (others, full) in [(true, true), (false, false)] {
        let mut world = waiting_for(2);
        world.decide_by("ann", Verb::Promote, 2, |spec| spec.full = true);
        world.run(1);
        assert!(!world.status.release.as_ref().unwrap().full, "one is not enough");
        world.decide_by("bob", Verb::Promote, 2, |spec| spec.full = others);
        world.run(1);
        assert_eq!(world.status.release.as_ref().unwrap().full, full);
    }
}

#[test]
fn a_full_promotion_by_force_moves_no_other_revision() {
    let mut world = waiting_for(1);
    world.image("good-3");
    let decision = world.decide_by("ann", Verb::Promote, 2, |spec| {
        spec.full = true;
        spec.force = true;
    });
    // Taken while revision 2 is still there, or too late: it is never about revision 3.
    world.run_until(60, |world| {
        world.status.release.as_ref().is_some_and(|release| release.to == 3)
            && world.blocked() == Some(Reason::AwaitingPromotion)
    });
    let release = world.status.release.clone().unwrap();
    assert_eq!((release.full, release.force, release.promoted_by), (false, false, None));
    assert!(world.outcome(&decision).0.is_some());
    let late = world.decide_by("ann", Verb::Promote, 2, |spec| spec.full = true);
    world.run(30);
    assert_eq!(world.outcome(&late), (Some(DecisionOutcome::Refused), Some(Reason::StaleRevision)));
    assert_ne!(world.active(), 3);
}

#[test]
fn a_rollback_goes_to_the_revision_that_is_named() {
    let mut world = twice();
    world.image("good-3");
    world.run_until(120, |world| world.stable() && world.active() == 3);
    for (to, reason) in [(9, Reason::NoWayBack), (4, Reason::NoWayBack)] {
        let none = world.decide_by("", Verb::Rollback, 3, |spec| spec.to = Some(to));
        world.run(1);
        assert_eq!(world.outcome(&none), (Some(DecisionOutcome::Refused), Some(reason)));
        assert!(says(&world, &none).contains("one can go back to: 1, 2"), "{}", says(&world, &none));
    }
    let back = world.decide_by("", Verb::Rollback, 3, |spec| spec.to = Some(1));
    world.run_until(60, |world| world.active() == 1);
    world.run_until(60, World::stable);
    assert_eq!(world.outcome(&back).0, Some(DecisionOutcome::Done));
    assert_eq!(world.blocked(), Some(Reason::NotTriedAgain));
    // Forward again, to a newer one that was proven.
    let on = world.decide_by("", Verb::Rollback, 1, |spec| spec.to = Some(2));
    world.run_until(120, |world| world.active() == 2 && world.stable());
    assert_eq!(world.outcome(&on).0, Some(DecisionOutcome::Done));
}

#[test]
fn while_the_old_revision_is_watched_beside_the_new_one_it_is_the_only_way_back() {
    let mut world = twice();
    world.image("good-3");
    world.run_until(60, |world| world.active() == 3);
    let far = world.decide_by("", Verb::Rollback, 3, |spec| spec.to = Some(1));
    world.run(1);
    assert_eq!(world.outcome(&far), (Some(DecisionOutcome::Refused), Some(Reason::NothingToDecide)));
    let near = world.decide_by("", Verb::Rollback, 3, |spec| spec.to = Some(2));
    world.run_until(2, |world| world.active() == 2);
    world.run_until(120, World::stable);
    assert_eq!(world.outcome(&near).0, Some(DecisionOutcome::Done));
}

/// A spec from before the two were refused together.
#[test]
fn time_does_not_decide_where_several_people_must() {
    let mut world = waiting_for(2);
    world.release(|release| release.promote_after = Some(shop_crds::Span::secs(60)));
    promote(&mut world, "ann");
    world.run(300);
    assert_eq!((world.active(), world.blocked()), (1, Some(Reason::AwaitingPromotion)));
    assert_eq!(world.status.blocked.as_ref().unwrap().next_check, None);
}
