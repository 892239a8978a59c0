//! The canary in `Shifting`: which step the release is at, which share of requests the candidate answers, and how many pods that
//! takes. Blue-green is the canary without steps.
//!
//! **A spec that changes in between.** The place in the list of steps stays, within its bounds, and the share that was reached
//! stays until the next `weight`. Where steps appear after the shares have begun to move, those up to the share in use count as
//! taken; where they disappear, all requests move, unless `promote` has become manual and nobody has decided.

use shop_crds::{
    Percent,
    service::release::{
        Promote, Strategy,
        canary::{Canary, Pause, Step},
    },
    status::ReleaseState,
};

use crate::{
    adopt, analysis, desired,
    document::{HandOff, Match, Mirror, Sticky},
    gates, handoff,
    phases::AUTOMATIC,
    view::{Draft, View, after, nearly_all},
    write::ServiceKind,
};

/// Everything, in parts.
const WHOLE: i64 = 10_000;

/// The canary that this release follows; `None` where all requests move at once.
fn canary<'a>(view: &'a View<'_>, release: &ReleaseState) -> Option<&'a Canary> {
    let moves_all = release.straight || release.full || adopt::alone(release);
    let walks = view.release.strategy == Strategy::Canary && !moves_all;
    view.release.canary.as_ref().filter(|_| walks && release.from.is_some())
}

fn steps<'a>(view: &'a View<'_>, release: &ReleaseState) -> &'a [Step] {
    canary(view, release).map_or(&[], |canary| canary.steps.as_slice())
}

/// Where the release is in its steps: their number once all are done.
fn place(steps: &[Step], release: &ReleaseState) -> usize {
    // A leading `replicas` is what `Scaling` brings about.
    let first = usize::from(steps.first().is_some_and(|step| step.replicas.is_some()));
    release.step.map_or(first, |step| usize::try_from(step).unwrap_or(0)).min(steps.len())
}

/// The step that the release is at, and its number, counted from 0.
pub(crate) fn current<'a>(view: &'a View<'_>, release: &ReleaseState) -> Option<(usize, &'a Step)> {
    let steps = steps(view, release);
    let at = place(steps, release);
    steps.get(at).map(|step| (at, step))
}

/// Whether the release stands at a step that only a decision ends.
pub(crate) fn awaits(view: &View<'_>, draft: &Draft) -> bool {
    let shifting = draft.phase() == shop_crds::status::Phase::Shifting;
    let release = draft.release().filter(|release| shifting && release.aborting.is_none());
    let step = release.and_then(|release| current(view, release));
    release.is_some_and(|release| undecided(view, release))
        || step.is_some_and(|(_, step)| step.pause == Some(Pause::Manual))
}

/// Whether the steps disappeared from a release that promoted itself, and now takes somebody to decide.
pub(crate) fn undecided(view: &View<'_>, release: &ReleaseState) -> bool {
    let by_itself = release.promoted_by.as_deref() == Some(AUTOMATIC);
    let moves = release.weight.is_some_and(|weight| weight < WHOLE) && !release.full;
    by_itself && moves && view.release.promote == Promote::Manual && steps(view, release).is_empty()
}

fn parts(weight: i64) -> Percent {
    Percent::parts(u32::try_from(weight.clamp(0, WHOLE)).unwrap_or(0))
}

/// Ready pods below which a candidate cannot answer this share of the requests.
pub(crate) fn least(view: &View<'_>, weight: i64) -> i32 {
    parts(weight).of(view.least())
}

/// Pods that the candidate shall have in `Scaling` and `Shifting`.
pub(crate) fn size(view: &View<'_>, release: &ReleaseState) -> i32 {
    let (steps, full) = (steps(view, release), view.subject.replicas());
    let at = place(steps, release);
    let asked = steps.iter().take(at.saturating_add(1)).filter_map(|step| step.replicas).max();
    let begins_small = steps.first().is_some_and(|step| step.replicas.is_some());
    let Some(asked) = asked.filter(|_| begins_small && at < steps.len()) else { return full };
    let goal = steps.get(at).and_then(|step| step.weight).unwrap_or_default();
    let weight = goal.max(parts(release.weight.unwrap_or(0)));
    // Nothing in use is made smaller: users and previews may have it.
    let now = desired::standing(view, release.to, 0);
    asked.max(weight).of(full).max(now.min(full)).max(full.min(1))
}

/// What the active revision's sidecars have been told to hand over to the candidate.
fn told<'a>(view: &View<'a>, release: &ReleaseState) -> Option<&'a HandOff> {
    let hand_off = view.config(release.from?)?.document.as_ref()?.hand_off.as_ref();
    hand_off.filter(|hand_off| hand_off.to_revision == release.to)
}

/// The share in it.
fn handed(view: &View<'_>, release: &ReleaseState) -> i64 {
    told(view, release).map_or(0, |hand_off| i64::from(hand_off.share))
}

