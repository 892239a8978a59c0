//! Which reasons wait for somebody to decide: those end a wait, with exit code 3.

use shop_crds::Reason;

/// Nothing moves before somebody decides about the release.
pub const DECIDE: &[Reason] = &[
    Reason::AwaitingPromotion,
    Reason::OnHold,
    Reason::Paused,
    Reason::AnalysisInconclusive,
    Reason::AnalysisError,
    Reason::Frozen,
    Reason::FreezeInvalid,
    Reason::ContractFailed,
    Reason::ContractDone,
    Reason::NotTriedAgain,
    Reason::NoWayBack,
];

/// It goes on by itself, or as soon as what is wrong has been put right; or the word is never a reason to wait.
pub const BY_ITSELF: &[Reason] = &[
    Reason::Stable,
    Reason::Releasing,
    Reason::RevisionCut,
    Reason::ReleaseStarted,
    Reason::Promoted,
    Reason::Switched,
    Reason::ReleaseCompleted,
    Reason::Drained,
    Reason::RevisionRemoved,
    Reason::Settling,
    Reason::WaitingForPods,
    Reason::WaitingForAcknowledgement,
    Reason::SidecarUnreachable,
    Reason::WaitingForEndpoints,
    Reason::KeepingOld,
    Reason::Draining,
    Reason::Adopted,
    Reason::AdoptionRefused,
    Reason::Ejected,
    Reason::NameTaken,
    Reason::ConfigMissing,
    Reason::ConfigTooLarge,
    Reason::ObjectRefused,
    Reason::ImageChanged,
    Reason::StateUnknown,
    Reason::InvalidSpec,
    Reason::ImagePullFailed,
    Reason::CrashLoop,
    Reason::PodRejected,
    Reason::CandidateLost,
    Reason::StepPause,
    Reason::AwaitingConfirmation,
    Reason::WaitingForJob,
    Reason::ExpandFailed,
    Reason::GateForced,
    Reason::PolicyAccepted,
    Reason::FaultsInjected,
    Reason::FaultsEnded,
    Reason::FaultsRefused,
    Reason::FaultsUnused,
    Reason::AnalysisRunning,
    Reason::AnalysisPassed,
    Reason::AnalysisFailed,
    Reason::ProgressDeadlineExceeded,
    Reason::Decided,
    Reason::Superseded,
    Reason::InputsRestored,
    Reason::ReleaseAborted,
    Reason::RolledBack,
    Reason::Degraded,
    Reason::RestartFailed,
    Reason::Restarted,
    Reason::Restarting,
    Reason::Unavailable,
    Reason::DriftReverted,
    Reason::WriteWithheld,
    Reason::StateRebuilt,
    Reason::CertificateIssued,
    Reason::AuthorityLost,
    Reason::DecisionAccepted,
    Reason::DecisionDone,
    Reason::StaleRevision,
    Reason::DigestMismatch,
    Reason::NothingToDecide,
    Reason::ServiceMissing,
    Reason::TooManyDecisions,
    Reason::DecidedAlready,
];

/// Whether what is `Blocked` for this reason waits for somebody to decide.
pub fn decide(reason: Reason) -> bool {
    DECIDE.contains(&reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_waits_for_somebody_or_does_not() {
        for reason in Reason::ALL {
            let listed = DECIDE.iter().chain(BY_ITSELF).filter(|known| *known == reason).count();
            assert_eq!(
                listed, 1,
                "{reason:?} must be in one of the two lists of operator/cli/src/verdict/people.rs: in DECIDE if nothing moves \
                 before somebody decides (kubectl shop then exits with 3), else in BY_ITSELF"
            );
        }
        assert_eq!(DECIDE.len() + BY_ITSELF.len(), Reason::ALL.len());
    }
}
