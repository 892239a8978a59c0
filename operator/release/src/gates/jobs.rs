//! Jobs that are run once for a revision: `expand` before its first pod, `contract` when the old revision is drained.
//!
//! The status says that a Job is run before it is created, so that what is found of one before that is of an earlier try: it is
//! removed first if it failed, and counts if it succeeded.

use shop_crds::{
    Reason, ShopServiceStatus, names,
    service::release::gates::{Job, Jobs},
    status::{
        Failing, Phase, ReleaseState,
        gates::{JobProgress, JobRun},
    },
};

use crate::{
    outside::{JobSeen, JobState, JobTemplate},
    report::{Wait, command},
    view::{Draft, View, active, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

fn jobs<'a>(view: &'a View<'_>) -> Option<&'a Jobs> {
    view.release.jobs.as_ref()
}

fn seen<'a>(view: &View<'a>, name: &str) -> Option<&'a JobSeen> {
    view.observed.jobs.iter().find(|job| job.name == name)
}

/// Whether pods of the revision may be started; those that run are left alone.
pub(crate) fn may_start(view: &View<'_>, status: &ShopServiceStatus, release: &ReleaseState) -> bool {
    let asked = jobs(view).is_some_and(|jobs| jobs.expand.is_some()) && !super::goes_back(release);
    let done = revision_state(status, release.to).is_some_and(|state| state.expanded);
    let runs = view.deployment(release.to).is_some_and(|deployment| deployment.replicas > 0);
    !asked || done || runs
}

/// Follows the expand Job; true once pods may be started.
pub(crate) fn expand(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    if may_start(view, &draft.status, release) {
        return true;
    }
    let name = names::expand_job(&view.subject.name, release.to);
    let known = draft.release().and_then(|release| release.gates.as_ref()?.expand.clone());
    let run = followed(view, known.unwrap_or_else(|| due(view)), seen(view, &name), true);
    let done = run.state == JobProgress::Succeeded;
    if let Some(state) = draft.revision_mut(release.to).filter(|_| done) {
        state.expanded = true;
    }
    if let Some(release) = draft.status.release.as_mut() {
        release.gates.get_or_insert_default().expand = Some(run);
    }
    done
}

fn due(view: &View<'_>) -> JobRun {
    JobRun { state: JobProgress::Due, since: view.micro(), message: None }
}

/// What has become of a Job that is run.
fn followed(view: &View<'_>, run: JobRun, job: Option<&JobSeen>, may_begin: bool) -> JobRun {
    let now = |state, message| JobRun { state, since: view.micro(), message };
    match (run.state, job.map(|job| &job.state)) {
        (JobProgress::Due, None) if may_begin => now(JobProgress::Running, None),
        (JobProgress::Due, Some(JobState::Running)) => now(JobProgress::Running, None),
        (JobProgress::Due | JobProgress::Running, Some(JobState::Succeeded)) => {
            now(JobProgress::Succeeded, None)
        }
        (JobProgress::Running, Some(JobState::Failed(why))) => now(JobProgress::Failed, Some(why.clone())),
        _ => run,
    }
}

/// That the expand Job failed.
pub(crate) fn failed(view: &View<'_>, draft: &Draft) -> Option<Failing> {
    let release = draft.release().filter(|_| draft.phase() == Phase::Preparing)?;
    let run = release.gates.as_ref()?.expand.as_ref().filter(|run| run.state == JobProgress::Failed)?;
    let message = failure(&names::expand_job(&view.subject.name, release.to), run);
    Some(Failing { reason: Reason::ExpandFailed, message, since: run.since.clone() })
}

fn failure(name: &str, run: &JobRun) -> String {
    let why = run.message.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("Job {name} failed{why}")
}

/// A failed Job of this revision is run again; false where there is none.
pub(crate) fn again(view: &View<'_>, draft: &mut Draft, revision: i64) -> bool {
    let new = due(view);
    let failed = |run: &&mut JobRun| run.state == JobProgress::Failed;
    if let Some(release) = draft.status.release.as_mut() {
        let run = release
            .gates
            .as_mut()
            .filter(|_| release.to == revision && release.aborting.is_none())
            .and_then(|gates| gates.expand.as_mut());
        return run.filter(failed).map(|run| *run = new).is_some();
    }
    if active(&draft.status) != Some(revision) {
        return false;
    }
    let run = draft.revision_mut(revision).and_then(|state| state.contract.as_mut());
    run.filter(failed).map(|run| *run = JobRun { message: run.message.take(), ..new }).is_some()
}

/// The old revision is drained: the contract Job may come.
pub(crate) fn drained(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) {
    let asked = jobs(view).is_some_and(|jobs| jobs.contract.is_some()) && !super::is_exempt(release);
    let new = due(view);
    if let Some(state) = draft.revision_mut(release.to).filter(|state| asked && state.contract.is_none()) {
        state.contract = Some(new);
    }
}