/// Whether the candidate has the pods for this share of the requests.
pub(crate) fn capable(view: &View<'_>, draft: &Draft, release: &ReleaseState, weight: i64) -> bool {
    if weight >= WHOLE {
        return view.enough_forward(&draft.status, release.from, release.to);
    }
    let least = least(view, weight).max(1);
    view.ready(&draft.status, release.to) >= least || view.subject.replicas() == 0
}

/// Whether the candidate has lost pods that the requests which it gets need.
pub(crate) fn lost(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> bool {
    let weight = release.weight.unwrap_or(0);
    let ready = view.ready(&draft.status, release.to);
    weight > 0 && ready < least(view, weight) && !capable(view, draft, release, weight)
}

/// Whether users who were all handed over have been taken back, before the Services were pointed at the candidate: they are
/// handed over anew, and that is acknowledged anew.
pub(crate) fn fell_back(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> bool {
    let there = release.recreate || view.select(&[ServiceKind::Users], release.to);
    !there && handed(view, release) < WHOLE && lack(view, draft, release).is_some()
}

/// What the active revision's sidecars shall hand over before the Services are pointed. A share rises only while the candidate
/// has the pods for it, whatever was planned before, and is given to somebody who knows what he is. It falls to nothing while the
/// candidate has no pods at all.
pub(crate) fn hand_off(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<HandOff> {
    if adopt::alone(release) || !view.takes(&draft.status, release.to) {
        return None;
    }
    let known = handoff::known(view, &draft.status, release.to);
    if !known && told(view, release).is_none() {
        return None;
    }
    let now = handed(view, release);
    let weight = release.weight.unwrap_or(now);
    let stays = release.paused.is_some() || !known || !capable(view, draft, release, weight);
    let weight = if weight > now && stays { now } else { weight };
    let share = parts(weight).per_10_000();
    let plain = HandOff::of(share, release.to, ServiceKind::Preview, true);
    let Some(canary) = canary(view, release).filter(|_| weight < WHOLE) else {
        return (share > 0).then_some(plain);
    };
    let matches = matches(canary);
    let nobody = matches.is_empty() || !capable(view, draft, release, 0);
    if share == 0 && nobody {
        return None;
    }
    Some(HandOff { matches, sticky: sticky(canary), ..plain })
}

fn matches(canary: &Canary) -> Vec<Match> {
    let pair = |map: &Option<std::collections::BTreeMap<String, String>>| {
        map.as_ref()?.iter().next().map(|(name, value)| (name.clone(), value.clone()))
    };
    let all = canary.matches.iter();
    let all = all.map(|one| Match { header: pair(&one.header), cookie: pair(&one.cookie) });
    all.filter(|one| one.header.is_some() || one.cookie.is_some()).collect()
}

fn sticky(canary: &Canary) -> Option<Sticky> {
    let sticky = canary.sticky.as_ref()?;
    let header = sticky.header.clone().map(Sticky::Header);
    let client = sticky.client.unwrap_or(false).then_some(Sticky::Client);
    let user = sticky.user.unwrap_or(false).then_some(Sticky::User);
    header.or_else(|| sticky.cookie.clone().map(Sticky::Cookie)).or(client).or(user)
}

/// Copies of the users' requests for a candidate that is ready and waits to be promoted.
pub(crate) fn mirror(view: &View<'_>, release: &ReleaseState) -> Option<Mirror> {
    let mirror = canary(view, release)?.mirror.as_ref()?;
    let methods = if mirror.methods.is_empty() {
        vec!["GET".to_owned(), "HEAD".to_owned()]
    } else {
        mirror.methods.clone()
    };
    let (share, fallback) = (mirror.share.per_10_000(), ServiceKind::Preview);
    Some(Mirror { to_revision: release.to, share, fallback, methods })
}

/// What keeps a step of `Shifting` from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The candidate has too few ready pods.
    Pods,
    /// Sidecars have not acknowledged the share.
    Acknowledgements,
}

/// What is missing until the share that is planned is the share that is.
pub(crate) fn lack(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Lack> {
    let (from, to) = (release.from?, release.to);
    let full = view.subject.replicas();
    let goal = match current(view, release) {
        Some((_, Step { weight: Some(weight), .. })) => i64::from(weight.per_10_000()),
        Some((_, Step { replicas: Some(_), .. })) => {
            let wanted = size(view, release);
            let sized = view.deployment(to).is_some_and(|deployment| deployment.replicas >= wanted);
            let ready = sized && view.ready(&draft.status, to) >= nearly_all(wanted);
            return (!ready).then_some(Lack::Pods);
        }
        Some(_) => return None,
        // Where it walked by steps it may not be at full size yet; otherwise `Scaling` has seen to that.
        None if release.step.is_some()
            && view.ready(&draft.status, to) < nearly_all(full)
            && release.weight != Some(WHOLE) =>
        {
            return Some(Lack::Pods);
        }
        None => WHOLE,
    };
    if (goal > handed(view, release) || goal == WHOLE) && !capable(view, draft, release, goal) {
        return Some(Lack::Pods);
    }
    let status = &draft.status;
    let config = view.config(from).and_then(|config| config.document.as_ref());
    let hand_off = hand_off(view, draft, release);
    let written = config.is_some_and(|document| document.hand_off == hand_off);
    let nobody = !view.pods(from).any(|pod| pod.ready && !pod.terminating);
    let told = handoff::acknowledged(view, status, to)
        && handoff::acknowledged(view, status, from)
        && (hand_off.is_none() || handoff::endpoints_acknowledged(view, status, from, to));
    let planned = release.weight == Some(goal);
    let written = written || nobody || adopt::alone(release);
    (!(planned && written && told)).then_some(Lack::Acknowledgements)
}

/// What became of `Shifting`.
pub(crate) enum Walk {
    /// Nothing, or not yet.
    Stands,
    /// The status was changed: look again.
    Moved,
    /// All requests are handed over, and all sidecars know it.
    Arrived,
}

/// Takes at most one step.
pub(crate) fn advance(view: &View<'_>, draft: &mut Draft) -> Walk {
    let Some(release) = draft.release().cloned() else { return Walk::Stands };
    let step = current(view, &release);
    if settle_in(view, draft, &release) {
        return Walk::Moved;
    }
    let Some((_, step)) = step else {
        if undecided(view, &release) {
            return Walk::Stands;
        }
        return head_for(view, draft, &release, WHOLE, Walk::Arrived);
    };
    if let Some(weight) = step.weight {
        return head_for(view, draft, &release, i64::from(weight.per_10_000()), Walk::Moved);
    }
    let done = match step.pause {
        Some(Pause::Manual) => false,
        Some(Pause::For(span)) => {
            let since = release.step_since.as_ref().map_or(view.now, |since| since.0);
            let due = after(since, span.duration());
            if due > view.now {
                draft.wake(due);
            }
            due <= view.now
        }
        None if step.analysis.is_some() => analysis::lets_go(view, draft),
        None => lack(view, draft, &release).is_none(),
    };
    if done {
        next(view, draft);
        return Walk::Moved;
    }
    Walk::Stands
}

/// Brings the state of the walk in line with the spec; true when it was not.
fn settle_in(view: &View<'_>, draft: &mut Draft, before: &ReleaseState) -> bool {
    let steps = steps(view, before);
    let mut release = before.clone();
    let weight = release.weight.unwrap_or_else(|| handed(view, before));
    release.weight = Some(weight);
    if steps.is_empty() {
        // What is said of steps would be taken for the place in others that may come.
        if !release.full {
            release.step = None;
        }
    } else if release.step.is_none() {
        let beyond = |step: &Step| step.weight.is_some_and(|goal| i64::from(goal.per_10_000()) > weight);
        let taken = || steps.iter().position(beyond).unwrap_or(steps.len());
        let at = if weight == 0 { place(steps, &release) } else { taken() };
        release.step = i64::try_from(at).ok();
        release.step_since = Some(view.micro());
    }
    // Only pods and sidecars are waited for with a deadline.
    let waits =
        steps.get(place(steps, &release)).is_none_or(|step| step.weight.is_some() || step.replicas.is_some());
    let waits = waits && !undecided(view, &release);
    let waits = waits && release.gates.as_ref().is_none_or(|gates| gates.freeze.is_none());
    release.waiting_since = release.waiting_since.filter(|_| waits).or_else(|| waits.then(|| view.micro()));
    let changed = release != *before;
    draft.status.release = Some(release);
    changed
}

/// Plans the share once the candidate has the pods for it, and goes on once it is so.
fn head_for(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, goal: i64, arrived: Walk) -> Walk {
    match lack(view, draft, release) {
        None => {
            next(view, draft);
            arrived
        }
        Some(Lack::Acknowledgements) if release.weight != Some(goal) => {
            // More users are moved outside of freeze windows only.
            if goal > release.weight.unwrap_or(0) && !gates::thawed(view, draft, release) {
                return if gates::wait_no_more(draft) { Walk::Moved } else { Walk::Stands };
            }
            if let Some(release) = draft.status.release.as_mut() {
                release.weight = Some(goal);
            }
            Walk::Moved
        }
        // Pods that are lost have their deadline, whatever is frozen.
        Some(_) if gates::strike(draft) => Walk::Moved,
        Some(_) => Walk::Stands,
    }
}

/// The step that the release is at is done.
pub(crate) fn next(view: &View<'_>, draft: &mut Draft) {
    let Some(release) = draft.release().cloned() else { return };
    let Some((at, _)) = current(view, &release) else { return };
    if let Some(release) = draft.status.release.as_mut() {
        release.step = i64::try_from(at + 1).ok();
        release.step_since = Some(view.micro());
        // Each wait has a deadline of its own.
        release.waiting_since = None;
    }
}

#[cfg(test)]
mod tests;
