//! When an analysis runs, what it comes to, and what the release makes of that.

use jiff::Timestamp;
use shop_crds::{
    Reason, ShopServiceSpec, ShopServiceStatus,
    service::release::analysis::{Analysis, OnNoData, When},
    status::{
        Failing, Phase,
        analysis::{AnalysisOutcome, AnalysisStage, AnalysisState, CheckState, MEASUREMENTS, Measurement},
    },
};

use super::{checks, traffic};
use crate::{
    canary,
    view::{Draft, View, after},
};

/// What one analysis is about: fixed while a plan is made.
pub(super) struct Run<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) analysis: &'a Analysis,
    pub(super) stage: AnalysisStage,
    pub(super) since: Timestamp,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Where a check stands.
pub(super) struct Standing {
    /// What came of it; `None` while that is open.
    pub(super) decided: Option<AnalysisOutcome>,
    /// What it would be if the time were over now.
    pub(super) otherwise: AnalysisOutcome,
    /// What it is about and what was seen.
    pub(super) says: String,
}

impl Standing {
    pub(super) fn open(otherwise: AnalysisOutcome, says: impl Into<String>) -> Self {
        Self { decided: None, otherwise, says: says.into() }
    }
}

/// What a release makes of its analysis.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Goes,
    Waits,
    Holds,
    Fails(Reason),
}

/// The stage of the release at which an analysis runs.
fn stage(view: &View<'_>, status: &ShopServiceStatus) -> Option<(AnalysisStage, Option<i64>)> {
    let release = status.release.as_ref()?;
    let analysis = view.release.analysis.as_ref()?;
    let skipped = release.from.is_none()
        || release.straight
        || release.full
        || release.aborting.is_some()
        || release.succeeded.is_some();
    let asks = !analysis.checks.is_empty();
    match status.phase.unwrap_or_default() {
        _ if skipped => None,
        // Nobody uses the candidate yet: without copies of requests its counters say nothing.
        Phase::Verifying if analysis.runs(When::Verifying) => {
            let mirrored = analysis.counts() && canary::mirror(view, release).is_some();
            (asks || mirrored).then_some((AnalysisStage::Verifying, None))
        }
        Phase::Shifting => match canary::current(view, release) {
            Some((at, step)) if step.analysis.is_some() => {
                Some((AnalysisStage::Step, i64::try_from(at).ok()))
            }
            _ => analysis.background.then_some((AnalysisStage::Background, None)),
        },
        Phase::Watching if analysis.runs(When::Watching) && (asks || analysis.counts()) => {
            Some((AnalysisStage::Watching, None))
        }
        _ => None,
    }
}

/// The analysis of the stage that the release is at.
fn current<'a>(view: &View<'_>, status: &'a ShopServiceStatus) -> Option<&'a AnalysisState> {
    let (stage, step) = stage(view, status)?;
    let found = status.release.as_ref()?.analysis.as_ref()?;
    (found.stage == stage && found.step == step).then_some(found)
}

/// Begins, goes on with and ends the analysis of the stage that the release is at.
pub(crate) fn advance(view: &View<'_>, draft: &mut Draft) {
    let wanted = stage(view, &draft.status);
    let phase = draft.phase();
    let known = current(view, &draft.status).is_some();
    let Some(release) = draft.status.release.as_mut() else { return };
    match wanted {
        None => {
            // What has ended stays as a record, unless its revision has to get ready anew.
            let keep = |state: &AnalysisState| state.outcome.is_some() && phase != Phase::Preparing;
            release.analysis = release.analysis.take().filter(keep);
        }
        Some((stage, step)) if !known => {
            release.analysis = Some(AnalysisState {
                stage,
                step,
                since: view.micro(),
                ended: None,
                outcome: None,
                reason: None,
                message: None,
                accepted_by: None,
                checks: Vec::new(),
            });
        }
        Some(_) => {}
    }
    if wanted.is_some() && !draft.release().is_some_and(|release| release.held) {
        measure(view, draft);
    }
}

