//! What a status means for the one who asked: done, still moving, waiting for somebody, undone. Pure.

use clap::ValueEnum;
use shop_crds::{
    DecisionOutcome, Reason, ReleaseDecisionStatus, ShopService, ShopServiceStatus, Verb,
    status::{Abort, Phase, ReleaseState, RevisionOutcome, RevisionResult, RevisionState},
};

use crate::exit::Exit;

pub mod people;
#[cfg(test)]
mod tests;

/// What is so, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is so.
    pub state: State,
    /// What to tell the user.
    pub message: String,
}

/// What is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// What was asked for is so.
    Done,
    /// What was asked for is so for the users; the operator is still tidying up.
    Settling,
    /// Not yet; it goes on by itself.
    Moving,
    /// Not before somebody decides.
    Waiting,
    /// The release was undone.
    Aborted,
    /// Fewer pods are ready than wanted; may recover.
    Degraded,
    /// A newer revision took the place of the one that was meant.
    Superseded,
    /// It will not be so.
    Failed,
}

impl State {
    /// Whether waiting longer cannot change it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Waiting | Self::Aborted | Self::Superseded | Self::Failed)
    }

    /// Exit code of a command that shows the state.
    pub fn shown(self) -> Exit {
        match self {
            Self::Done | Self::Settling | Self::Moving => Exit::Done,
            Self::Waiting => Exit::Waiting,
            Self::Aborted => Exit::Aborted,
            Self::Degraded => Exit::Degraded,
            Self::Superseded => Exit::Superseded,
            Self::Failed => Exit::Error,
        }
    }

    /// Exit code of a command that waited, and waits no longer.
    pub fn waited(self) -> Exit {
        if self == Self::Moving { Exit::TimedOut } else { self.shown() }
    }
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum Goal {
    /// No release runs, and users have every pod of the revision that the spec asks for.
    #[default]
    Stable,
    /// Users are with the new revision.
    Promoted,
    /// The new revision answers at its preview Service (NAME-preview).
    PreviewReady,
}

impl Goal {
    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Promoted => "promoted",
            Self::PreviewReady => "previewReady",
        }
    }
}

/// What is so, whoever asks; and that it may be a fault that somebody injects.
pub fn current(service: &ShopService) -> Verdict {
    let found = uninjected(service);
    let faults = service.status.as_ref().map_or(&[] as &[_], |status| &status.faults);
    let names: Vec<&str> = faults.iter().map(|fault| fault.policy.as_str()).collect();
    if names.is_empty() || found.message.contains("FaultPolicy") {
        return found;
    }
    Verdict {
        message: format!("{}; faults are injected (FaultPolicy {})", found.message, names.join(", ")),
        ..found
    }
}

fn uninjected(service: &ShopService) -> Verdict {
    let Some((status, phase)) = service.status.as_ref().and_then(|status| Some((status, status.phase?)))
    else {
        return moving("the operator has not looked at it yet; is it running?");
    };
    if !seen(service, status) {
        return moving("the operator has not seen the newest spec yet");
    }
    if let Some(release) = &status.release {
        return under_way(status, phase, release);
    }
    if status.pending.is_some() {
        return moving(blocked_or(
            status,
            "spec or config have changed; a revision is cut once they have settled",
        ));
    }
    if unready(status) {
        return idle(status);
    }
    match status.revisions.iter().rfind(|revision| revision.barred) {
        Some(revision) => verdict(State::Aborted, left(status, revision)),
        None if phase == Phase::Stable && status.blocked.is_none() => idle(status),
        None if status.blocked.as_ref().is_some_and(|blocked| people::decide(blocked.reason)) => {
            verdict(State::Waiting, blocked_or(status, phase.as_str()))
        }
        None => moving(blocked_or(status, phase.as_str())),
    }
}

/// The revision whose release runs, when the operator has seen everything that was asked for: the one that a wait is for.
pub fn released(service: &ShopService) -> Option<i64> {
    let status =
        service.status.as_ref().filter(|status| seen(service, status) && status.pending.is_none())?;
    let release = status.release.as_ref().filter(|release| release.aborting.is_none())?;
    Some(release.to)
}

/// Whether the operator has looked at the newest spec.
fn seen(service: &ShopService, status: &ShopServiceStatus) -> bool {
    service.metadata.generation.unwrap_or(0) <= status.observed_generation.unwrap_or(0)
}

