//! Everything that keeps users from a candidate, beside what is named first: who opens one gate should know of the next.

use shop_crds::{
    Reason,
    status::{Hold, Phase},
};

use super::{Wait, analysed, is_decided, promotion};
use crate::{
    gates,
    view::{Draft, View},
};

/// Reasons that are listed at most.
const MAX: usize = 8;
/// Longest message of one, in characters.
const LONGEST: usize = 512;

/// What else holds the release, in the order in which it is asked.
pub(super) fn others(view: &View<'_>, draft: &mut Draft, first: Reason) -> Vec<Hold> {
    let Some(release) = draft.release().filter(|release| release.aborting.is_none()).cloned() else {
        return Vec::new();
    };
    let release = &release;
    let mut found: Vec<Wait> = Vec::new();
    if let Some(paused) = &release.paused {
        found.push(Wait::new(Reason::Paused, format!("paused by {}", paused.by)));
    }
    found.extend(analysed(view, draft, release));
    if draft.phase() == Phase::Verifying && !is_decided(view, release) {
        found.push(promotion(view, release, ""));
    }
    found.extend(gates::shut(view, draft, release));
    let others = found.into_iter().filter(|wait| wait.reason != first);
    let short = |message: String| message.chars().take(LONGEST).collect();
    others.take(MAX).map(|wait| Hold { reason: wait.reason, message: short(wait.message) }).collect()
}
