//! What to do about the Lease that was read: pure, time is an argument.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use shop_crds::names::ANNOTATION_LEADER_EPOCH;
use tokio::time::Instant;

/// What matters of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) holder: Option<String>,
    pub(super) duration: Duration,
    pub(super) epoch: i64,
    pub(super) resource_version: String,
}

impl View {
    pub(super) fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let annotations = lease.metadata.annotations.as_ref();
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
            duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            epoch: annotations
                .and_then(|annotations| annotations.get(ANNOTATION_LEADER_EPOCH))
                .and_then(|epoch| epoch.parse().ok())
                .unwrap_or(0),
            resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// Since when the Lease is as it is, by the clock of this process: clocks of machines differ, so what others wrote into
/// `renewTime` says nothing.
#[derive(Debug, Default)]
pub(super) struct Observer {
    seen: Option<(String, Instant)>,
}

impl Observer {
    pub(super) fn unchanged_for(&mut self, view: Option<&View>, now: Instant) -> Duration {
        let Some(view) = view else {
            self.seen = None;
            return Duration::ZERO;
        };
        match &self.seen {
            Some((version, since)) if *version == view.resource_version => now.duration_since(*since),
            _ => {
                self.seen = Some((view.resource_version.clone(), now));
                Duration::ZERO
            }
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease.
    Create,
    /// It is free, or its holder is gone.
    Take,
    /// It is ours, with this epoch.
    Renew(i64),
    /// It is another's.
    Wait,
}

/// Decides. `me` is `pod_random`: a holder of the same pod is an earlier process of it, which is gone, because a pod runs one at
/// a time.
pub(super) fn step(view: Option<&View>, me: &str, unchanged: Duration) -> Step {
    let Some(view) = view else { return Step::Create };
    let Some(holder) = view.holder.as_deref() else { return Step::Take };
    if holder == me {
        return Step::Renew(view.epoch);
    }
    if pod(holder) == pod(me) || unchanged >= view.duration {
        return Step::Take;
    }
    Step::Wait
}

fn pod(identity: &str) -> &str {
    identity.rsplit_once('_').map_or(identity, |(pod, _)| pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(holder: Option<&str>) -> View {
        View {
            holder: holder.map(str::to_owned),
            duration: Duration::from_secs(10),
            epoch: 4,
            resource_version: "9".into(),
        }
    }

    #[test]
    fn creates_takes_renews_or_waits() {
        let second = Duration::from_secs(1);
        for (found, unchanged, wanted) in [
            (None, Duration::ZERO, Step::Create),
            (Some(view(None)), Duration::ZERO, Step::Take),
            (Some(view(Some("a_1"))), second * 60, Step::Renew(4)),
            (Some(view(Some("b_1"))), second * 9, Step::Wait),
            (Some(view(Some("b_1"))), second * 10, Step::Take),
            // The same pod, restarted.
            (Some(view(Some("a_2"))), Duration::ZERO, Step::Take),
        ] {
            assert_eq!(step(found.as_ref(), "a_1", unchanged), wanted, "{found:?} {unchanged:?}");
        }
    }

    #[test]
    fn counts_by_its_own_clock_from_the_last_change() {
        let mut observer = Observer::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(7);
        assert_eq!(observer.unchanged_for(Some(&view(None)), start), Duration::ZERO);
        assert_eq!(observer.unchanged_for(Some(&view(None)), later), Duration::from_secs(7));
        let changed = View { resource_version: "10".into(), ..view(None) };
        assert_eq!(observer.unchanged_for(Some(&changed), later), Duration::ZERO);
    }
}
