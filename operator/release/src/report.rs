//! What people read: message, readiness, conditions, and what is waited for with the command that would move it.

mod holds;
mod sidecars;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use shop_crds::{
    Percent, Reason,
    names::{ADOPTED, LABEL_REVISION, LABEL_SERVICE},
    service::release::{Promote, Strategy, canary::Pause},
    status::{Blocked, Phase, ReleaseState},
};

use crate::{
    abort, adopt, analysis, canary, eject, faults, gates, handoff, health,
    inputs::NoInputs,
    kept, phases, recreate, restart,
    view::{Draft, View, active, after, nearly_all, revision_state},
    write::ServiceKind,
};

/// What is waited for, before it is known since when.
pub(crate) struct Wait {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    next: Option<Timestamp>,
    command: Option<String>,
}

impl Wait {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), next: None, command: None }
    }

    pub(crate) fn until(mut self, next: Timestamp) -> Self {
        self.next = Some(next);
        self
    }

    pub(crate) fn command(mut self, command: String) -> Self {
        self.command = Some(command);
        self
    }
}

/// Fills in everything that follows from the rest of the status.
pub(crate) fn describe(view: &View<'_>, draft: &mut Draft, unknown: Option<&str>) {
    let wait = match unknown {
        Some(why) => {
            let message = format!(
                "the status was lost, and what is in the cluster does not agree: {why}; nothing moves"
            );
            Some(Wait::new(Reason::StateUnknown, message).command(command(view, "why", None)))
        }
        None => waits(view, draft),
    };
    draft.status.observed_generation = Some(view.subject.generation);
    numbers(view, draft);
    faults::describe(view, draft);
    let message = wait.as_ref().map_or_else(|| calm(view, draft), |wait| wait.message.clone());
    draft.status.message = Some(faults::note(draft).map_or(message.clone(), |note| message + &note));
    let known = draft.status.blocked.take();
    draft.status.blocked = wait.map(|wait| {
        let since =
            known.filter(|known| known.reason == wait.reason).map_or(view.micro(), |known| known.since);
        let next_check = wait.next.map(|next| MicroTime(crate::view::to_micros(next)));
        let also = holds::others(view, draft, wait.reason);
        Blocked { reason: wait.reason, message: wait.message, since, next_check, command: wait.command, also }
    });
    conditions(view, draft);
}

/// `kubectl shop VERB order --revision 7 -n shop`.
pub(crate) fn command(view: &View<'_>, verb: &str, revision: Option<i64>) -> String {
    let revision = revision.map_or(String::new(), |revision| format!(" --revision {revision}"));
    format!("kubectl shop {verb} {}{revision} -n {}", view.subject.name, view.subject.namespace)
}

fn numbers(view: &View<'_>, draft: &mut Draft) {
    let Some(active) = active(&draft.status) else { return };
    let ready = view.ready(&draft.status, active);
    draft.status.ready = Some(format!("{ready}/{}", kept::size(view, draft, active)));
    draft.status.replicas = Some(view.deployment(active).map_or(0, |deployment| deployment.replicas));
    let own = || format!("{LABEL_SERVICE}={},{LABEL_REVISION}={active}", view.subject.name);
    let adopted = adopt::selector(view).filter(|_| active == ADOPTED);
    draft.status.selector = Some(adopted.unwrap_or_else(own));
    draft.status.active = Some(draft.named(active));
}

fn calm(view: &View<'_>, draft: &Draft) -> String {
    match (active(&draft.status), draft.release()) {
        (_, Some(release)) if release.aborting.is_some() => {
            format!("users go back from revision {}", release.to)
        }
        (_, Some(release)) => format!("revision {} is being released", release.to),
        (Some(active), None) => {
            let image = revision_state(&draft.status, active).map_or("", |state| state.image.as_str());
            format!("revision {active} serves, image {image}")
        }
        (None, None) => format!("{} has no revision yet", view.subject.name),
    }
}