/// Whether what `wait` waits for is so. With a revision: of that revision, and of no other.
pub fn reached(goal: Goal, service: &ShopService, revision: Option<i64>) -> Verdict {
    let now = current(service);
    let Some(status) = &service.status else { return now };
    if let Some(revision) = revision
        && let Some(ended) = elsewhere(status, revision)
    {
        return ended;
    }
    let Some(release) = status.release.as_ref().filter(|_| seen(service, status)) else { return now };
    if release.held || release.aborting.is_some() {
        return now;
    }
    let to = name(status, release.to);
    let phase = status.phase.unwrap_or_default();
    let started = !matches!(phase, Phase::Stable | Phase::Preparing | Phase::Aborting);
    match goal {
        Goal::Promoted if release.from.is_some() && active(status) == Some(release.to) => {
            verdict(State::Done, format!("users are with {to}"))
        }
        Goal::PreviewReady if started => verdict(State::Done, format!("{to} answers at its preview Service")),
        Goal::Stable | Goal::Promoted | Goal::PreviewReady => now,
    }
}

/// What is so with the release of a revision; without one, with the service.
pub fn watched(service: &ShopService, revision: Option<i64>) -> Verdict {
    let ended =
        service.status.as_ref().zip(revision).and_then(|(status, revision)| elsewhere(status, revision));
    ended.unwrap_or_else(|| current(service))
}

/// What became of a revision, when it is not the one that is being released, nor the one that users simply have.
fn elsewhere(status: &ShopServiceStatus, revision: i64) -> Option<Verdict> {
    let named = name(status, revision);
    let release = status.release.as_ref();
    if release.is_some_and(|release| release.to == revision) {
        return superseded(status, release, &named);
    }
    if active(status) == Some(revision) {
        // It was promoted, and a newer one is on its way; or it is what users have, with nothing on its way.
        return release.map(|_| verdict(State::Done, format!("users are with {named}")));
    }
    if revision > status.last_revision {
        return Some(moving(format!("{named} is not cut yet")));
    }
    let state = status.revisions.iter().find(|state| state.number == revision);
    Some(match state.and_then(|state| state.outcome.as_ref().map(|outcome| (state, outcome))) {
        Some((state, outcome)) if undone(outcome) => verdict(State::Aborted, left(status, state)),
        Some((state, _)) => verdict(State::Superseded, left(status, state)),
        None => {
            verdict(State::Superseded, format!("{named} is not kept any more; a newer one took its place"))
        }
    })
}

/// Whether users left a revision, or never got it, for another reason than a newer one.
fn undone(outcome: &RevisionOutcome) -> bool {
    match outcome.result {
        RevisionResult::Completed => false,
        RevisionResult::Aborted | RevisionResult::RolledBack => true,
        RevisionResult::Superseded => outcome.reason != Reason::Superseded,
    }
}

/// That the revision which is being left is so for a newer one.
fn superseded(status: &ShopServiceStatus, release: Option<&ReleaseState>, named: &str) -> Option<Verdict> {
    let abort = release?.aborting.as_ref().filter(|abort| abort.reason == Reason::Superseded)?;
    let pods = pods(status);
    Some(verdict(State::Superseded, format!("{named} was replaced by a newer one ({}){pods}", abort.message)))
}

/// A decision that is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What was decided.
    pub verb: Verb,
    /// About which revision.
    pub revision: i64,
    /// The revision's outcome before the decision: that of an earlier try.
    pub before: Option<RevisionOutcome>,
}

/// Whether a decision has got where it should. The decision must not have been read after the service.
pub fn followed(
    followed: &Followed,
    decision: Option<&ReleaseDecisionStatus>,
    service: &ShopService,
) -> Verdict {
    let Some(status) = &service.status else { return current(service) };
    let outcome = decision.and_then(|decision| decision.outcome);
    let Some(outcome) = outcome else { return moving("the operator has not taken up the decision yet") };
    let now = match followed.verb {
        Verb::Promote | Verb::Retry => forward(followed, outcome, status),
        Verb::Abort | Verb::Rollback => back(followed, status),
        Verb::Restart if outcome == DecisionOutcome::Accepted => moving(sentence(status)),
        Verb::Pause | Verb::Resume | Verb::Restart => verdict(State::Done, sentence(status)),
    };
    // An accepted decision is refused in the end when its release was undone: that is the better answer.
    let undone = matches!(now.state, State::Aborted | State::Superseded);
    if outcome == DecisionOutcome::Refused && !undone { refusal(decision) } else { now }
}

