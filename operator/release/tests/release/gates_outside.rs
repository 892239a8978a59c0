//! Gates that ask or run something outside: the web hook before a promotion, the Jobs before and after a release.

use shop_crds::{DecisionOutcome, Reason, Verb, service::release::gates::Jobs, status::Phase};
use shop_release::{Answer, AnswerValue, Ask, JobState, ServiceKind};

use crate::{running, world::World};

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

/// A service whose second revision waits for its hook.
fn asking() -> World {
    let mut world = running(2);
    world.release(|release| {
        let confirm = serde_json::json!({"url": "http://ci.example/may?token=secret", "interval": "20s"});
        release.confirm = Some(serde_json::from_value(confirm).unwrap());
    });
    world.image("good-2");
    world.run_until(30, |world| {
        world.blocked() == Some(Reason::AwaitingConfirmation) && !world.asked.is_empty()
    });
    world
}

/// The hook answers the question that it was asked last.
fn answers(world: &mut World, outcome: Result<u16, &str>) {
    let outcome = outcome
        .map(|status| AnswerValue { status, number: None, text: "says the hook".into() })
        .map_err(str::to_owned);
    let id = world.asked.last().unwrap().id.clone();
    let at = world.now;
    world.observed.answers.push(Answer { id, at, outcome });
    world.pass(10);
}

#[test]
fn a_hook_is_asked_until_it_says_yes() {
    let mut world = asking();
    let Ask::Http { method, body: Some(body), .. } = world.asked[0].ask.clone() else {
        panic!("it is a hook")
    };
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (method.as_str(), &body["revision"], &body["digest"]),
        ("POST", &2.into(), &"sha256:good-2".into())
    );
    world.run(300);
    assert_eq!(
        (world.asked.len(), world.phase()),
        (1, Phase::Verifying),
        "an open question is not asked again"
    );
    for (number, outcome) in
        [Ok(403), Err("connection refused"), Ok(204), Ok(500), Ok(302)].into_iter().enumerate()
    {
        answers(&mut world, outcome);
        world.run(15);
        assert_eq!((world.asked.len(), world.phase()), (number + 1, Phase::Verifying), "{outcome:?}");
        let blocked = world.status.blocked.clone().unwrap();
        assert!(
            blocked.message.contains("ci.example") && !blocked.message.contains("secret"),
            "{}",
            blocked.message
        );
        assert!(
            blocked.message.contains(outcome.map_or("refused", |_| "says the hook")),
            "{}",
            blocked.message
        );
        assert!(blocked.next_check.is_some() && blocked.command.unwrap().contains("--force"));
        world.run(10);
        assert_eq!(world.asked.len(), number + 2, "{outcome:?}");
    }
    answers(&mut world, Ok(202));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_new_leader_asks_the_open_question_again_and_an_abort_does_not_wait_for_it() {
    let mut world = asking();
    let first = world.asked[0].clone();
    world.asked.clear();
    world.restart();
    world.run(1);
    assert_eq!(world.asked, [first]);
    let abort = world.decide(Verb::Abort, 2);
    world.run_until(10, World::stable);
    world.run(1);
    assert_eq!(world.outcome(&abort).0, Some(DecisionOutcome::Done));
}

#[test]
fn a_promotion_by_force_does_not_ask() {
    let mut world = asking();
    world.decide(Verb::Promote, 2);
    world.observed.decisions.last_mut().unwrap().spec.force = true;
    world.run_until(60, World::stable);
    assert!(world.events.iter().any(|event| event.reason == Reason::GateForced && event.warning));
}

fn jobs(world: &mut World, jobs: &serde_json::Value) {
    let jobs: Jobs = serde_json::from_value(jobs.clone()).unwrap();
    world.release(|release| release.jobs = Some(jobs));
}

/// The Job of this name ends so.
fn ends(world: &mut World, name: &str, state: JobState) {
    let version = world.bump();
    let job = world.observed.jobs.iter_mut().find(|job| job.name == name).unwrap();
    (job.state, job.resource_version) = (state, version);
    world.pass(10);
}

fn has(world: &World, name: &str) -> bool {
    world.observed.jobs.iter().any(|job| job.name == name)
}

#[test]
fn no_pod_starts_before_the_expand_job_has_succeeded() {
    let mut world = running(2);
    jobs(&mut world, &serde_json::json!({"expand": {"args": ["expand"]}}));
    world.image("good-2");
    world.run_until(10, |world| has(world, "order-r2-expand"));
    world.run(300);
    assert_eq!(
        (world.phase(), world.blocked()),
        (Phase::Preparing, Some(Reason::WaitingForJob)),
        "no deadline runs"
    );
    assert!(world.observed.pods.iter().all(|pod| pod.revision == 1));
    ends(&mut world, "order-r2-expand", JobState::Succeeded);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    assert!(world.status.revisions[1].expanded);
}