/// Follows contract Jobs. They begin only for the active revision while no release runs, and touch no traffic.
pub(crate) fn contract(view: &View<'_>, draft: &mut Draft) {
    let service = &view.subject.name;
    let resting = draft.release().is_none() && draft.phase() == Phase::Stable;
    let asked = jobs(view).is_some_and(|jobs| jobs.contract.is_some());
    let active = active(&draft.status);
    // Pods that stop still serve what they have begun.
    let resting = resting && view.observed.pods.iter().all(|pod| Some(pod.revision) == active);
    let mut told = Vec::new();
    for state in &mut draft.status.revisions {
        let Some(run) = state.contract.take() else { continue };
        if run.state == JobProgress::Due && !asked {
            continue;
        }
        let (name, before) = (names::contract_job(service, state.number), run.state);
        let run = followed(view, run, seen(view, &name), resting && active == Some(state.number));
        if run.state != before && run.state == JobProgress::Failed {
            told.push((true, Reason::ContractFailed, failure(&name, &run)));
        } else if run.state != before && run.state == JobProgress::Succeeded {
            told.push((
                false,
                Reason::ContractDone,
                format!(
                    "Job {name} succeeded; revisions before {} are gone back to by force only",
                    state.number
                ),
            ));
        }
        state.contract = Some(run);
    }
    for (warning, reason, message) in told {
        draft.tell(warning, reason, message);
    }
}

/// The newest revision after this one whose contract Job has begun: the schema may not fit this one any more.
pub(crate) fn contracted_after(status: &ShopServiceStatus, revision: i64) -> Option<i64> {
    // One that failed may have done half of it, and one that is due again has failed before.
    let begun = |run: &JobRun| run.state != JobProgress::Due || run.message.is_some();
    let later = status.revisions.iter().filter(|state| state.number > revision);
    later.filter(|state| state.contract.as_ref().is_some_and(begun)).map(|state| state.number).max()
}

/// What is to be created, or removed before that.
pub(super) fn writes(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    let (mut writes, service) = (Vec::new(), &view.subject.name);
    let Some(jobs) = jobs(view) else { return writes };
    let release = draft
        .release()
        .filter(|release| draft.phase() == Phase::Preparing && release.aborting.is_none() && !release.held);
    let run = release.and_then(|release| Some((release.to, release.gates.as_ref()?.expand.as_ref()?)));
    if let (Some((revision, run)), Some(job)) = (run, &jobs.expand) {
        writes.extend(write(view, revision, names::expand_job(service, revision), run, job));
    }
    let resting =
        active(&draft.status).filter(|_| draft.release().is_none() && draft.phase() == Phase::Stable);
    let state = resting.and_then(|active| revision_state(&draft.status, active));
    if let (Some(state), Some(job)) = (state, &jobs.contract)
        && let Some(run) = &state.contract
    {
        writes.extend(write(view, state.number, names::contract_job(service, state.number), run, job));
    }
    writes
}

fn write(view: &View<'_>, revision: i64, name: String, run: &JobRun, job: &Job) -> Option<Write> {
    match (run.state, seen(view, &name)) {
        (JobProgress::Running, None) => {
            Some(Write::CreateJob { name, revision, job: Box::new(template(job)) })
        }
        (JobProgress::Due, Some(old)) if matches!(old.state, JobState::Failed(_)) => Some(Write::Delete {
            object: ObjectRef::new(ObjectKind::Job, name),
            precondition: Precondition::version(&old.uid, &old.resource_version),
        }),
        _ => None,
    }
}

/// Without an image it runs the revision's.
fn template(job: &Job) -> JobTemplate {
    JobTemplate {
        image: job.image.clone().unwrap_or_default(),
        command: job.command.clone(),
        args: job.args.clone(),
        env: job.env.clone(),
        env_from: job.env_from.clone(),
        retries: job.retries.unwrap_or(0),
        timeout: job.timeout().duration(),
    }
}

/// What is waited for before pods are started.
pub(super) fn waits_to_start(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let run = release.gates.as_ref()?.expand.as_ref()?;
    let name = names::expand_job(&view.subject.name, release.to);
    match run.state {
        JobProgress::Succeeded => None,
        JobProgress::Failed => Some(Wait::new(Reason::ExpandFailed, failure(&name, run)).command(command(
            view,
            "retry",
            Some(release.to),
        ))),
        JobProgress::Due | JobProgress::Running => {
            let message = format!("Job {name} has not ended; revision {} is started after it", release.to);
            let abort = if release.from.is_some() { "abort" } else { "why" };
            Some(Wait::new(Reason::WaitingForJob, message).command(command(
                view,
                abort,
                release.from.map(|_| release.to),
            )))
        }
    }
}

/// What a contract Job is waited for, or failed with, while no release runs.
pub(crate) fn waits_after(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let revision = active(&draft.status).filter(|_| draft.release().is_none())?;
    let run = revision_state(&draft.status, revision)?.contract.as_ref()?;
    let name = names::contract_job(&view.subject.name, revision);
    let asked = jobs(view).is_some_and(|jobs| jobs.contract.is_some());
    match run.state {
        JobProgress::Succeeded => None,
        // Somebody deleted it, and the spec asks for none any more: it is not made again.
        JobProgress::Running if !asked && seen(view, &name).is_none() => None,
        JobProgress::Failed => Some(Wait::new(Reason::ContractFailed, failure(&name, run)).command(command(
            view,
            "retry",
            Some(revision),
        ))),
        JobProgress::Due | JobProgress::Running => Some(
            Wait::new(Reason::WaitingForJob, format!("Job {name} has not ended"))
                .command(command(view, "why", None)),
        ),
    }
}

/// What Jobs that are still there say of a revision whose status was lost: whether it was expanded, and its contract Job.
pub(crate) fn found(view: &View<'_>, revision: i64) -> (bool, Option<JobRun>) {
    let service = &view.subject.name;
    let expand = seen(view, &names::expand_job(service, revision));
    let expanded = expand.is_some_and(|job| job.state == JobState::Succeeded);
    let contract = seen(view, &names::contract_job(service, revision));
    let running = JobRun { state: JobProgress::Running, since: view.micro(), message: None };
    (expanded, contract.map(|job| followed(view, running, Some(job), false)))
}
