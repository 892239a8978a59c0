//! Analyses: what sidecars count and what others answer decides how a release goes on.

use shop_crds::{
    Reason, Verb,
    service::release::OnFailure,
    status::{
        Phase,
        analysis::{AnalysisOutcome, AnalysisState},
    },
};
use shop_release::{Answer, AnswerValue, Ask, Counters, JobState, Reading, Tally, counting};

use crate::{running, world::World};

/// A service with an analysis, whose second revision has just been cut.
fn analysed(analysis: &serde_json::Value) -> World {
    let mut world = running(3);
    let analysis = serde_json::from_value(analysis.clone()).unwrap();
    world.release(|release| release.analysis = Some(analysis));
    world.image("good-2");
    world
}

fn state(world: &World) -> AnalysisState {
    world.status.release.as_ref().and_then(|release| release.analysis.clone()).unwrap()
}

fn outcome(world: &World) -> Option<AnalysisOutcome> {
    world.status.release.as_ref()?.analysis.as_ref()?.outcome
}

fn counters(requests: u64, failures: u64, slow: u64) -> Counters {
    let (bounds_us, counts) = (vec![100_000, 300_000, 500_000], vec![requests - slow, 0, slow, 0]);
    Counters { requests, failures, bounds_us, counts }
}

fn users(users: Counters) -> Reading {
    Reading { users, ..Reading::default() }
}

/// What the operator's collector would show now.
fn count(world: &mut World, counted: Counters, before: Counters) {
    let Some((run, revisions)) = counting(&world.subject.spec, &world.status) else {
        world.observed.tallies.clear();
        return;
    };
    let tally = |revision, counted, before| Tally {
        revision,
        run,
        counted: users(counted),
        before: users(before),
        silent: 0,
        lost: None,
    };
    let own = tally(revisions[0], counted, Counters::default());
    let old = tally(revisions[1], Counters::default(), before);
    world.observed.tallies = vec![own, old];
}

/// Runs with so many requests and failures a second until `done`.
fn serve(world: &mut World, seconds: u64, each: (u64, u64, u64), done: impl Fn(&World) -> bool) {
    let begun = state(world).since.0;
    for _ in 0..seconds * 2 {
        let passed = u64::try_from(world.now.duration_since(begun).as_secs()).unwrap();
        let own = counters(each.0 * passed, each.1 * passed, each.2 * passed);
        count(world, own, counters(100_000, 100, 100));
        world.run_until(1, |_| true);
        world.pass(500);
        if done(world) {
            return;
        }
    }
    panic!("not done: {}", world.describe());
}

fn watching(world: &mut World) {
    world.run_until(60, |world| {
        world.phase() == Phase::Watching && world.status.release.as_ref().unwrap().analysis.is_some()
    });
}

/// Answers every question that is open.
fn answer(world: &mut World, outcome: &Result<AnswerValue, String>) {
    let at = world.now;
    for question in std::mem::take(&mut world.asked) {
        world.observed.answers.push(Answer { id: question.id, at, outcome: outcome.clone() });
    }
}

fn number(number: f64) -> AnswerValue {
    AnswerValue { status: 200, number: Some(number), text: number.to_string() }
}

#[test]
fn a_good_revision_is_stable_when_the_analysis_has_passed() {
    let mut world = analysed(&serde_json::json!({
        "successRate": {"min": "99%", "maxDrop": "1%"}, "latencyP99": {"max": "300ms", "maxIncrease": "100%"}, "duration": "30s"
    }));
    watching(&mut world);
    let begun = world.now;
    assert_eq!(world.blocked(), Some(Reason::AnalysisRunning));
    serve(&mut world, 60, (100, 0, 0), |world| outcome(world).is_some());
    assert_eq!(outcome(&world), Some(AnalysisOutcome::Passed), "{}", world.describe());
    let took = world.now.duration_since(begun).as_secs();
    assert!((29..=33).contains(&took), "{took}");
    let checks = state(&world).checks;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["successRate", "successDrop", "latencyP99", "latencyIncrease"]);
    assert!(checks.iter().all(|check| (1..=10).contains(&check.measurements.len())));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    assert!(world.observed.jobs.is_empty());
}