#[test]
fn a_failed_expand_job_aborts_or_holds_and_is_run_again_by_retry() {
    let mut world = running(2);
    jobs(&mut world, &serde_json::json!({"expand": {}}));
    world.image("good-2");
    for _ in 0..2 {
        world.run_until(10, |world| world.observed.jobs.iter().any(|job| job.state == JobState::Running));
        ends(&mut world, "order-r2-expand", JobState::Failed("exit code 1".into()));
        world.run_until(10, World::stable);
        world.run(1);
        let outcome = world.status.revisions[1].outcome.clone().unwrap();
        assert_eq!((world.active(), outcome.reason), (1, Reason::ExpandFailed));
        assert!(outcome.message.contains("order-r2-expand failed: exit code 1"), "{}", outcome.message);
        world.decide(Verb::Retry, 2);
    }

    let mut world = running(2);
    world.hold();
    jobs(&mut world, &serde_json::json!({"expand": {}}));
    world.image("good-2");
    world.run_until(10, |world| has(world, "order-r2-expand"));
    ends(&mut world, "order-r2-expand", JobState::Failed("exit code 1".into()));
    world.run_until(10, |world| world.blocked() == Some(Reason::OnHold));
    world.decide(Verb::Retry, 2);
    world.run_until(10, |world| world.observed.jobs.iter().any(|job| job.state == JobState::Running));
    ends(&mut world, "order-r2-expand", JobState::Succeeded);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_first_revision_waits_for_its_expand_job_too() {
    let mut world = World::new(crate::spec("good-1", 2));
    jobs(&mut world, &serde_json::json!({"expand": {}}));
    world.run_until(10, |world| has(world, "order-r1-expand"));
    world.run(60);
    assert!(world.observed.pods.is_empty());
    ends(&mut world, "order-r1-expand", JobState::Failed("exit code 1".into()));
    world.run_until(5, |world| world.blocked() == Some(Reason::ExpandFailed));
    let retry = world.decide(Verb::Retry, 1);
    world.run_until(10, |world| world.observed.jobs.iter().any(|job| job.state == JobState::Running));
    assert_eq!(world.outcome(&retry).0, Some(DecisionOutcome::Done));
    ends(&mut world, "order-r1-expand", JobState::Succeeded);
    world.run_until(60, World::stable);
}

#[test]
fn the_contract_job_comes_after_the_last_old_pod_and_bars_the_way_back() {
    let mut world = running(2);
    jobs(&mut world, &serde_json::json!({"contract": {}}));
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Draining);
    assert!(world.observed.jobs.is_empty());
    world.run_until(120, |world| has(world, "order-r2-contract"));
    assert!(world.stable() && world.observed.pods.iter().all(|pod| pod.revision == 2));
    world.run(5);
    assert_eq!(world.blocked(), Some(Reason::WaitingForJob));
    ends(&mut world, "order-r2-contract", JobState::Failed("exit code 1".into()));
    world.run(5);
    assert_eq!((world.blocked(), users(&world)), (Some(Reason::ContractFailed), Some(2)));
    // It may have done half of its work.
    let back = world.decide(Verb::Rollback, 2);
    world.run(2);
    assert_eq!(world.outcome(&back), (Some(DecisionOutcome::Refused), Some(Reason::ContractDone)));
    let retry = world.decide(Verb::Retry, 2);
    world.run_until(5, |world| world.observed.jobs.iter().any(|job| job.state == JobState::Running));
    assert_eq!(world.outcome(&retry).0, Some(DecisionOutcome::Done));
    ends(&mut world, "order-r2-contract", JobState::Succeeded);
    world.run(5);
    assert_eq!((world.blocked(), world.stable()), (None, true));

    let back = world.decide(Verb::Rollback, 2);
    world.run(2);
    assert_eq!(world.outcome(&back), (Some(DecisionOutcome::Refused), Some(Reason::ContractDone)));
    // The inputs of the older revision are stopped before any user moves.
    world.image("good-1");
    world.run_until(60, |world| world.blocked() == Some(Reason::ContractDone));
    assert_eq!((world.phase(), users(&world)), (Phase::Verifying, Some(2)));
    world.image("good-2");
    world.run_until(60, World::stable);
    let forced = world.decide(Verb::Rollback, 2);
    world.observed.decisions.last_mut().unwrap().spec.force = true;
    world.run_until(60, |world| users(world) == Some(1));
    world.run_until(120, World::stable);
    world.run(1);
    assert_eq!(world.outcome(&forced).0, Some(DecisionOutcome::Done));
}

/// Found by the model check.
#[test]
fn a_contract_job_that_is_deleted_and_not_asked_for_any_more_is_not_waited_for() {
    let mut world = running(2);
    jobs(&mut world, &serde_json::json!({"contract": {}}));
    world.image("good-2");
    world.run_until(120, |world| has(world, "order-r2-contract"));
    world.run(3);
    assert_eq!(world.blocked(), Some(Reason::WaitingForJob));
    jobs(&mut world, &serde_json::json!({}));
    world.run(3);
    assert_eq!(world.blocked(), Some(Reason::WaitingForJob), "it runs on");
    world.observed.jobs.clear();
    world.run(3);
    assert_eq!(world.blocked(), None);
    // It may have done half of its work.
    let back = world.decide(Verb::Rollback, 2);
    world.run(2);
    assert_eq!(world.outcome(&back), (Some(DecisionOutcome::Refused), Some(Reason::ContractDone)));
}
