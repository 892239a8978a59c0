//! Checks that ask others: a Prometheus, a web hook, a Job.
//!
//! A check is measured when it is due: the question with the number of the measurement goes out with every plan until its answer is
//! there. The number alone says what is asked, so that a leader that takes over asks the same and measures nothing twice.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::EnvVar;
use serde_json::json;
use shop_crds::{
    names,
    service::release::analysis::{Check, CheckJob, Number, Prometheus, Webhook},
    status::analysis::{AnalysisOutcome, AnalysisStage, AnalysisState, CheckState},
};

use super::run::{Run, Standing, note};
use crate::{
    outside::{AnswerValue, Ask, JobState, JobTemplate, Question},
    view::{Draft, View, after, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// Longest wait for the answer to a question.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// What stands in the names of Jobs that are run for an analysis.
const MARK: &str = "-check-";

/// Takes a measurement if one is due and there, and says where the check stands.
pub(super) fn measure(run: &Run<'_>, asked: &Check, check: &mut CheckState, draft: &mut Draft) -> Standing {
    if check.outcome.is_some() {
        return standing(run, asked, check);
    }
    let due = due(asked, check, run.since);
    if due > run.view.now {
        draft.wake(due);
    } else if let Some((outcome, value)) = answered(run, asked, check.measured + 1) {
        note(run, check, &value, outcome);
        draft.wake(after(run.view.now, asked.interval().duration()));
    }
    if run.may_pass_at() > run.view.now {
        draft.wake(run.may_pass_at());
    }
    standing(run, asked, check)
}

/// When the next measurement is due.
fn due(asked: &Check, check: &CheckState, since: Timestamp) -> Timestamp {
    check.measurements.last().map_or(since, |last| after(last.at.0, asked.interval().duration()))
}

fn standing(run: &Run<'_>, asked: &Check, check: &CheckState) -> Standing {
    let Some(last) = check.measurements.last() else {
        return Standing::open(AnalysisOutcome::Inconclusive, "has not been answered");
    };
    let tolerated = i64::from(asked.failures.unwrap_or(0));
    let long_enough = asked.job.is_some() || run.may_pass_at() <= run.view.now;
    let decided = if check.failed > tolerated {
        Some(AnalysisOutcome::Failed)
    } else {
        (last.outcome == AnalysisOutcome::Passed && long_enough).then_some(AnalysisOutcome::Passed)
    };
    let failed = if check.failed > 0 { format!(" ({} failed)", check.failed) } else { String::new() };
    let otherwise = match last.outcome {
        AnalysisOutcome::Error => AnalysisOutcome::Error,
        // One that passed would pass now, but for the time that it must be looked at.
        _ => AnalysisOutcome::Inconclusive,
    };
    Standing { decided, otherwise, says: format!("{}{failed}", last.value) }
}

/// The measurement of this number, once it is answered.
fn answered(run: &Run<'_>, asked: &Check, number: i64) -> Option<(AnalysisOutcome, String)> {
    if asked.job.is_some() {
        return job_ended(run, asked, number);
    }
    let id = question_id(run.since, &asked.name, number);
    let answer = run.view.observed.answers.iter().find(|answer| answer.id == id)?;
    Some(match &answer.outcome {
        Err(why) => (AnalysisOutcome::Error, why.clone()),
        Ok(value) => judge(asked, value),
    })
}

fn job_ended(run: &Run<'_>, asked: &Check, number: i64) -> Option<(AnalysisOutcome, String)> {
    let name = job_name(&run.view.subject.name, run.to, run.since, &asked.name, number);
    let refusal = run
        .view
        .observed
        .refused
        .iter()
        .find(|refusal| refusal.object.kind == ObjectKind::Job && refusal.object.name == name);
    if let Some(refusal) = refusal {
        return Some((AnalysisOutcome::Error, format!("Job {name} is refused: {}", refusal.message)));
    }
    let job = run.view.observed.jobs.iter().find(|job| job.name == name)?;
    match &job.state {
        JobState::Running => None,
        JobState::Succeeded => Some((AnalysisOutcome::Passed, format!("Job {name} succeeded"))),
        JobState::Failed(why) => Some((AnalysisOutcome::Failed, format!("Job {name} failed: {why}"))),
    }
}

/// What an answer says.
fn judge(asked: &Check, value: &AnswerValue) -> (AnalysisOutcome, String) {
    if let Some(Prometheus { min, max, .. }) = &asked.prometheus {
        return within(value, *min, *max);
    }
    let Some(hook) = &asked.webhook else {
        return (AnalysisOutcome::Error, "the check asks nobody".to_owned());
    };
    match (value.status, &hook.json_path) {
        (200..=299, None) => (AnalysisOutcome::Passed, format!("status {}", value.status)),
        (200..=299, Some(_)) => match &hook.equals {
            Some(wanted) if value.text == *wanted => (AnalysisOutcome::Passed, value.text.clone()),
            Some(wanted) => (AnalysisOutcome::Failed, format!("{} (must be {wanted})", value.text)),
            None => within(value, hook.min, hook.max),
        },
        (429, _) => (AnalysisOutcome::Error, "status 429: asked too often".to_owned()),
        (400..=499, None) => (AnalysisOutcome::Failed, format!("status {}: {}", value.status, value.text)),
        (status, _) => (AnalysisOutcome::Error, format!("status {status}: {}", value.text)),
    }
}

fn within(value: &AnswerValue, min: Option<Number>, max: Option<Number>) -> (AnalysisOutcome, String) {
    let Some(number) = value.number else {
        return (AnalysisOutcome::Inconclusive, format!("no number: {}", value.text));
    };
    match (min.filter(|min| number < min.0), max.filter(|max| number > max.0)) {
        (Some(min), _) => (AnalysisOutcome::Failed, format!("{number} (at least {})", min.0)),
        (None, Some(max)) => (AnalysisOutcome::Failed, format!("{number} (at most {})", max.0)),
        (None, None) => (AnalysisOutcome::Passed, number.to_string()),
    }
}

/// What is asked and run now, and the Jobs that nobody needs any more.
pub(crate) fn writes(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    let release = draft.release().filter(|release| release.aborting.is_none());
    let state = release.and_then(|release| release.analysis.as_ref());
    let analysis = view.release.analysis.as_ref();
    let (mut asks, mut jobs, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    if let (Some(release), Some(state), Some(analysis)) = (release, state, analysis) {
        let runs = state.outcome.is_none() && state.accepted_by.is_none() && !release.held;
        for check in &state.checks {
            let Some(asked) = analysis.checks.iter().find(|asked| asked.name == check.name) else { continue };
            let number = check.measured + 1;
            let open = runs && check.outcome.is_none() && due(asked, check, state.since.0) <= view.now;
            let name = |number| job_name(&view.subject.name, release.to, state.since.0, &asked.name, number);
            match &asked.job {
                Some(job) => {
                    // The last one stays for a look at its logs.
                    kept.extend([name(check.measured), name(number)]);
                    if open && !view.observed.jobs.iter().any(|one| one.name == name(number)) {
                        let job = Box::new(template(view, release.to, job));
                        jobs.push(Write::CreateJob { name: name(number), revision: release.to, job });
                    }
                }
                None if open => asks.extend(question(view, draft, state, asked, number).map(Write::Ask)),
                None => {}
            }
        }
    }
    let unneeded =
        view.observed.jobs.iter().filter(|job| job.name.contains(MARK) && !kept.contains(&job.name));
    let removals = unneeded.map(|job| Write::Delete {
        object: ObjectRef::new(ObjectKind::Job, &job.name),
        precondition: Precondition::version(&job.uid, &job.resource_version),
    });
    asks.into_iter().chain(removals).chain(jobs).collect()
}

fn question(
    view: &View<'_>,
    draft: &Draft,
    state: &AnalysisState,
    asked: &Check,
    number: i64,
) -> Option<Question> {
    let id = question_id(state.since.0, &asked.name, number);
    if view.observed.answers.iter().any(|answer| answer.id == id) {
        return None;
    }
    let release = draft.release()?;
    let ask = match (&asked.prometheus, &asked.webhook) {
        (Some(Prometheus { address, query, .. }), _) => Ask::Prometheus {
            address: address.clone(),
            query: query
                .replace("$(service)", &view.subject.name)
                .replace("$(namespace)", &view.subject.namespace)
                .replace("$(revision)", &release.to.to_string()),
        },
        (None, Some(Webhook { url, json_path, .. })) => Ask::Http {
            url: url.clone(),
            method: "POST".to_owned(),
            body: Some(told(view, draft, state.stage, release.to)),
            json_path: json_path.clone(),
        },
        (None, None) => return None,
    };
    Some(Question { id, ask, timeout: PATIENCE })
}

/// What a web hook is told.
fn told(view: &View<'_>, draft: &Draft, stage: AnalysisStage, revision: i64) -> String {
    let image = revision_state(&draft.status, revision).map(|state| state.image.clone());
    json!({
        "namespace": view.subject.namespace,
        "service": view.subject.name,
        "revision": revision,
        "image": image,
        "stage": stage.as_str(),
        "phase": draft.phase().as_str(),
    })
    .to_string()
}

fn template(view: &View<'_>, revision: i64, job: &CheckJob) -> JobTemplate {
    let (service, namespace) = (&view.subject.name, &view.subject.namespace);
    let preview = format!("http://{}.{namespace}.svc", names::preview_service(service));
    let variable =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    JobTemplate {
        image: job.image.clone(),
        command: job.command.clone(),
        args: job.args.clone(),
        env: vec![
            variable("SHOP_NAMESPACE", namespace.clone()),
            variable("SHOP_SERVICE", service.clone()),
            variable("SHOP_REVISION", revision.to_string()),
            variable("SHOP_PREVIEW_URL", preview),
        ],
        env_from: Vec::new(),
        retries: 0,
        timeout: job.timeout().duration(),
    }
}

fn question_id(since: Timestamp, check: &str, number: i64) -> String {
    format!("analysis-{}-{check}-{number}", since.as_microsecond())
}

/// `order-r7-check-1f2e3d`: short enough for the label that Kubernetes gives its pod.
fn job_name(service: &str, revision: i64, since: Timestamp, check: &str, number: i64) -> String {
    let id = question_id(since, check, number);
    // FNV-1a: stable over versions of the compiler, which std's hasher is not.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}{MARK}{:06x}", names::revision(service, revision), (hash ^ (hash >> 32)) & 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(status: u16, number: Option<f64>, text: &str) -> AnswerValue {
        AnswerValue { status, number, text: text.to_owned() }
    }

    fn check(text: serde_json::Value) -> Check {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn answers_are_told_apart() {
        use AnalysisOutcome::{Error, Failed, Inconclusive, Passed};
        let query = check(
            json!({ "name": "a", "prometheus": { "address": "http://p", "query": "q", "min": 1, "max": 2.5 } }),
        );
        let hook = check(json!({ "name": "a", "webhook": { "url": "http://h" } }));
        let path =
            check(json!({ "name": "a", "webhook": { "url": "http://h", "jsonPath": "$.x", "max": 3 } }));
        let equal = check(
            json!({ "name": "a", "webhook": { "url": "http://h", "jsonPath": "$.x", "equals": "ok" } }),
        );
        for (check, value, expected) in [
            (&query, value(200, Some(1.0), "1"), Passed),
            (&query, value(200, Some(2.6), "2.6"), Failed),
            (&query, value(200, Some(0.9), "0.9"), Failed),
            (&query, value(200, None, "no series"), Inconclusive),
            (&hook, value(204, None, ""), Passed),
            (&hook, value(412, None, "no"), Failed),
            (&hook, value(429, None, "slow down"), Error),
            (&hook, value(503, None, "gone"), Error),
            (&hook, value(302, None, ""), Error),
            (&path, value(200, Some(3.0), "3"), Passed),
            (&path, value(200, Some(4.0), "4"), Failed),
            (&path, value(200, None, "none"), Inconclusive),
            (&path, value(404, None, "none"), Error),
            (&equal, value(200, None, "ok"), Passed),
            (&equal, value(200, None, "no"), Failed),
        ] {
            let found = judge(check, &value);
            assert_eq!(found.0, expected, "{check:?} {value:?} {found:?}");
        }
    }

    #[test]
    fn names_of_jobs_are_short_and_differ() {
        let (since, service) = (Timestamp::from_second(1_800_000_000).unwrap(), "a".repeat(40));
        let name = job_name(&service, 12_345_678, since, "smoke", 1);
        assert!(name.len() <= 63, "{name}");
        assert_ne!(name, job_name(&service, 12_345_678, since, "smoke", 2));
        assert_ne!(name, job_name(&service, 12_345_678, since, "other", 1));
    }
}
