//! Whether a revision's pods look broken, and how.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shop_crds::{
    Reason,
    status::{Failing, Phase},
};

use crate::{
    canary,
    observed::{Container, Pod},
    view::{Draft, View, after, digest_of},
    write::ObjectKind,
};

/// How long an image may fail to be pulled, or a pod be refused, before it counts: registries and quotas have short moments.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a revision that has the users may lack ready pods.
const LOST: Duration = Duration::from_secs(10);

/// Something broken, and how long it may be so.
struct Cause {
    reason: Reason,
    message: String,
    patience: Duration,
}

/// Looks at the candidate and notes in the status what is broken; returns the failure once its patience is over.
pub(crate) fn check(view: &View<'_>, draft: &mut Draft) -> Option<Failing> {
    let phase = draft.phase();
    let revision = draft.release()?.to;
    let found = cause(view, draft, phase, revision);
    let now = view.micro();
    let release = draft.status.release.as_mut()?;
    let Some(found) = found else {
        // A held release keeps what it is held for until somebody decides.
        if release.held {
            return None;
        }
        if release.failing.take().is_some() {
            release.healthy_since = release.healthy_since.as_ref().map(|_| now);
        }
        return None;
    };
    let known = release.failing.take().filter(|failing| failing.reason == found.reason);
    let failing = known.unwrap_or(Failing { reason: found.reason, message: found.message, since: now });
    release.failing = Some(failing.clone());
    let due = after(failing.since.0, found.patience);
    if due <= view.now {
        return Some(failing);
    }
    draft.wake(due);
    None
}

/// Records the image digest of the revision's first ready pod.
pub(crate) fn record_digest(view: &View<'_>, draft: &mut Draft, revision: i64) {
    let mut ready: Vec<&Pod> = view.pods(revision).filter(|pod| pod.ready && !pod.terminating).collect();
    ready.sort_by(|left, right| left.name.cmp(&right.name));
    let digest = ready.iter().find_map(|pod| pod.image_id.as_deref().and_then(digest_of));
    if let Some(state) = draft.revision_mut(revision)
        && state.digest.is_none()
    {
        state.digest = digest;
    }
}

/// Since when, at the earliest, the failing pods of a phase count: pods of an earlier life of the revision do not.
fn cause(view: &View<'_>, draft: &Draft, phase: Phase, revision: i64) -> Option<Cause> {
    let mut pods: Vec<&Pod> = view.pods(revision).filter(|pod| !pod.terminating).collect();
    pods.sort_by(|left, right| left.name.cmp(&right.name));
    let broken = pods.iter().find_map(|pod| pod_cause(pod));
    if broken.is_some() {
        return broken;
    }
    if let Some(refusal) = refused(view, revision) {
        return Some(Cause { reason: Reason::ObjectRefused, message: refusal, patience: Duration::ZERO });
    }
    let failure = view.deployment(revision).and_then(|deployment| deployment.failure.clone());
    if let Some(message) = failure
        && view.ready(&draft.status, revision) < view.subject.replicas()
    {
        return Some(Cause { reason: Reason::PodRejected, message, patience: PATIENCE });
    }
    let shifting = draft.release().filter(|_| phase == Phase::Shifting);
    if shifting.is_some_and(|release| canary::lost(view, draft, release)) {
        let message = format!("revision {revision} has too few ready pods for the requests that it gets");
        return Some(Cause { reason: Reason::CandidateLost, message, patience: LOST });
    }
    if phase == Phase::Watching && view.ready(&draft.status, revision) < view.least() {
        let message = format!("revision {revision} has too few ready pods for its users");
        return Some(Cause { reason: Reason::CandidateLost, message, patience: LOST });
    }
    None
}

/// What the API server said when it refused an object of the revision itself.
fn refused(view: &View<'_>, revision: i64) -> Option<String> {
    let own = shop_crds::names::revision(&view.subject.name, revision);
    let of_revision =
        |name: &str| name == own || name.strip_prefix(&own).is_some_and(|rest| rest.starts_with('-'));
    // A Job is no part of the revision: what runs it says what follows.
    let mut refusals = view.observed.refused.iter().filter(|refusal| refusal.object.kind != ObjectKind::Job);
    let refusal = refusals.find(|refusal| of_revision(&refusal.object.name))?;
    Some(format!("{} {}: {}", refusal.object.kind.as_str(), refusal.object.name, refusal.message))
}

/// What is broken about a pod, in a word and a sentence.
pub(crate) fn broken(pod: &Pod) -> Option<(Reason, String)> {
    pod_cause(pod).map(|cause| (cause.reason, cause.message))
}

fn pod_cause(pod: &Pod) -> Option<Cause> {
    if let Some(message) = &pod.rejected {
        let message = format!("pod {}: {message}", pod.name);
        return Some(Cause { reason: Reason::PodRejected, message, patience: PATIENCE });
    }
    pod.containers.iter().find_map(|container| container_cause(pod, container))
}

