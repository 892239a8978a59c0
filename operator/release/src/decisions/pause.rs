//! `pause` and `resume`: a release that is paused takes no step forward, and goes back as ever.

use shop_crds::{Reason, status::Paused};

use super::{Verdict, fenced, forward};
use crate::{
    observed::Decision,
    view::{Draft, View},
};

pub(super) fn pause(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let release = match fenced(draft, decision) {
        Ok(release) => release,
        Err(verdict) => return verdict,
    };
    let revision = release.to;
    if release.aborting.is_some() {
        let message = format!("revision {revision} is being left, which nothing stops");
        return Verdict::refused(Reason::DecidedAlready, message);
    }
    if let Some(paused) = &release.paused {
        return Verdict::done(format!("revision {revision} was paused by {} already", paused.by));
    }
    let by = decision.spec.actor.clone();
    if let Some(release) = draft.status.release.as_mut() {
        release.paused = Some(Paused { by, since: view.micro() });
    }
    Verdict::done(format!("revision {revision} takes no step forward until it is resumed"))
}

pub(super) fn resume(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let release = match fenced(draft, decision) {
        Ok(release) => release,
        Err(verdict) => return verdict,
    };
    let revision = release.to;
    if release.paused.is_none() {
        return Verdict::done(format!("revision {revision} is not paused"));
    }
    let now = view.micro();
    if let Some(release) = draft.status.release.as_mut() {
        release.paused = None;
        release.step_since = release.step_since.as_ref().map(|_| now);
    }
    forward::restart_clocks(view, draft);
    Verdict::done(format!("revision {revision} goes on"))
}
