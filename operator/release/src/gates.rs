//! What a release must pass before users move to it, beside its own health: freeze windows.
//!
//! Gates stand before the promotion, and before each step by which more users move. Where the last step was made, nothing is
//! asked any more; and nothing here is asked on the way back, for the first revision, or for a return to a proven one.

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
};

/// Longest time until a freeze is looked at again: the clock of the machine may be set.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// Whether users may be moved to the candidate now, as far as freeze windows go.
pub(crate) fn thawed(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let found =
        if release.from.is_none() || release.returning || release.straight { None } else { freeze(view) };
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
    let look_again = after(view.now, LOOK_AGAIN);
    draft.wake(found.until.as_ref().map_or(look_again, |until| until.0.min(look_again)));
    if let Some(release) = draft.status.release.as_mut() {
        release.gates.get_or_insert_default().freeze = Some(found);
    }
    false
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
pub(crate) fn waits(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let freeze = release.gates.as_ref()?.freeze.as_ref()?;
    let wait = Wait::new(freeze.reason, format!("revision {} waits: {}", release.to, freeze.message));
    let wait = wait.command(format!("{} --force", command(view, "promote", Some(release.to))));
    Some(match &freeze.until {
        Some(until) => wait.until(until.0),
        None => wait,
    })
}
