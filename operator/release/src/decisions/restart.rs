//! `restart`: new pods for the active revision, outside of releases.

use shop_crds::{Reason, names::ADOPTED, service::release::Strategy, status::RestartState};

use super::Verdict;
use crate::{
    observed::Decision,
    restart,
    view::{Draft, View, active, revision_state},
};

pub(super) fn restart(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    if active(&draft.status) != Some(revision) {
        let current = active(&draft.status).map_or("none".to_owned(), |active| format!("revision {active}"));
        let message = format!("the active one is {current}, not revision {revision}");
        return Verdict::refused(Reason::StaleRevision, message);
    }
    if let Some(release) = draft.release() {
        let message = format!("revision {} is being released: restart when that has ended", release.to);
        return Verdict::refused(Reason::Releasing, message);
    }
    if let Some(running) = draft.status.restart.as_ref().filter(|running| running.failing.is_none()) {
        let message = format!("revision {revision} is being restarted already, as {} decided", running.by);
        return Verdict::refused(Reason::DecidedAlready, message);
    }
    let Some(state) =
        draft.revision_mut(revision).filter(|_| view.stored(revision).is_some() && revision != ADOPTED)
    else {
        let message = format!("what revision {revision} was made of is not kept: change the spec instead");
        return Verdict::refused(Reason::NothingToDecide, message);
    };
    state.restarts += 1;
    let ordinal = state.restarts;
    draft.status.restart = Some(RestartState {
        revision,
        ordinal,
        by: decision.spec.actor.clone(),
        since: view.micro(),
        decision: decision.name.clone(),
        failing: None,
    });
    let how = match view.release.strategy {
        Strategy::Recreate => "stop, then new ones start",
        Strategy::BlueGreen | Strategy::Canary => "are replaced one after the other",
    };
    Verdict::accepted(format!("the pods of revision {revision} {how}"))
}

/// Whether the restart that this decision asked for still runs.
pub(super) fn goes_on(draft: &Draft, decision: &Decision) -> bool {
    draft.status.restart.as_ref().is_some_and(|restart| restart.decision == decision.name)
}

/// How it ended.
pub(super) fn ended(view: &View<'_>, draft: &Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    let known = revision_state(&draft.status, revision).is_some();
    if known && draft.status.restart.is_none() && restart::complete(view, draft, revision) {
        return Verdict::done(format!("all pods of revision {revision} are new"));
    }
    let message = format!("revision {revision} was left, or restarted again, before all its pods were new");
    Verdict::refused(Reason::Superseded, message)
}