#[test]
fn a_bad_revision_is_left_at_once() {
    for (analysis, each) in [
        (serde_json::json!({"successRate": {"min": "99%"}}), (100, 10, 0)),
        (serde_json::json!({"successRate": {"maxDrop": "1%"}}), (100, 10, 0)),
        (serde_json::json!({"latencyP99": {"max": "300ms"}}), (100, 0, 10)),
        (serde_json::json!({"latencyP99": {"maxIncrease": "50%"}}), (100, 0, 10)),
    ] {
        let mut world = analysed(&analysis);
        watching(&mut world);
        let begun = world.now;
        serve(&mut world, 20, each, |world| world.phase() == Phase::Aborting);
        assert!(world.now.duration_since(begun).as_secs() <= 5, "{analysis}");
        let abort = world.status.release.clone().unwrap().aborting.unwrap();
        assert_eq!(abort.reason, Reason::AnalysisFailed, "{analysis}: {}", abort.message);
        world.run_until(120, World::stable);
        assert_eq!((world.active(), world.blocked()), (1, Some(Reason::NotTriedAgain)));
    }
}

/// The candidate's own counters are spotless: what none of its pods answered is told by those that handed it over.
#[test]
fn what_the_candidate_did_not_answer_counts_against_it() {
    for (unanswered, fails) in [(0, false), (1, false), (50, true)] {
        let mut world = analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "60s"}));
        watching(&mut world);
        count(&mut world, counters(500, 0, 0), counters(100_000, 100, 100));
        world.observed.tallies[1].counted.unanswered = unanswered;
        world.run(2);
        let failed = world.events.iter().any(|event| event.reason == Reason::AnalysisFailed);
        assert_eq!((failed, world.active()), (fails, if fails { 1 } else { 2 }), "{unanswered}");
    }
}

#[test]
fn no_data_is_neither_good_nor_bad() {
    for (set, expected) in
        [(None, Some(2)), (Some("pass"), Some(2)), (Some("abort"), Some(1)), (Some("hold"), None)]
    {
        let mut analysis =
            serde_json::json!({"successRate": {"min": "99%"}, "duration": "5s", "timeout": "20s"});
        if let Some(set) = set {
            analysis["onNoData"] = set.into();
        }
        let mut world = analysed(&analysis);
        watching(&mut world);
        serve(&mut world, 40, (1, 0, 0), |world| {
            outcome(world).is_some() || world.phase() == Phase::Aborting
        });
        if expected.is_none() {
            world.run(300);
            assert_eq!(world.blocked(), Some(Reason::AnalysisInconclusive));
            let command = world.status.blocked.clone().unwrap().command.unwrap();
            assert!(command.starts_with("kubectl shop promote"), "{command}");
            world.decide(Verb::Promote, 2);
        }
        world.run_until(120, World::stable);
        assert_eq!(world.active(), expected.unwrap_or(2), "{set:?}");
        assert!(
            world.events.iter().any(|event| event.reason == Reason::AnalysisInconclusive && event.warning)
        );
    }
}

#[test]
fn a_pod_that_dies_or_falls_silent_never_makes_it_pass() {
    let mut world =
        analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "10s", "timeout": "60s"}));
    watching(&mut world);
    let run = state(&world).since.0;
    let tally = |silent, lost| Tally {
        revision: 2,
        run,
        counted: users(counters(10_000, 0, 0)),
        before: Reading::default(),
        silent,
        lost,
    };
    world.observed.tallies = vec![tally(1, None)];
    world.run(20);
    assert_eq!(outcome(&world), None, "a sidecar does not tell");
    world.observed.tallies = vec![tally(0, Some(world.now))];
    world.run(9);
    assert_eq!(outcome(&world), None, "a pod was lost");
    world.run(2);
    assert_eq!(outcome(&world), Some(AnalysisOutcome::Passed));
}