fn measure(view: &View<'_>, draft: &mut Draft) {
    let Some(release) = draft.release() else { return };
    let (Some(mut state), Some(from), Some(analysis)) =
        (release.analysis.clone(), release.from, view.release.analysis.as_ref())
    else {
        return;
    };
    if state.outcome.is_some() || state.accepted_by.is_some() {
        return;
    }
    let run = Run { view, analysis, stage: state.stage, since: state.since.0, from, to: release.to };
    // In the background it has no end but the next stage: only a failure counts, and all through it is asked anew.
    let background = state.stage == AnalysisStage::Background;
    let names =
        traffic::names(&run).into_iter().chain(analysis.checks.iter().map(|check| check.name.as_str()));
    let known = std::mem::take(&mut state.checks);
    state.checks = names
        .map(|name| {
            let found = known.iter().find(|check| check.name == name).cloned();
            found.unwrap_or_else(|| CheckState { name: name.to_owned(), ..CheckState::default() })
        })
        .collect();
    let mut standings = Vec::with_capacity(state.checks.len());
    for check in &mut state.checks {
        let asked = analysis.checks.iter().find(|asked| asked.name == check.name);
        let standing = match asked {
            Some(asked) => checks::measure(&run, asked, check, draft),
            None => traffic::measure(&run, check, draft),
        };
        let again = background && asked.is_some_and(|asked| asked.job.is_none());
        check.outcome = standing.decided.filter(|outcome| !again || *outcome == AnalysisOutcome::Failed);
        standings.push((check.name.clone(), standing));
    }
    let due = after(run.since, analysis.timeout().duration());
    let late = due <= view.now;
    let result = conclude(&standings, late && !background);
    let result = result.filter(|(outcome, _)| !background || *outcome == AnalysisOutcome::Failed);
    if let Some((outcome, message)) = result {
        end(view, draft, &mut state, outcome, &message);
    } else if !late {
        draft.wake(due);
    }
    if let Some(release) = draft.status.release.as_mut() {
        release.analysis = Some(state);
    }
}

/// What the checks come to together; `None` while that is open.
fn conclude(standings: &[(String, Standing)], late: bool) -> Option<(AnalysisOutcome, String)> {
    let of = |wanted: AnalysisOutcome| {
        let matching = standings.iter().filter(|(_, one)| {
            one.decided == Some(wanted) || (late && one.decided.is_none() && one.otherwise == wanted)
        });
        let texts: Vec<String> = matching.map(|(name, one)| format!("{name}: {}", one.says)).collect();
        (!texts.is_empty()).then(|| (wanted, texts.join("; ")))
    };
    let open = standings.iter().any(|(_, one)| one.decided.is_none());
    of(AnalysisOutcome::Failed).or_else(|| {
        if open && !late {
            return None;
        }
        of(AnalysisOutcome::Error)
            .or_else(|| of(AnalysisOutcome::Inconclusive))
            .or_else(|| of(AnalysisOutcome::Passed))
    })
}

fn end(
    view: &View<'_>,
    draft: &mut Draft,
    state: &mut AnalysisState,
    outcome: AnalysisOutcome,
    message: &str,
) {
    let (reason, says) = match outcome {
        AnalysisOutcome::Passed => (Reason::AnalysisPassed, "is good enough"),
        AnalysisOutcome::Failed => (Reason::AnalysisFailed, "is not good enough"),
        AnalysisOutcome::Inconclusive => (Reason::AnalysisInconclusive, "cannot be judged"),
        AnalysisOutcome::Error => (Reason::AnalysisError, "could not be measured"),
    };
    let message: String = message.chars().take(1024).collect();
    let to = draft.release().map_or(0, |release| release.to);
    let dry = view.release.analysis.as_ref().is_some_and(|analysis| analysis.dry_run);
    let only = if dry { " (dry run: nothing follows)" } else { "" };
    draft.tell(outcome != AnalysisOutcome::Passed, reason, format!("revision {to} {says}{only}: {message}"));
    state.outcome = Some(outcome);
    state.reason = Some(reason);
    state.message = Some(message);
    state.ended = Some(view.micro());
}

fn effect(view: &View<'_>, status: &ShopServiceStatus) -> Effect {
    if stage(view, status).is_none() {
        return Effect::Goes;
    }
    let Some(state) = current(view, status) else { return Effect::Waits };
    let analysis = view.release.analysis.as_ref();
    let dry = analysis.is_some_and(|analysis| analysis.dry_run);
    let no_data = analysis.and_then(|analysis| analysis.on_no_data);
    let untold = |reason, unset| match no_data {
        Some(OnNoData::Pass) => Effect::Goes,
        Some(OnNoData::Abort) => Effect::Fails(reason),
        Some(OnNoData::Hold) => Effect::Holds,
        None => unset,
    };
    match state.outcome {
        _ if state.accepted_by.is_some() => Effect::Goes,
        None if state.stage == AnalysisStage::Background => Effect::Goes,
        None => Effect::Waits,
        Some(AnalysisOutcome::Passed) => Effect::Goes,
        Some(_) if dry => Effect::Goes,
        Some(AnalysisOutcome::Failed) => Effect::Fails(Reason::AnalysisFailed),
        Some(AnalysisOutcome::Inconclusive) => {
            let unset = if state.stage == AnalysisStage::Watching { Effect::Goes } else { Effect::Holds };
            untold(Reason::AnalysisInconclusive, unset)
        }
        Some(AnalysisOutcome::Error) => untold(Reason::AnalysisError, Effect::Holds),
    }
}