/// `promote` and `retry`: the revision shall become stable.
fn forward(followed: &Followed, outcome: DecisionOutcome, status: &ShopServiceStatus) -> Verdict {
    let revision = followed.revision;
    let named = name(status, revision);
    if let Some(release) = status.release.as_ref().filter(|release| release.to == revision) {
        if release.succeeded.is_some() {
            return verdict(
                State::Settling,
                format!("{named} is stable; the revision before it is kept warm, then drained"),
            );
        }
        return superseded(status, Some(release), &named)
            .unwrap_or_else(|| under_way(status, status.phase.unwrap_or_default(), release));
    }
    let state = status.revisions.iter().find(|state| state.number == revision);
    let ended = state
        .and_then(|state| state.outcome.as_ref())
        .filter(|ended| followed.before.as_ref() != Some(*ended));
    match ended.map(|ended| ended.result) {
        Some(RevisionResult::Completed) => stands(status, &named),
        Some(RevisionResult::Aborted | RevisionResult::RolledBack | RevisionResult::Superseded) => {
            let message = state.map_or_else(|| named.clone(), |state| left(status, state));
            let kind = if ended.is_some_and(undone) { State::Aborted } else { State::Superseded };
            verdict(kind, message)
        }
        None if outcome == DecisionOutcome::Done && active(status) == Some(revision) => {
            stands(status, &named)
        }
        None => moving(sentence(status)),
    }
}

/// `abort` and `rollback`: users shall be with another revision.
fn back(followed: &Followed, status: &ShopServiceStatus) -> Verdict {
    let revision = followed.revision;
    let named = name(status, revision);
    if let Some(release) = status.release.as_ref().filter(|release| release.to == revision) {
        let home =
            release.aborting.as_ref().is_some_and(|abort| !abort.traffic || abort.back_since.is_some());
        if home {
            return verdict(
                State::Settling,
                format!("users are not with {named}; it is drained and removed"),
            );
        }
        let leaving = release.aborting.as_ref().map(|abort| leaving(&named, abort));
        return moving(leaving.unwrap_or_else(|| sentence(status)));
    }
    if let Some(release) = status.release.as_ref().filter(|release| release.from == Some(revision)) {
        if release.succeeded.is_some() {
            let to = name(status, release.to);
            return verdict(
                State::Settling,
                format!("users are with {to}; {named} is kept warm, then drained"),
            );
        }
        return under_way(status, status.phase.unwrap_or_default(), release);
    }
    if active(status) == Some(revision) {
        return verdict(State::Failed, format!("users are still with {named}"));
    }
    if unready(status) { idle(status) } else { verdict(State::Done, idle(status).message) }
}

/// A release that runs, by itself or not.
fn under_way(status: &ShopServiceStatus, phase: Phase, release: &ReleaseState) -> Verdict {
    let to = name(status, release.to);
    // A promotion before the first step that was decided is what the operator tells next; a later step may wait for another.
    let asks = status.blocked.as_ref().is_some_and(|blocked| {
        people::decide(blocked.reason)
            && (blocked.reason != Reason::AwaitingPromotion
                || release.promoted_by.is_none()
                || phase != Phase::Verifying)
    });
    if let Some(abort) = &release.aborting {
        let message = leaving(&to, abort);
        return if asks { verdict(State::Waiting, blocked_or(status, &message)) } else { moving(message) };
    }
    if release.held || asks {
        return verdict(State::Waiting, blocked_or(status, &format!("{to} waits for a decision")));
    }
    match &release.failing {
        Some(failing) if release.from.is_none() => {
            verdict(State::Degraded, format!("the first revision does not start: {}", failing.message))
        }
        _ => moving(format!("{to} is being released ({}): {}", phase.as_str(), sentence(status))),
    }
}

fn leaving(named: &str, abort: &Abort) -> String {
    format!("{named} is being left: {}", abort.message)
}