#[test]
fn a_failure_is_held_where_that_is_wanted_and_may_be_measured_again() {
    let mut world = analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "5s"}));
    world.release(|release| release.on_failure = OnFailure::Hold);
    watching(&mut world);
    serve(&mut world, 20, (100, 50, 0), |world| world.blocked() == Some(Reason::OnHold));
    world.run(120);
    assert_eq!((world.active(), world.blocked()), (2, Some(Reason::OnHold)));
    world.decide(Verb::Retry, 2);
    world.run_until(5, |world| outcome(world).is_none());
    assert_eq!(world.blocked(), Some(Reason::AnalysisRunning));
    serve(&mut world, 20, (100, 50, 0), |world| world.blocked() == Some(Reason::OnHold));
    world.decide(Verb::Promote, 2);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let mut world =
        analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "5s", "dryRun": true}));
    watching(&mut world);
    serve(&mut world, 20, (100, 50, 0), |world| outcome(world).is_some());
    assert_eq!(outcome(&world), Some(AnalysisOutcome::Failed));
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
    let told = world.events.iter().find(|event| event.reason == Reason::AnalysisFailed).unwrap();
    assert!(told.message.contains("dry run"), "{}", told.message);
}

#[test]
fn others_are_asked_before_the_promotion() {
    let mut world = analysed(&serde_json::json!({
        "when": ["verifying"], "duration": "25s",
        "checks": [
            {"name": "errors", "interval": "10s", "failures": 1,
             "prometheus": {"address": "http://p:9090", "query": "e{s=\"$(service)\",r=\"$(revision)\"}", "max": 0.01}},
            {"name": "hook", "webhook": {"url": "http://hook/"}},
        ],
    }));
    world.run_until(60, |world| world.asked.len() == 2);
    assert_eq!((world.phase(), world.blocked()), (Phase::Verifying, Some(Reason::AnalysisRunning)));
    let Ask::Prometheus { query, .. } = &world.asked[0].ask else { panic!("{:?}", world.asked) };
    assert_eq!(query, "e{s=\"order\",r=\"2\"}");
    let Ask::Http { body: Some(body), .. } = &world.asked[1].ask else { panic!("{:?}", world.asked) };
    assert!(body.contains("\"revision\":2") && body.contains("good-2"), "{body}");
    // One failure is tolerated.
    answer(&mut world, &Ok(number(0.5)));
    world.run(12);
    assert_eq!(world.asked.len(), 2);
    answer(&mut world, &Ok(number(0.0)));
    world.run(9);
    answer(&mut world, &Ok(number(0.0)));
    world.run(1);
    assert_eq!(world.active(), 1, "the time is not over");
    world.run_until(30, |world| {
        world.status.release.as_ref().is_some_and(|release| release.promoted_by.is_some())
    });
    assert_eq!(outcome(&world), Some(AnalysisOutcome::Passed), "{}", world.describe());
    world.run_until(90, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_new_leader_asks_the_same_again() {
    let mut world = analysed(&serde_json::json!({
        "when": ["verifying"], "duration": "1s", "checks": [{"name": "hook", "webhook": {"url": "http://hook/"}}],
    }));
    world.run_until(60, |world| world.asked.len() == 1);
    let first = std::mem::take(&mut world.asked);
    world.restart();
    world.run(2);
    assert_eq!(world.asked, first);
    answer(&mut world, &Ok(number(1.0)));
    world.run_until(90, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn errors_hold_and_say_so() {
    let mut world = analysed(&serde_json::json!({
        "when": ["verifying"], "duration": "5s", "timeout": "30s",
        "checks": [{"name": "hook", "interval": "1s", "webhook": {"url": "http://hook/"}}],
    }));
    for _ in 0..50 {
        world.run(1);
        answer(&mut world, &Err("hook: cannot connect".to_owned()));
    }
    assert_eq!((world.phase(), world.blocked()), (Phase::Verifying, Some(Reason::AnalysisError)));
    assert_eq!(state(&world).checks[0].measurements.len(), 10, "only the newest are kept");
    world.decide(Verb::Retry, 2);
    world.run_until(10, |world| world.blocked() == Some(Reason::AnalysisRunning));
    for _ in 0..10 {
        world.run(1);
        answer(&mut world, &Ok(number(1.0)));
    }
    world.run_until(90, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_job_decides_and_is_removed_in_the_end() {
    for (ends, active) in [(JobState::Succeeded, 2), (JobState::Failed("BackoffLimitExceeded".into()), 1)] {
        let mut world = analysed(&serde_json::json!({
            "when": ["verifying"], "checks": [{"name": "smoke", "job": {"image": "smoke:1"}}],
        }));
        world.run_until(60, |world| world.observed.jobs.len() == 1);
        world.run(60);
        assert_eq!((world.phase(), world.observed.jobs.len()), (Phase::Verifying, 1));
        assert!(world.observed.jobs[0].name.starts_with("order-r2-check-"), "{:?}", world.observed.jobs);
        world.observed.jobs[0].state = ends;
        world.observed.jobs[0].resource_version = world.bump();
        world.run_until(120, |world| world.stable() && world.observed.jobs.is_empty());
        assert_eq!(world.active(), active);
        world.run(5);
        let before = world.written.len();
        world.run(60);
        assert_eq!(world.written.len(), before, "nothing is written in the end");
    }
}

#[test]
fn an_abort_does_not_wait_for_an_analysis() {
    let mut world =
        analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "1h", "timeout": "2h"}));
    watching(&mut world);
    world.run(700);
    assert_eq!(world.phase(), Phase::Watching, "progressDeadline does not count meanwhile");
    world.decide(Verb::Rollback, 2);
    let begun = world.now;
    world
        .run_until(10, |world| world.observed.services[&shop_release::ServiceKind::Users].selects == Some(1));
    assert!(world.now.duration_since(begun).as_millis() <= 1_000);
    world.run_until(120, World::stable);
}

#[test]
fn it_changes_live() {
    let mut world =
        analysed(&serde_json::json!({"successRate": {"min": "99%"}, "duration": "1h", "timeout": "2h"}));
    watching(&mut world);
    world.run(30);
    world.release(|release| release.analysis = None);
    world.run_until(60, World::stable);
    assert_eq!(world.active(), 2);
}

/// A canary with a quarter of the requests, that then is analysed.
fn canary(analysis: &serde_json::Value, steps: &serde_json::Value) -> World {
    let mut world = running(3);
    let release = serde_json::json!({
        "strategy": "canary", "canary": {"steps": steps}, "analysis": analysis,
        "keepOld": "5s", "drain": {"max": "60s"}, "progressDeadline": "120s",
    });
    world.release(|before| *before = serde_json::from_value(release).unwrap());
    world.image("good-2");
    world
}

#[test]
fn a_canary_goes_on_when_its_step_has_passed() {
    let analysis = serde_json::json!({"successRate": {"min": "99%"}, "duration": "20s", "when": ["verifying"], "checks": [
        {"name": "hook", "webhook": {"url": "http://hook/"}},
    ]});
    let steps = serde_json::json!([{"weight": "25%"}, {"analysis": {}}, {"weight": "50%"}]);
    let mut world = canary(&analysis, &steps);
    for (stage, step) in [("verifying", None), ("step", Some(1))] {
        world.run_until(60, |world| {
            let analysis = world.status.release.as_ref().and_then(|release| release.analysis.as_ref());
            analysis.is_some_and(|state| state.stage.as_str() == stage)
        });
        assert_eq!((state(&world).step, world.blocked()), (step, Some(Reason::AnalysisRunning)));
        let begun = state(&world).since.0;
        for _ in 0..40 {
            let passed = u64::try_from(world.now.duration_since(begun).as_secs()).unwrap();
            count(&mut world, counters(100 * passed, 0, 0), Counters::default());
            answer(&mut world, &Ok(number(1.0)));
            world.run_until(1, |_| true);
            world.pass(500);
            if world
                .status
                .release
                .as_ref()
                .is_none_or(|release| release.analysis.as_ref().is_none_or(|state| state.outcome.is_some()))
            {
                break;
            }
        }
        let took = world.now.duration_since(begun).as_secs();
        assert!((19..=23).contains(&took), "{stage}: {took}");
    }
    world.run_until(120, World::stable);
    assert_eq!(world.active(), 2);
}

#[test]
fn a_canary_that_fails_is_left_at_its_step_and_in_the_background() {
    let step = serde_json::json!([{"weight": "25%"}, {"analysis": {}}]);
    let pause = serde_json::json!([{"weight": "25%"}, {"pause": "1h"}]);
    for (background, steps) in [(false, step), (true, pause)] {
        let analysis =
            serde_json::json!({"successRate": {"min": "99%"}, "background": background, "timeout": "70s"});
        let mut world = canary(&analysis, &steps);
        world.run_until(60, |world| {
            world.phase() == Phase::Shifting
                && world.status.release.as_ref().is_some_and(|release| release.analysis.is_some())
        });
        if background {
            world.run(200);
            assert_eq!(
                (world.phase(), outcome(&world)),
                (Phase::Shifting, None),
                "no data is no failure there"
            );
        }
        count(&mut world, counters(1_000, 100, 0), Counters::default());
        world.run_until(5, |world| world.phase() == Phase::Aborting);
        world.run_until(120, World::stable);
        assert_eq!(world.active(), 1);
    }
}

#[test]
fn others_are_asked_all_through_the_steps_in_the_background() {
    let analysis = serde_json::json!({"background": true, "duration": "5s", "checks": [
        {"name": "hook", "interval": "5s", "webhook": {"url": "http://hook/"}},
    ]});
    let mut world = canary(&analysis, &serde_json::json!([{"weight": "25%"}, {"pause": "1h"}]));
    world.run_until(60, |world| world.blocked() == Some(Reason::StepPause));
    for _ in 0..60 {
        answer(&mut world, &Ok(number(1.0)));
        world.run(1);
    }
    assert_eq!((world.phase(), world.blocked()), (Phase::Shifting, Some(Reason::StepPause)));
    world.run_until(10, |world| !world.asked.is_empty());
    answer(&mut world, &Ok(AnswerValue { status: 412, number: None, text: "too many errors".into() }));
    world.run_until(5, |world| world.phase() == Phase::Aborting);
    let abort = world.status.release.clone().unwrap().aborting.unwrap();
    assert_eq!(abort.reason, Reason::AnalysisFailed);
    assert!(abort.message.contains("hook: status 412: too many errors"), "{}", abort.message);
    world.run_until(120, World::stable);
    assert_eq!(world.active(), 1);
}

#[test]
fn a_step_without_a_result_waits_for_people_or_does_as_it_is_told() {
    let steps = serde_json::json!([{"weight": "25%"}, {"analysis": {}}]);
    for (set, silent, reason) in [
        (None, false, Reason::AnalysisInconclusive),
        (None, true, Reason::AnalysisError),
        (Some("pass"), false, Reason::AnalysisInconclusive),
        (Some("abort"), true, Reason::AnalysisError),
    ] {
        let mut analysis = serde_json::json!({"successRate": {"min": "99%"}, "timeout": "70s"});
        if let Some(set) = set {
            analysis["onNoData"] = set.into();
        }
        let mut world = canary(&analysis, &steps);
        world.run_until(60, |world| {
            world.phase() == Phase::Shifting
                && world.status.release.as_ref().is_some_and(|release| release.analysis.is_some())
        });
        count(&mut world, Counters::default(), Counters::default());
        world.observed.tallies.iter_mut().for_each(|tally| tally.silent = u32::from(silent));
        world.run_until(80, |world| world.events.iter().any(|event| event.reason == reason));
        if set.is_none() {
            world.run(300);
            assert_eq!((world.phase(), world.blocked()), (Phase::Shifting, Some(reason)));
            world.decide(Verb::Promote, 2);
        }
        // Another analysis follows when users have it: it is let go.
        world.run_until(120, |world| world.active() == 2 || world.stable());
        assert_eq!(world.active(), if set == Some("abort") { 1 } else { 2 }, "{set:?} {silent}");
    }
}