fn container_cause(pod: &Pod, container: &Container) -> Option<Cause> {
    let place = format!("pod {}, container {}", pod.name, container.name);
    let waiting = container.waiting.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str()));
    let exit = container
        .terminated
        .or(container.last_exit)
        .map_or(String::new(), |code| format!(", exit code {code}"));
    match waiting {
        Some((
            word @ ("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"),
            message,
        )) => {
            let message = format!("{place}: {word}: {message}");
            Some(Cause { reason: Reason::ImagePullFailed, message, patience: PATIENCE })
        }
        Some((
            word @ ("CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "StartError"),
            message,
        )) => {
            let message = format!("{place}: {word}: {message}");
            Some(Cause { reason: Reason::PodRejected, message, patience: PATIENCE })
        }
        Some(("CrashLoopBackOff", _)) => Some(crash(&place, container.restarts, &exit)),
        Some(_) if container.restarts >= 1 && container.last_exit.is_some() => {
            Some(crash(&place, container.restarts, &exit))
        }
        None if container.restarts >= 1 && container.terminated.is_some() => {
            Some(crash(&place, container.restarts, &exit))
        }
        _ => None,
    }
}

fn crash(place: &str, restarts: i32, exit: &str) -> Cause {
    let message = format!("{place}: exited again after {restarts} restarts{exit}");
    Cause { reason: Reason::CrashLoop, message, patience: Duration::ZERO }
}

/// What the first pod of the revision that is not ready waits for, as far as the cluster says so.
pub(crate) fn why_not_ready(view: &View<'_>, revision: i64) -> Option<String> {
    let waits = view.pods(revision).filter(|pod| !pod.ready && !pod.terminating);
    let pod = waits.min_by(|left, right| left.name.cmp(&right.name))?;
    let waiting = pod.containers.iter().find_map(|container| container.waiting.as_ref());
    let why = pod.unschedulable.clone().or_else(|| waiting.map(|(reason, _)| reason.clone()));
    let why = why.unwrap_or_else(|| "runs, but is not ready".to_owned());
    Some(format!("pod {}: {why}", pod.name))
}

/// A pod of the revision that runs another image than the revision's first one did.
pub(crate) fn other_image(view: &View<'_>, draft: &Draft, revision: i64) -> Option<String> {
    let wanted = crate::view::revision_state(&draft.status, revision)?.digest.clone()?;
    let runs_other = |pod: &&Pod| {
        pod.ready
            && !pod.terminating
            && pod.image_id.as_deref().and_then(digest_of).is_some_and(|digest| digest != wanted)
    };
    view.pods(revision).filter(runs_other).map(|pod| pod.name.clone()).min()
}

/// Whether the revision's pods carry no requests and no connections that would have to be cut. Idle HTTP connections that are
/// quiet for 5 s are closed without loss by the pod's own drain. A ready pod of which nothing is known counts as busy.
pub(crate) fn quiet(view: &View<'_>, revision: i64, since: Timestamp) -> bool {
    view.pods(revision).filter(|pod| pod.ready && !pod.terminating).all(|pod| {
        pod.sidecar.traffic.as_ref().is_some_and(|traffic| {
            let idle = traffic.connections == 0 || traffic.idle_ms.is_none_or(|idle| idle >= 5_000);
            traffic.at >= since && traffic.in_flight == 0 && traffic.upgraded == 0 && idle
        })
    })
}

/// When drain.max of the revision is over, counted from `since`.
pub(crate) fn drained_by(view: &View<'_>, revision: i64, since: &MicroTime) -> Timestamp {
    let longest = view.stored(revision).map_or(view.release.drain_max(), |stored| stored.facts.drain_max);
    after(since.0, longest.duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(
        waiting: Option<&str>,
        restarts: i32,
        terminated: Option<i32>,
        last_exit: Option<i32>,
    ) -> Container {
        let waiting = waiting.map(|reason| (reason.to_owned(), "why".to_owned()));
        Container { name: "app".into(), restarts, waiting, terminated, last_exit }
    }

    #[test]
    fn containers_are_broken_each_in_its_way() {
        let pod = Pod {
            name: "order-r2-x".into(),
            uid: "u".into(),
            revision: 2,
            restart: 0,
            ip: None,
            ready: false,
            terminating: false,
            rejected: None,
            unschedulable: None,
            containers: Vec::new(),
            image_id: None,
            sidecar: crate::SidecarView::default(),
        };
        for (given, expected) in [
            (container(Some("ContainerCreating"), 0, None, None), None),
            (container(None, 0, None, None), None),
            (container(None, 1, None, Some(1)), None),
            (container(None, 0, Some(1), None), None),
            (container(None, 1, Some(1), Some(1)), Some(Reason::CrashLoop)),
            (container(Some("CrashLoopBackOff"), 1, None, Some(1)), Some(Reason::CrashLoop)),
            (container(Some("ErrImagePull"), 0, None, None), Some(Reason::ImagePullFailed)),
            (container(Some("ImagePullBackOff"), 0, None, None), Some(Reason::ImagePullFailed)),
            (container(Some("InvalidImageName"), 0, None, None), Some(Reason::ImagePullFailed)),
            (container(Some("CreateContainerConfigError"), 0, None, None), Some(Reason::PodRejected)),
        ] {
            let found = container_cause(&pod, &given);
            assert_eq!(found.map(|cause| cause.reason), expected, "{given:?}");
        }
        let rejected = Pod { rejected: Some("UnexpectedAdmissionError".into()), ..pod };
        assert_eq!(pod_cause(&rejected).map(|cause| cause.reason), Some(Reason::PodRejected));
    }
}