/// A revision that became stable: with all its pods?
fn stands(status: &ShopServiceStatus, named: &str) -> Verdict {
    if status.release.is_none() && unready(status) {
        return idle(status);
    }
    verdict(State::Done, format!("{named} is stable{}", pods(status)))
}

/// Without a release: whether users have what they should.
fn idle(status: &ShopServiceStatus) -> Verdict {
    let active = status.active.as_ref().map_or("no revision", |active| active.label.as_str());
    if unready(status) {
        let why = ready_condition(status).map(|ready| ready.message.clone()).filter(|text| !text.is_empty());
        let message = why.unwrap_or_else(|| "fewer pods are ready than wanted".to_owned());
        return verdict(State::Degraded, format!("users are with {active}{}: {message}", pods(status)));
    }
    verdict(State::Done, format!("users are with {active}{}; no release runs", pods(status)))
}

/// A revision that users have left, or never reached.
fn left(status: &ShopServiceStatus, revision: &RevisionState) -> String {
    let named = name(status, revision.number);
    let active = status.active.as_ref().map_or("no revision", |active| active.label.as_str());
    let how = match &revision.outcome {
        Some(outcome) => {
            let word = match outcome.result {
                RevisionResult::Completed => "was left",
                RevisionResult::Aborted => "was aborted",
                RevisionResult::RolledBack => "was rolled back",
                RevisionResult::Superseded => "was replaced by a newer one",
            };
            format!("{word} ({}: {})", outcome.reason.as_str(), outcome.message)
        }
        None => "was left".to_owned(),
    };
    format!("{named} {how}; users are with {active}{}", pods(status))
}

fn refusal(decision: Option<&ReleaseDecisionStatus>) -> Verdict {
    let message = decision.and_then(|decision| decision.message.clone());
    verdict(State::Failed, message.unwrap_or_else(|| "the operator refused the decision".to_owned()))
}

/// The revision that a decision is about when none is named, and what it is; `None`: there is none.
pub fn offered(verb: Verb, status: &ShopServiceStatus) -> Option<(i64, &'static str)> {
    match verb {
        Verb::Promote => None,
        Verb::Abort | Verb::Pause | Verb::Resume => {
            status.candidate.as_ref().map(|candidate| (candidate.revision, "the candidate"))
        }
        Verb::Rollback | Verb::Restart => active(status).map(|active| (active, "the active one")),
        Verb::Retry => {
            let held = status.release.as_ref().map(|release| (release.held, release.to));
            let barred = || status.revisions.iter().rfind(|revision| revision.barred);
            match held {
                Some((held, to)) => held.then_some((to, "the one on hold")),
                None => barred()
                    .map(|revision| (revision.number, "the one that the spec asks for and users left")),
            }
        }
    }
}

fn ready_condition(
    status: &ShopServiceStatus,
) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready")
}

fn unready(status: &ShopServiceStatus) -> bool {
    ready_condition(status).is_some_and(|ready| ready.status == "False")
}

fn active(status: &ShopServiceStatus) -> Option<i64> {
    status.active.as_ref().map(|active| active.revision)
}

/// `r7 green`, or `r7` where the label is not known.
pub fn name(status: &ShopServiceStatus, revision: i64) -> String {
    let known = [&status.active, &status.candidate, &status.stable];
    let named =
        known.into_iter().flatten().find(|named| named.revision == revision && !named.label.is_empty());
    named.map_or_else(|| format!("r{revision}"), |named| named.label.clone())
}

fn pods(status: &ShopServiceStatus) -> String {
    status.ready.as_ref().map_or_else(String::new, |ready| format!(" ({ready} pods ready)"))
}

/// What blocks, or else what happens.
fn sentence(status: &ShopServiceStatus) -> String {
    blocked_or(status, status.message.as_deref().unwrap_or("under way"))
}

fn blocked_or(status: &ShopServiceStatus, otherwise: &str) -> String {
    match &status.blocked {
        Some(blocked) => format!("{}: {}", blocked.reason.as_str(), blocked.message),
        None => otherwise.to_owned(),
    }
}

fn moving(message: impl Into<String>) -> Verdict {
    verdict(State::Moving, message)
}

fn verdict(state: State, message: impl Into<String>) -> Verdict {
    Verdict { state, message: message.into() }
}
