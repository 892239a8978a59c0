//! The size of the users' revision while a spec asks for other inputs and for fewer pods at once.
//!
//! That is one wish: the smaller size is that of the revision that it comes with. The one that users have was sized for them (by
//! hand, or by an autoscaler whose number the new spec overwrites), and keeps its pods until they have left it. More pods, none,
//! and every number that is asked for alone count at once.

use shop_crds::status::KeptSize;

use crate::view::{Draft, View, active, revision_state};

/// Other inputs have just been seen: what the users' revision has beyond the size that came with them is kept.
pub(crate) fn note(view: &View<'_>, draft: &mut Draft) {
    let wanted = view.subject.replicas();
    let Some(revision) = active(&draft.status) else { return };
    let own = view.deployment(revision).filter(|deployment| !deployment.drifted);
    if let Some(larger) = own.filter(|deployment| wanted > 0 && deployment.replicas > wanted) {
        draft.status.kept_size = Some(KeptSize { revision, replicas: larger.replicas, wanted });
    }
}

/// Forgets a size that does not count any more: another number is asked for, users have left, or the inputs are back.
pub(crate) fn tidy(view: &View<'_>, draft: &mut Draft) {
    let Some(kept) = &draft.status.kept_size else { return };
    let from = draft.release().and_then(|release| release.from);
    let users = [from, active(&draft.status)].contains(&Some(kept.revision));
    let own = revision_state(&draft.status, kept.revision).map(|state| &state.hash);
    let others = view.hash.is_none() || own.is_some_and(|own| view.hash.as_ref() != Some(own));
    if !(users && others && kept.wanted == view.subject.replicas()) {
        draft.status.kept_size = None;
    }
}

/// How many pods a revision shall have that is at its full size.
pub(crate) fn size(view: &View<'_>, draft: &Draft, revision: i64) -> i32 {
    let kept = draft.status.kept_size.as_ref().filter(|kept| kept.revision == revision);
    kept.map_or(view.subject.replicas(), |kept| kept.replicas)
}
