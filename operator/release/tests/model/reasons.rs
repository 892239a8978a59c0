//! The closed list of reasons against those that were given: each is reached, or it is said here why it cannot be.

use std::{collections::BTreeSet, fmt};

use shop_crds::{Reason, ShopServiceStatus};

/// Reasons that the model does not reach, and why. One that is reached all the same does not belong here.
const UNREACHED: &[(Reason, &str)] = &[
    (Reason::Adopted, "no service here begins with a Deployment of before: told in ../release/adopted.rs"),
    (Reason::AdoptionRefused, "as for Adopted"),
    (Reason::Ejected, "as for Adopted: what was ejected is no ShopService any more"),
    (Reason::CertificateIssued, "no service here asks for TLS: told in ../release/mtls.rs"),
    (Reason::AuthorityLost, "as for CertificateIssued"),
    (Reason::PolicyAccepted, "is said of a ShopPolicy, outside of releases"),
    (Reason::FaultsRefused, "is said of a FaultPolicy, outside of releases"),
    (Reason::FaultsUnused, "as for FaultsRefused"),
    (
        Reason::ServiceMissing,
        "is said of a ReleaseDecision for which there is no ShopService, and so no plan",
    ),
];

/// Reasons that were given.
#[derive(Debug, Default)]
pub(crate) struct Reached(BTreeSet<String>);

impl Reached {
    pub(crate) fn told(&mut self, reasons: &[Reason]) {
        for reason in reasons {
            self.note(reason.as_str());
        }
    }

    /// What a status says.
    pub(crate) fn state(&mut self, status: &ShopServiceStatus) {
        for condition in &status.conditions {
            self.note(&condition.reason);
        }
        let release = status.release.as_ref();
        let outcomes = status.revisions.iter().filter_map(|one| Some(one.outcome.as_ref()?.reason));
        let found = [
            status.blocked.as_ref().map(|one| one.reason),
            status.restart.as_ref().and_then(|one| Some(one.failing.as_ref()?.reason)),
            release.and_then(|one| Some(one.failing.as_ref()?.reason)),
            release.and_then(|one| Some(one.aborting.as_ref()?.reason)),
            release.and_then(|one| one.analysis.as_ref()?.reason),
            release.and_then(|one| Some(one.gates.as_ref()?.freeze.as_ref()?.reason)),
        ];
        for reason in found.into_iter().flatten().chain(outcomes) {
            self.note(reason.as_str());
        }
    }

    fn note(&mut self, reason: &str) {
        if !self.0.contains(reason) {
            self.0.insert(reason.to_owned());
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn missing(&self) -> Vec<Reason> {
        Reason::ALL.iter().copied().filter(|reason| !self.0.contains(reason.as_str())).collect()
    }

    /// Every reason is either reached or listed, and none is both.
    pub(crate) fn assert_complete(&self) {
        let listed: BTreeSet<Reason> = UNREACHED.iter().map(|(reason, _)| *reason).collect();
        let missing: BTreeSet<Reason> = self.missing().into_iter().collect();
        assert!(
            missing == listed,
            "not reached and not listed: {:?}; listed and reached: {:?}",
            missing.difference(&listed).collect::<Vec<_>>(),
            listed.difference(&missing).collect::<Vec<_>>()
        );
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Reason::ALL.len();
        write!(out, "  reasons: {} of {all}, all but {:?}", all - self.missing().len(), self.missing())
    }
}
