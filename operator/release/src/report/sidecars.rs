//! Sidecars that do not answer, or that are older than what they are told.

use shop_crds::{Reason, status::ReleaseState};

use super::{Wait, command};
use crate::{
    handoff,
    view::{Draft, View, active},
};

/// What an older sidecar says of a document with something in it that it does not know.
const UNKNOWN: [&str; 3] = ["unknown field", "unknown variant", "newer than this sidecar"];

fn is_older(why: &str) -> bool {
    UNKNOWN.iter().any(|word| why.contains(word))
}

/// Sidecars that have not acknowledged what they are told.
pub(super) fn late(view: &View<'_>, release: &ReleaseState) -> Wait {
    let revisions: Vec<i64> = release.from.into_iter().chain([release.to]).collect();
    let silent = handoff::unreachable(view, &revisions).map(|(pod, why)| unreachable(view, &pod, &why));
    silent.unwrap_or_else(|| {
        let message = "sidecars have not acknowledged where requests go yet";
        Wait::new(Reason::WaitingForAcknowledgement, message)
    })
}

/// A sidecar that has not been told for a while.
pub(super) fn unreachable(view: &View<'_>, pod: &str, why: &str) -> Wait {
    let message = if is_older(why) {
        let restart = command(view, "restart", None);
        format!(
            "the sidecar of pod {pod} is older than a field that the spec uses ({why}): abort, then replace the pods with {restart}, or \
             take the field out of the spec"
        )
    } else {
        format!("the sidecar of pod {pod} does not answer: {why}")
    };
    Wait::new(Reason::SidecarUnreachable, message)
}

/// Outside of releases: pods whose sidecars are older than the spec, and go on by what they were told before.
pub(super) fn outdated(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let active =
        active(&draft.status).filter(|_| draft.release().is_none() && draft.status.restart.is_none())?;
    let refuses = view.pods(active).filter(|pod| pod.ready && !pod.terminating).filter_map(|pod| {
        let failed = pod.sidecar.failed.as_ref().filter(|failed| is_older(&failed.message))?;
        Some((&pod.name, &failed.message))
    });
    let (pod, why) = refuses.min()?;
    let restart = command(view, "restart", None);
    let message = format!(
        "the sidecar of pod {pod} is older than a field that the spec uses, and goes on without the change ({why}): replace the pods with \
         {restart}"
    );
    Some(Wait::new(Reason::SidecarUnreachable, message).command(restart))
}
