//! What a release must pass before users move to it, beside its own health: freeze windows, a web hook, Jobs.
//!
//! Gates stand before the promotion, and before each step by which more users move. Where the last step was made, nothing is
//! asked any more; and nothing here is asked on the way back, for the first revision, or for a return to a proven one.

mod confirm;
pub(crate) mod jobs;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shop_crds::{
    Reason,
    status::{Phase, ReleaseState, gates::FreezeGate},
};

use crate::{
    freeze::{self, Verdict},
    report::{Wait, command},
    view::{Draft, View, after},
    write::Write,
};

/// Longest time until a freeze is looked at again: the clock of the machine may be set.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// Whether nothing is asked: the first revision has no users before, and the way back is never stopped.
fn is_exempt(release: &ReleaseState) -> bool {
    release.from.is_none() || goes_back(release)
}

fn goes_back(release: &ReleaseState) -> bool {
    release.returning || release.straight
}

/// Whether the candidate may be promoted, if somebody or something wants it to be.
pub(crate) fn open(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, wanted: bool) -> bool {
    let thawed = thawed(view, draft, release);
    wanted && thawed && contracted(draft, release).is_none() && confirm::confirmed(view, draft, release)
}

/// The revision whose contract Job stands before a release of an older one.
fn contracted(draft: &Draft, release: &ReleaseState) -> Option<i64> {
    let free = release.from.is_none() || release.returning || release.force;
    jobs::contracted_after(&draft.status, release.to).filter(|_| !free)
}

/// What is asked and run for the gates, after everything else.
pub(crate) fn writes(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    jobs::writes(view, draft).into_iter().chain(confirm::question(view, draft)).collect()
}

/// Whether users may be moved to the candidate now, as far as freeze windows go.
pub(crate) fn thawed(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let found = if is_exempt(release) { None } else { freeze(view) };
    let to = release.to;
    let known = draft.status.release.as_mut().and_then(|release| release.gates.as_mut()?.freeze.take());
    let Some(mut found) = found else { return true };
    if release.force {
        let by = release.promoted_by.as_deref().unwrap_or("somebody");
        draft.tell(
            true,
            Reason::GateForced,
            format!("{by} moves users to revision {to} by force, although {}", found.message),
        );
        return true;
    }
    match known.filter(|known| known.window == found.window && known.reason == found.reason) {
        Some(known) => found.since = known.since,
        None => draft.tell(false, found.reason, format!("revision {to} waits: {}", found.message)),
    }
    look_again(view, draft, &found);
    if let Some(release) = draft.status.release.as_mut() {
        release.gates.get_or_insert_default().freeze = Some(found);
    }
    false
}

fn look_again(view: &View<'_>, draft: &mut Draft, found: &FreezeGate) {
    let latest = after(view.now, LOOK_AGAIN);
    draft.wake(found.until.as_ref().map_or(latest, |until| until.0.min(latest)));
}

fn freeze(view: &View<'_>) -> Option<FreezeGate> {
    let since = view.micro();
    match freeze::judge(&view.observed.policies, &view.subject.name, view.now) {
        Verdict::Open => None,
        Verdict::Frozen { window, message, until } => {
            let until = until.map(|until| MicroTime(crate::view::to_micros(until)));
            Some(FreezeGate { window, reason: Reason::Frozen, message, since, until })
        }
        Verdict::Invalid { window, message } => {
            let message = format!("freeze window {window} cannot be read: {message}");
            Some(FreezeGate { window, reason: Reason::FreezeInvalid, message, since, until: None })
        }
    }
}

/// Something else is waited for than the end of a freeze; true when the status was changed.
pub(crate) fn strike(draft: &mut Draft) -> bool {
    let gates = draft.status.release.as_mut().and_then(|release| release.gates.as_mut());
    gates.is_some_and(|gates| gates.freeze.take().is_some())
}

/// progressDeadline does not run while a gate is shut; true when the status was changed.
pub(crate) fn wait_no_more(draft: &mut Draft) -> bool {
    draft.status.release.as_mut().is_some_and(|release| release.waiting_since.take().is_some())
}

/// It runs again when pods are waited for; true when the status was changed.
pub(crate) fn wait_again(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.status.release.as_mut() else { return false };
    if let Some(gates) = release.gates.as_mut() {
        gates.freeze = None;
    }
    if release.waiting_since.is_some() {
        return false;
    }
    release.waiting_since = Some(view.micro());
    true
}

/// Strikes gates that nothing stands before any more.
pub(crate) fn tidy(draft: &mut Draft) {
    let before = matches!(draft.phase(), Phase::Verifying | Phase::Scaling | Phase::Shifting);
    let Some(release) = draft.status.release.as_mut() else { return };
    if let Some(gates) = release.gates.as_mut().filter(|_| !before || release.aborting.is_some()) {
        gates.freeze = None;
    }
    release.gates = release.gates.take().filter(|gates| *gates != shop_crds::status::gates::Gates::default());
}

/// What the release waits for at its gates.
pub(crate) fn waits(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Wait> {
    match draft.phase() {
        Phase::Preparing if !jobs::may_start(view, &draft.status, release) => {
            jobs::waits_to_start(view, release)
        }
        Phase::Verifying => frozen(view, release)
            .or_else(|| stands_before_contract(view, draft, release))
            .or_else(|| confirm::waits(view, release)),
        _ => frozen(view, release),
    }
}

/// Every gate that is shut, also those that are not asked before others are open.
pub(crate) fn shut(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> Vec<Wait> {
    let before = matches!(draft.phase(), Phase::Verifying | Phase::Scaling | Phase::Shifting);
    if !before || release.force {
        return Vec::new();
    }
    let found = if is_exempt(release) { None } else { freeze(view) };
    if let Some(found) = &found {
        look_again(view, draft, found);
    }
    let freeze = found.map(|found| Wait::new(found.reason, found.message));
    if draft.phase() != Phase::Verifying {
        return freeze.into_iter().collect();
    }
    let contract = stands_before_contract(view, draft, release);
    freeze.into_iter().chain(contract).chain(confirm::shut(view, release)).collect()
}

fn stands_before_contract(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Wait> {
    let (newer, to) = (contracted(draft, release)?, release.to);
    let message = format!(
        "revision {to} is older than revision {newer}, whose contract Job has run: it may not work with what that left"
    );
    Some(
        Wait::new(Reason::ContractDone, message)
            .command(format!("{} --force", command(view, "promote", Some(to)))),
    )
}

fn frozen(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let freeze = release.gates.as_ref()?.freeze.as_ref()?;
    let wait = Wait::new(freeze.reason, format!("revision {} waits: {}", release.to, freeze.message));
    let wait = wait.command(format!("{} --force", command(view, "promote", Some(release.to))));
    Some(match &freeze.until {
        Some(until) => wait.until(until.0),
        None => wait,
    })
}