/// Whether the release may go on as far as the analysis is concerned.
pub(crate) fn lets_go(view: &View<'_>, draft: &Draft) -> bool {
    effect(view, &draft.status) == Effect::Goes
}

/// Whether the analysis has ended without a result, and somebody must decide.
pub(crate) fn holds(view: &View<'_>, draft: &Draft) -> bool {
    effect(view, &draft.status) == Effect::Holds
}

/// The failure that the analysis has shown.
pub(crate) fn failure(view: &View<'_>, draft: &Draft) -> Option<Failing> {
    let Effect::Fails(reason) = effect(view, &draft.status) else { return None };
    let state = current(view, &draft.status)?;
    let message = format!("the analysis says: {}", state.message.as_deref().unwrap_or_default());
    Some(Failing { reason, message, since: state.ended.clone().unwrap_or_else(|| view.micro()) })
}

/// What is waited for, as far as it is the analysis: the reason, a sentence, when it is over, and whether somebody must decide.
pub(crate) fn waits(view: &View<'_>, draft: &Draft) -> Option<(Reason, String, Option<Timestamp>, bool)> {
    let to = draft.release()?.to;
    let state = current(view, &draft.status)?;
    match effect(view, &draft.status) {
        Effect::Waits => {
            let timeout = view.release.analysis.as_ref()?.timeout().duration();
            let message = format!("what revision {to} does is being measured ({})", state.stage.as_str());
            Some((Reason::AnalysisRunning, message, Some(after(state.since.0, timeout)), false))
        }
        Effect::Holds => {
            let why = state.message.as_deref().unwrap_or_default();
            let message = format!(
                "the analysis of revision {to} ended without a result ({why}); promote, retry or abort it"
            );
            Some((state.reason.unwrap_or(Reason::AnalysisInconclusive), message, None, true))
        }
        Effect::Goes | Effect::Fails(_) => None,
    }
}

/// Somebody lets the release go on whatever the analysis of this stage has shown.
pub(crate) fn accept(view: &View<'_>, draft: &mut Draft, by: &str) {
    if current(view, &draft.status).is_none_or(|state| state.outcome.is_none()) {
        return;
    }
    if let Some(state) = draft.status.release.as_mut().and_then(|release| release.analysis.as_mut()) {
        state.accepted_by = Some(by.to_owned());
    }
}

/// The analysis of this stage begins anew.
pub(crate) fn again(draft: &mut Draft) {
    if let Some(release) = draft.status.release.as_mut() {
        release.analysis = None;
    }
}

/// Whose sidecars' counters are wanted: when the analysis that needs them began, and of which revisions.
pub fn counting(spec: &ShopServiceSpec, status: &ShopServiceStatus) -> Option<(Timestamp, Vec<i64>)> {
    let analysis = spec.release.as_ref()?.analysis.as_ref()?;
    let release = status.release.as_ref().filter(|release| release.aborting.is_none())?;
    let state =
        release.analysis.as_ref().filter(|state| state.outcome.is_none() && state.accepted_by.is_none())?;
    let canary = spec.release.as_ref().and_then(|release| release.canary.as_ref());
    let mirrored = canary.is_some_and(|canary| canary.mirror.is_some());
    let counted = analysis.counts() && (mirrored || state.stage != AnalysisStage::Verifying);
    counted.then(|| (state.since.0, [Some(release.to), release.from].into_iter().flatten().collect()))
}

/// Notes a measurement; the oldest makes room for it.
pub(super) fn note(run: &Run<'_>, check: &mut CheckState, value: &str, outcome: AnalysisOutcome) {
    check.measured += 1;
    check.failed += i64::from(outcome == AnalysisOutcome::Failed);
    let value = value.chars().take(crate::MAX_TEXT).collect();
    check.measurements.push(Measurement { at: run.view.micro(), value, outcome });
    let surplus = check.measurements.len().saturating_sub(MEASUREMENTS);
    check.measurements.drain(..surplus);
}

impl Run<'_> {
    /// From when on it may pass: `duration` after it began, and after the candidate lost a pod.
    pub(super) fn may_pass_at(&self) -> Timestamp {
        let lost = self.tally(self.to).and_then(|tally| tally.lost);
        after(lost.map_or(self.since, |lost| lost.max(self.since)), self.analysis.duration().duration())
    }

    /// What has been counted of a revision for this analysis.
    pub(super) fn tally(&self, revision: i64) -> Option<&super::Tally> {
        let tallies = self.view.observed.tallies.iter();
        tallies.into_iter().find(|tally| tally.revision == revision && tally.run == self.since)
    }
}
