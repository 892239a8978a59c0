//! Reading a `ShopService`'s status.

use shop_crds::{
    ShopServiceStatus,
    status::{Phase, RevisionOutcome, RevisionState},
};

/// Whether users reach a revision and no release runs, and none is about to.
pub fn is_stable(status: &ShopServiceStatus) -> bool {
    status.phase == Some(Phase::Stable)
        && status.active.is_some()
        && status.candidate.is_none()
        && status.pending.is_none()
}

/// The image of the revision that users reach.
pub fn active_image(status: &ShopServiceStatus) -> Option<&str> {
    let active = status.active.as_ref()?.revision;
    revision(status, active).map(|revision| revision.image.as_str())
}

/// The newest living revision with an image.
pub fn revision_of_image<'a>(status: &'a ShopServiceStatus, image: &str) -> Option<&'a RevisionState> {
    status.revisions.iter().rev().find(|revision| revision.image == image)
}

/// How the release of a revision ended, if it has.
pub fn outcome_of(status: &ShopServiceStatus, number: i64) -> Option<&RevisionOutcome> {
    revision(status, number)?.outcome.as_ref()
}

fn revision(status: &ShopServiceStatus, number: i64) -> Option<&RevisionState> {
    status.revisions.iter().find(|revision| revision.number == number)
}

/// The status in a line, for timelines and errors.
pub fn describe(status: &ShopServiceStatus) -> String {
    let phase = status.phase.map_or("no phase", Phase::as_str);
    let label = |revision: &Option<shop_crds::status::RevisionRef>| {
        revision.as_ref().map_or_else(|| "none".to_owned(), |revision| revision.label.clone())
    };
    let text = format!(
        "{phase}, active {}, candidate {}, ready {}",
        label(&status.active),
        label(&status.candidate),
        status.ready.as_deref().unwrap_or("unknown"),
    );
    match (&status.blocked, &status.message) {
        (Some(blocked), _) => format!("{text}, blocked {}: {}", blocked.reason.as_str(), blocked.message),
        (None, Some(message)) => format!("{text}, {message}"),
        (None, None) => text,
    }
}
