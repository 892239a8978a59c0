//! Gates before users move: freeze windows.

use jiff::SignedDuration;
use shop_crds::{DecisionOutcome, Reason, Verb, status::Phase};
use shop_release::{Policy, ServiceKind};

use crate::{running, switched, twice, world::World};

/// Begins a freeze now, for so many minutes; returns its end.
fn freeze(world: &mut World, minutes: i64) -> jiff::Timestamp {
    let start = jiff::Timestamp::from_second(world.now.as_second()).unwrap();
    let local = start.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let spec = serde_json::json!({"freeze": [{
        "name": "sale", "reason": "too many customers", "start": local.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        "duration": format!("{minutes}m"),
    }]});
    let spec = serde_json::from_value(spec).map_err(|error: serde_json::Error| error.to_string());
    world.observed.policies = vec![Policy { name: "calendar".into(), spec }];
    start + SignedDuration::from_mins(minutes)
}

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

#[test]
fn nothing_is_promoted_inside_of_a_window_and_it_goes_on_by_itself_after_it() {
    let mut world = running(2);
    let end = freeze(&mut world, 30);
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::Frozen));
    let blocked = world.status.blocked.clone().unwrap();
    assert_eq!(world.phase(), Phase::Verifying);
    assert_eq!(blocked.next_check.map(|next| next.0), Some(end));
    assert_eq!(blocked.command.as_deref(), Some("kubectl shop promote order --revision 2 -n shop --force"));
    for part in ["calendar/sale", "too many customers"] {
        assert!(blocked.message.contains(part), "{}", blocked.message);
    }
    let told = |world: &World| world.events.iter().filter(|event| event.reason == Reason::Frozen).count();
    world.run(600);
    assert_eq!(
        (world.phase(), users(&world), told(&world)),
        (Phase::Verifying, Some(1), 1),
        "no deadline runs"
    );
    world.pass(1_200_000);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    assert!(world.status.release.is_none());
}

#[test]
fn a_policy_that_is_taken_away_lets_go_at_once() {
    let mut world = running(2);
    freeze(&mut world, 30);
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::Frozen));
    world.observed.policies.clear();
    world.run_until(2, |world| world.phase() != Phase::Verifying);
}

#[test]
fn a_window_that_cannot_be_read_stops_promotions() {
    let mut world = running(2);
    freeze(&mut world, 30);
    let Ok(spec) = &mut world.observed.policies[0].spec else { panic!("it was read") };
    spec.freeze[0].time_zone = "Europe/Nowhere".into();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::FreezeInvalid));
    let message = world.status.blocked.clone().unwrap().message;
    assert!(message.contains("timeZone") && message.contains("calendar/sale"), "{message}");
    world.observed.policies[0].spec = Err("unknown variant".into());
    world.run(2);
    assert_eq!(world.blocked(), Some(Reason::FreezeInvalid));
    world.observed.policies.clear();
    world.run_until(60, World::stable);
}

#[test]
fn a_freeze_that_begins_before_users_move_holds_and_after_it_does_not() {
    let mut world = running(2);
    world.image("good-2");
    world.run_until(30, |world| world.phase() == Phase::Scaling);
    freeze(&mut world, 30);
    world.run_until(30, |world| world.blocked() == Some(Reason::Frozen));
    assert_eq!((world.phase(), users(&world)), (Phase::Scaling, Some(1)));
    world.run(300);
    assert_eq!(world.phase(), Phase::Scaling, "no deadline runs");
    // A pod is lost meanwhile: it is waited for again, with its deadline.
    world.sick.extend(
        world.observed.pods.iter().filter(|pod| pod.revision == 2).map(|pod| pod.uid.clone()).take(1),
    );
    world.pass(100);
    world.run_until(5, |world| world.blocked() == Some(Reason::WaitingForPods));
    world.sick.clear();
    world.run_until(10, |world| world.blocked() == Some(Reason::Frozen));
    world.pass(1_800_000);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);

    let mut world = running(2);
    world.image("good-2");
    world.run_until(30, |world| world.phase() == Phase::Shifting);
    freeze(&mut world, 30);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2, "users were on their way");
}

#[test]
fn aborts_and_rollbacks_and_first_revisions_are_never_frozen() {
    let mut world = running(2);
    freeze(&mut world, 600);
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::Frozen));
    let abort = world.decide(Verb::Abort, 2);
    world.run_until(10, World::stable);
    world.run(1);
    assert_eq!(world.outcome(&abort).0, Some(DecisionOutcome::Done));

    let mut world = switched();
    freeze(&mut world, 600);
    world.decide(Verb::Rollback, 2);
    world.run_until(1, |world| users(world) == Some(1));

    let mut world = twice();
    freeze(&mut world, 600);
    world.decide(Verb::Rollback, 2);
    world.run_until(60, |world| users(world) == Some(1));

    let mut world = World::new(crate::spec("good-1", 2));
    freeze(&mut world, 600);
    world.run_until(60, World::stable);
}