fn waits(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    adopt::wait(view, draft)
        .or_else(|| eject::wait(view, draft))
        .or_else(|| objects(view))
        .or_else(|| draft.release().and_then(|release| releasing(view, draft, release)))
        .or_else(|| restarting(view, draft))
        .or_else(|| inputs(view, draft))
        .or_else(|| images(view, draft))
        .or_else(|| sidecars::outdated(view, draft))
        .or_else(|| gates::jobs::waits_after(view, draft))
}

/// Objects that cannot be written.
fn objects(view: &View<'_>) -> Option<Wait> {
    if let Some(taken) = view.observed.taken.first() {
        let (kind, name) = (taken.kind.as_str(), &taken.name);
        let adopt = if taken.name == view.subject.name {
            ", or delete this ShopService and take the other over with kubectl shop adopt"
        } else {
            ""
        };
        let message =
            format!("{kind} {name} exists and is not this ShopService's; delete or rename it{adopt}");
        let remove = format!("kubectl delete {} {name} -n {}", kind.to_lowercase(), view.subject.namespace);
        return Some(Wait::new(Reason::NameTaken, message).command(remove));
    }
    let refusal = view.observed.refused.first()?;
    let message =
        format!("{} {} is refused: {}", refusal.object.kind.as_str(), refusal.object.name, refusal.message);
    Some(Wait::new(Reason::ObjectRefused, message).command(command(view, "why", None)))
}

fn inputs(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let why = |wait: Wait| wait.command(command(view, "why", None));
    match &view.inputs {
        Err(NoInputs::Missing(kind, name)) => {
            let kind = crate::ObjectKind::from(*kind).as_str();
            Some(why(Wait::new(
                Reason::ConfigMissing,
                format!("{kind} {name}, which the spec names, does not exist"),
            )))
        }
        Err(NoInputs::TooLarge(kind, name, bytes)) => {
            let (kind, most) = (crate::ObjectKind::from(*kind).as_str(), crate::inputs::MAX_SOURCE_BYTES);
            let message =
                format!("{kind} {name} has {bytes} bytes; at most {most} can be kept with a revision");
            Some(why(Wait::new(Reason::ConfigTooLarge, message)))
        }
        Err(NoInputs::Invalid(message)) => Some(why(Wait::new(Reason::InvalidSpec, message.clone()))),
        // Nothing is known: what was said before about other things stays unsaid until it is.
        Err(NoInputs::Unread(_)) => None,
        Ok(_) => {
            let checked = view.observed.checked.as_ref().filter(|one| view.hash.as_ref() == Some(&one.hash));
            if let Some(refused) = checked.and_then(|checked| checked.refused.as_ref()) {
                let message = format!("the API server refuses the pods that spec.pod asks for: {refused}");
                return Some(why(Wait::new(Reason::InvalidSpec, message)));
            }
            if let Some(pending) = &draft.status.pending {
                let due = after(pending.since.0, view.release.settle().duration());
                let message =
                    format!("new inputs are cut as a revision once they rest for {}", view.release.settle());
                return Some(Wait::new(Reason::Settling, message).until(due));
            }
            let barred = |state: &&shop_crds::status::RevisionState| {
                state.barred && Some(&state.hash) == view.hash.as_ref()
            };
            let barred = draft.status.revisions.iter().find(barred)?;
            let ended =
                barred.outcome.as_ref().map_or(String::new(), |outcome| format!(" ({})", outcome.message));
            let message = format!(
                "the spec asks for revision {}, which users have left{ended}; it is not tried again by itself",
                barred.number
            );
            Some(Wait::new(Reason::NotTriedAgain, message).command(command(
                view,
                "retry",
                Some(barred.number),
            )))
        }
    }
}

fn restarting(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let restart = draft.status.restart.as_ref()?;
    let progress = restart::progress(view, draft)?;
    if let Some(failing) = &restart.failing {
        let serve = match view.release.strategy {
            Strategy::Recreate => "",
            Strategy::BlueGreen | Strategy::Canary => "; the pods before it serve on",
        };
        let message = format!(
            "{progress}; {}{serve}. Once the cause is gone it goes on, or restart again",
            failing.message
        );
        let again = command(view, "restart", Some(restart.revision));
        return Some(Wait::new(Reason::RestartFailed, message).command(again));
    }
    let due = after(restart.since.0, view.release.progress_deadline().duration());
    Some(Wait::new(Reason::Restarting, progress).until(due).command(command(view, "why", None)))
}

fn images(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let revisions = [active(&draft.status), draft.release().map(|release| release.to)];
    let (revision, pod) = revisions
        .into_iter()
        .flatten()
        .find_map(|revision| health::other_image(view, draft, revision).map(|pod| (revision, pod)))?;
    let message = format!(
        "pod {pod} runs another image than revision {revision} began with, and does not count; use a fixed tag or a digest"
    );
    Some(Wait::new(Reason::ImageChanged, message).command(command(view, "why", None)))
}

fn releasing(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Wait> {
    let deadline = release
        .waiting_since
        .as_ref()
        .map_or(view.now, |since| after(since.0, view.release.progress_deadline().duration()));
    let pods = |wait: Wait| if release.from.is_some() { wait.until(deadline) } else { wait };
    if release.aborting.is_some() {
        return returning(view, draft, release);
    }
    if release.held {
        let why = release.failing.as_ref().map_or("it failed", |failing| failing.message.as_str());
        let message = format!("revision {} is held: {why}; abort, promote or retry it", release.to);
        return Some(Wait::new(Reason::OnHold, message).command(command(view, "abort", Some(release.to))));
    }
    if let Some(failing) = &release.failing {
        return Some(Wait::new(failing.reason, failing.message.clone()).command(command(view, "why", None)));
    }
    let to = release.to;
    if let Some(paused) = &release.paused {
        let message = format!("revision {to} is paused by {}; resume or abort it", paused.by);
        return Some(Wait::new(Reason::Paused, message).command(command(view, "resume", Some(to))));
    }
    if let Some(wait) = analysed(view, draft, release) {
        return Some(wait);
    }
    let decided = is_decided(view, release);
    let preparing = draft.phase() == Phase::Preparing;
    if let Some(wait) = gates::waits(view, draft, release).filter(|_| decided || preparing) {
        return Some(wait);
    }
    let abort = || command(view, "abort", Some(to));
    match draft.phase() {
        Phase::Preparing => {
            let short = view.pods(to).find_map(|pod| pod.unschedulable.clone());
            let why = short.map_or(String::new(), |why| format!(": {why}"));
            let message = format!("pods of revision {to} are not ready yet{why}");
            let command = if release.from.is_some() { abort() } else { command(view, "why", None) };
            Some(pods(Wait::new(Reason::WaitingForPods, message)).command(command))
        }
        Phase::Verifying => {
            let gate = gates::waits(view, draft, release);
            let but = gate.map_or(String::new(), |gate| format!(" ({})", gate.message));
            Some(promotion(view, release, &but))
        }
        Phase::Scaling if recreate::stops(view, release) => {
            let from = release.from.unwrap_or_default();
            let message = format!("revision {from} stops, then revision {to} starts (strategy recreate)");
            let due = health::drained_by(view, from, &release.phase_since);
            Some(Wait::new(Reason::Draining, message).until(due).command(abort()))
        }
        Phase::Scaling => {
            let silent = handoff::unreachable(view, &[to])
                .filter(|_| view.ready(&draft.status, to) >= nearly_all(canary::size(view, release)));
            let wait = silent.map_or_else(
                || {
                    Wait::new(
                        Reason::WaitingForPods,
                        format!("revision {to} does not have all its pods ready yet"),
                    )
                },
                |(pod, why)| sidecars::unreachable(view, &pod, &why),
            );
            Some(wait.until(deadline).command(abort()))
        }
        Phase::Shifting => Some(shifting(view, draft, release, deadline)),
        Phase::Switching => {
            let pointed = view.select(&[ServiceKind::Users, ServiceKind::Pods], to);
            let enough = view.enough_forward(&draft.status, release.from, to);
            let wait = if pointed || enough {
                Wait::new(
                    Reason::WaitingForEndpoints,
                    format!("EndpointSlices do not show revision {to} alone yet"),
                )
            } else {
                Wait::new(
                    Reason::WaitingForPods,
                    format!("revision {to} has too few ready pods to take the users"),
                )
            };
            Some(wait.until(deadline).command(abort()))
        }
        _ => old(view, release),
    }
}

/// The decision that a candidate which is ready waits for.
fn promotion(view: &View<'_>, release: &ReleaseState, but: &str) -> Wait {
    let to = release.to;
    let promote = command(view, "promote", Some(to));
    let wait = |message| Wait::new(Reason::AwaitingPromotion, message).command(promote);
    let people = approvals(view, release);
    match phases::promoted_at(view, release) {
        None => wait(format!("revision {to} is ready{people}; promote or abort it{but}")),
        Some((patience, due)) => wait(format!(
            "revision {to} is ready{people}; promote or abort it, or it is promoted {patience} after it was ready{but}"
        ))
        .until(due),
    }
}

/// Whether nobody has to decide any more before the candidate gets users.
fn is_decided(view: &View<'_>, release: &ReleaseState) -> bool {
    let by_itself = phases::promoted_at(view, release).is_some_and(|(_, due)| due <= view.now);
    release.promoted_by.is_some() || view.release.promote == Promote::Automatic || by_itself
}

/// Who has decided for the promotion, where it takes several people.
fn approvals(view: &View<'_>, release: &ReleaseState) -> String {
    let needed = view.release.approvals();
    if needed <= 1 {
        return String::new();
    }
    let names: Vec<&str> = release.approvals.iter().map(|approval| approval.by.as_str()).collect();
    let by = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!(", {} of {needed} people have decided to promote it{by}", names.len())
}

/// What keeps the requests from moving on.
fn shifting(view: &View<'_>, draft: &Draft, release: &ReleaseState, deadline: Timestamp) -> Wait {
    let to = release.to;
    let share = Percent::parts(release.weight.and_then(|parts| u32::try_from(parts).ok()).unwrap_or(0));
    let current = canary::current(view, release);
    let step = current.map_or(String::new(), |(at, _)| format!(" (step {})", at + 1));
    let undecided = canary::undecided(view, release).then_some(Pause::Manual);
    match current.and_then(|(_, step)| step.pause).or(undecided) {
        Some(Pause::Manual) => {
            let message = format!(
                "revision {to} gets {share} of the requests{step}; promote it to go on, or abort it{}",
                approvals(view, release)
            );
            Wait::new(Reason::AwaitingPromotion, message).command(command(view, "promote", Some(to)))
        }
        Some(Pause::For(span)) => {
            let message = format!("revision {to} gets {share} of the requests for {span}{step}");
            let since = release.step_since.as_ref().map_or(view.now, |since| since.0);
            let due = after(since, span.duration());
            let skip = format!("{} --full", command(view, "promote", Some(to)));
            Wait::new(Reason::StepPause, message).until(due).command(skip)
        }
        None => {
            let wait = match canary::lack(view, draft, release) {
                Some(canary::Lack::Pods) => Wait::new(
                    Reason::WaitingForPods,
                    format!("revision {to} has too few ready pods for its next share of the requests{step}"),
                ),
                _ => sidecars::late(view, release),
            };
            wait.until(deadline).command(command(view, "abort", Some(to)))
        }
    }
}

/// The analysis, while it runs or has ended without a result.
fn analysed(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Wait> {
    let (reason, message, until, undecided) = analysis::waits(view, draft)?;
    let back = if draft.phase() == Phase::Watching { "rollback" } else { "abort" };
    let verb = if undecided { "promote" } else { back };
    let wait = Wait::new(reason, message).command(command(view, verb, Some(release.to)));
    Some(match until {
        Some(until) => wait.until(until),
        None => wait,
    })
}

/// What the old revision is kept for after the switch.
fn old(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let (from, to) = (release.from?, release.to);
    let rollback = command(view, "rollback", Some(to));
    Some(match &release.succeeded {
        None => Wait::new(
            Reason::KeepingOld,
            format!("users are with revision {to}; revision {from} stays warm meanwhile"),
        )
        .command(rollback),
        Some(succeeded) => {
            let due = after(succeeded.0, view.release.keep_old().duration());
            let draining = release.phase_since.0 > succeeded.0 || due <= view.now;
            if draining {
                let message = format!("revision {from} still has requests or connections");
                let due = health::drained_by(view, from, &release.phase_since);
                Wait::new(Reason::Draining, message).until(due).command(rollback)
            } else {
                let message = format!("revision {to} is stable; revision {from} stays warm for a rollback");
                Wait::new(Reason::KeepingOld, message).until(due).command(rollback)
            }
        }
    })
}

fn returning(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> Option<Wait> {
    let (from, abort) = (release.from?, release.aborting.as_ref()?);
    if abort.traffic && abort.back_since.is_none() && !abort::may_move(view, draft) {
        let message = format!(
            "revision {from} has too few ready pods to go back to; users stay with revision {}",
            release.to
        );
        return Some(Wait::new(Reason::NoWayBack, message).command(command(
            view,
            "promote",
            Some(release.to),
        )));
    }
    let message = format!("revision {} is left for revision {from}: {}", release.to, abort.message);
    if release.recreate {
        let message = format!("{message}; it stops, then revision {from} starts again (strategy recreate)");
        let due = after(abort.since.0, view.release.progress_deadline().duration());
        return Some(Wait::new(Reason::Draining, message).until(due).command(command(view, "why", None)));
    }
    let wait = Wait::new(Reason::Draining, message);
    Some(match &abort.back_since {
        Some(back) => wait.until(health::drained_by(view, release.to, back)),
        None => wait.until(after(abort.since.0, abort::PATIENCE)),
    })
}

fn conditions(view: &View<'_>, draft: &mut Draft) {
    let status = &draft.status;
    let (ready, reason, message) = match active(status) {
        None => (false, Reason::Unavailable, "there is no revision yet".to_owned()),
        Some(active) => {
            let ready = view.ready(status, active);
            if view.subject.replicas() > 0 && ready == 0 {
                (false, Reason::Unavailable, format!("no pod of revision {active} is ready"))
            } else if ready < view.least() {
                (false, Reason::Degraded, format!("revision {active} has fewer ready pods than it needs"))
            } else {
                (true, Reason::Stable, format!("revision {active} is ready"))
            }
        }
    };
    let failing = status.release.as_ref().filter(|release| release.from.is_none());
    let failing = failing.and_then(|release| release.failing.as_ref()).filter(|_| !ready);
    let (reason, message) =
        failing.map_or((reason, message), |failing| (Reason::Degraded, failing.message.clone()));
    let progressing = match &status.release {
        None if status.restart.is_some() => {
            (true, Reason::Restarting, restart::progress(view, draft).unwrap_or_default())
        }
        None => (false, Reason::Stable, "no release runs".to_owned()),
        Some(release) if release.aborting.is_some() => {
            (true, Reason::ReleaseAborted, format!("revision {} is left", release.to))
        }
        Some(release) => (true, Reason::Releasing, format!("revision {} is being released", release.to)),
    };
    let blocked = match &status.blocked {
        None => (false, Reason::Stable, "nothing is waited for".to_owned()),
        Some(blocked) => (true, blocked.reason, blocked.message.clone()),
    };
    let found = [("Ready", (ready, reason, message)), ("Progressing", progressing), ("Blocked", blocked)];
    let old = std::mem::take(&mut draft.status.conditions);
    draft.status.conditions = found
        .into_iter()
        .map(|(kind, (is, reason, message))| {
            let status = if is { "True" } else { "False" };
            let same = old.iter().find(|known| known.type_ == kind && known.status == status);
            let changed = Timestamp::from_second(view.now.as_second()).unwrap_or(view.now);
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.as_str().to_owned(),
                message: message.chars().take(1024).collect(),
                observed_generation: Some(view.subject.generation),
                last_transition_time: same.map_or(Time(changed), |known| known.last_transition_time.clone()),
            }
        })
        .collect();
}