#[test]
fn one_that_waits_for_a_promotion_says_that_it_would_be_frozen() {
    let mut world = running(2);
    world.manual();
    freeze(&mut world, 30);
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    let message = world.status.blocked.clone().unwrap().message;
    assert!(message.contains("calendar/sale"), "{message}");
    let promote = world.decide(Verb::Promote, 2);
    world.run_until(5, |world| world.blocked() == Some(Reason::Frozen));
    world.run(60);
    assert_eq!(
        (world.phase(), world.outcome(&promote).0),
        (Phase::Verifying, Some(DecisionOutcome::Accepted))
    );
    world.pass(1_800_000);
    world.run_until(60, World::stable);
    assert_eq!((world.active(), world.outcome(&promote).0), (2, Some(DecisionOutcome::Done)));
}

#[test]
fn a_promotion_by_force_passes_a_freeze_and_is_told() {
    let mut world = running(2);
    freeze(&mut world, 600);
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::Frozen));
    let plain = world.decide(Verb::Promote, 2);
    world.run(5);
    assert_eq!(
        (world.blocked(), world.outcome(&plain).0),
        (Some(Reason::Frozen), Some(DecisionOutcome::Accepted))
    );
    let force = world.decide(Verb::Promote, 2);
    world.observed.decisions.last_mut().unwrap().spec.force = true;
    world.run_until(60, World::stable);
    world.run(1);
    assert_eq!((world.active(), world.outcome(&force).0), (2, Some(DecisionOutcome::Done)));
    let told = world.events.iter().find(|event| event.reason == Reason::GateForced).unwrap();
    assert!(told.warning && told.message.contains("calendar/sale"), "{}", told.message);
}

#[test]
fn a_freeze_that_begins_between_two_steps_holds_the_second_and_no_abort() {
    let halfway = || {
        let mut world = running(2);
        world.release(|release| {
            release.strategy = shop_crds::service::release::Strategy::Canary;
            let steps =
                serde_json::json!({"steps": [{"weight": "10%"}, {"pause": "20s"}, {"weight": "50%"}]});
            release.canary = Some(serde_json::from_value(steps).unwrap());
        });
        world.image("good-2");
        world.run_until(60, |world| {
            world.status.release.as_ref().is_some_and(|release| release.step == Some(1))
        });
        freeze(&mut world, 30);
        world.run_until(60, |world| world.blocked() == Some(Reason::Frozen));
        world
    };
    let weight = |world: &World| world.status.release.as_ref().unwrap().weight;
    let mut world = halfway();
    world.run(300);
    assert_eq!(
        (world.phase(), weight(&world), world.blocked()),
        (Phase::Shifting, Some(1000), Some(Reason::Frozen))
    );
    world.pass(1_800_000);
    world.run_until(120, World::stable);
    assert_eq!(world.active(), 2);

    let mut world = halfway();
    world.decide(Verb::Abort, 2);
    world.run_until(120, World::stable);
    assert_eq!(world.active(), 1);
}

/// Who opens one gate knows which one comes next.
#[test]
fn everything_that_holds_a_release_is_named_at_once() {
    let mut world = running(2);
    freeze(&mut world, 30);
    world.manual();
    world.release(|release| {
        release.approvals = Some(2);
        let confirm = serde_json::json!({"url": "http://ci.example/may?token=secret"});
        release.confirm = Some(serde_json::from_value(confirm).unwrap());
    });
    let also = |world: &World| {
        let blocked = world.status.blocked.clone().unwrap();
        assert!(blocked.also.iter().all(|hold| !hold.message.contains("secret")), "{:?}", blocked.also);
        blocked.also.iter().map(|hold| hold.reason).collect::<Vec<_>>()
    };
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    assert_eq!(also(&world), [Reason::Frozen, Reason::AwaitingConfirmation]);
    world.decide(Verb::Pause, 2);
    world.run_until(2, |world| world.blocked() == Some(Reason::Paused));
    assert_eq!(also(&world), [Reason::AwaitingPromotion, Reason::Frozen, Reason::AwaitingConfirmation]);
    world.pass(1_801_000);
    world.run(1);
    assert_eq!(also(&world), [Reason::AwaitingPromotion, Reason::AwaitingConfirmation]);
    world.decide(Verb::Resume, 2);
    for person in ["ann", "bob"] {
        world.decide_by(person, Verb::Promote, 2, |_| {});
    }
    world.run_until(5, |world| world.blocked() == Some(Reason::AwaitingConfirmation));
    assert_eq!(also(&world), []);
}
