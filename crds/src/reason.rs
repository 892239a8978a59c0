//! The closed list of reasons, shared by conditions, events, logs and metric labels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why something is as it is: one word for conditions, events, logs and metric labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What the word means, for documentation.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc,)+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    // Normal life.
    /// All is well: users reach a ready revision, and no release runs.
    Stable,
    /// A release is under way.
    Releasing,
    /// A new revision was cut from the spec and its config.
    RevisionCut,
    /// The release of a revision began.
    ReleaseStarted,
    /// The candidate may become active.
    Promoted,
    /// The users' Service selects another revision now.
    Switched,
    /// The release ended, and the new revision is the stable one.
    ReleaseCompleted,
    /// The old revision has no traffic left, and was scaled to zero.
    Drained,
    /// A revision past historyLimit was removed.
    RevisionRemoved,

    // What a release can wait for.
    /// Further changes of spec or config are waited for before a revision is cut.
    Settling,
    /// Pods of the candidate are not ready yet.
    WaitingForPods,
    /// Sidecars have not acknowledged their configuration yet.
    WaitingForAcknowledgement,
    /// A ready pod's sidecar cannot be reached, or refuses its configuration.
    SidecarUnreachable,
    /// EndpointSlices do not show the switch yet.
    WaitingForEndpoints,
    /// The candidate is ready, and somebody must decide about it.
    AwaitingPromotion,
    /// A step of the canary takes its time.
    StepPause,
    /// The new revision has the users; the old one stays warm for a rollback.
    KeepingOld,
    /// The old revision still has requests or connections.
    Draining,
    /// Somebody paused the release.
    Paused,
    /// The pods of the active revision are replaced one after the other.
    Restarting,
    /// The release failed and stays where it is, because onFailure is hold.
    OnHold,
    /// These inputs were aborted or rolled back before; they are not tried again by themselves.
    NotTriedAgain,

    /// What the new revision does is being measured.
    AnalysisRunning,
    /// The analysis says that the new revision is good enough.
    AnalysisPassed,

    // Gates.
    /// A freeze window of a ShopPolicy stops promotions now.
    Frozen,
    /// A freeze window cannot be read; until it is corrected nothing is promoted.
    FreezeInvalid,
    /// The web hook of spec.release.confirm has not said yes.
    AwaitingConfirmation,
    /// A Job of spec.release.jobs has not ended.
    WaitingForJob,
    /// The Job that must succeed before a revision starts has failed.
    ExpandFailed,
    /// The Job that is run once the old revision is gone has failed; users are not affected.
    ContractFailed,
    /// The Job that was run once an older revision was gone stands in the way back.
    ContractDone,
    /// A gate was passed by force.
    GateForced,
    /// Every part of a policy can be followed.
    PolicyAccepted,

    // Faults.
    /// Sidecars inject faults, because a FaultPolicy says so.
    FaultsInjected,
    /// A fault is over, or was taken back.
    FaultsEnded,
    /// A FaultPolicy does not count, because of what it says or because it may not.
    FaultsRefused,
    /// A FaultPolicy is for ShopServices that do not exist.
    FaultsUnused,

    /// A Deployment that was there before serves as revision 0.
    Adopted,
    /// What users have was given back; the ShopService can be deleted.
    Ejected,

    // What blocks.
    /// The Deployment or the Service that spec.adopt names cannot be taken over as it is.
    AdoptionRefused,
    /// An object of that name exists and belongs to somebody else.
    NameTaken,
    /// A ConfigMap or Secret that the spec names does not exist.
    ConfigMissing,
    /// A ConfigMap or Secret that the spec names is too large to be kept with the revision.
    ConfigTooLarge,
    /// The API server refused an object that the spec asks for.
    ObjectRefused,
    /// A pod runs another image than the revision's first one did.
    ImageChanged,
    /// The state of the release is lost, and what is left in the cluster does not agree.
    StateUnknown,
    /// The spec holds something that the API server cannot check by itself.
    InvalidSpec,

    /// The analysis ended without enough to judge by.
    AnalysisInconclusive,
    /// The analysis could not be measured.
    AnalysisError,

    // Why a release ends early.
    /// The analysis shows that the new revision is not good enough.
    AnalysisFailed,
    /// The image of a container cannot be pulled.
    ImagePullFailed,
    /// A container exits again and again.
    CrashLoop,
    /// Pods cannot be started as they are written.
    PodRejected,
    /// The candidate lost its ready pods.
    CandidateLost,
    /// Pods, sidecars or endpoints took longer than progressDeadline.
    ProgressDeadlineExceeded,
    /// Somebody decided so.
    Decided,
    /// A newer revision took its place.
    Superseded,
    /// The spec went back to the revision that users have.
    InputsRestored,
    /// The release was undone: users are with the stable revision.
    ReleaseAborted,
    /// Users went back to the revision before.
    RolledBack,

    // Trouble outside of a release.
    /// Fewer pods of the active revision are ready than wanted.
    Degraded,
    /// New pods of a restart do not get ready; those before them serve on.
    RestartFailed,
    /// All pods of the active revision were replaced by new ones.
    Restarted,
    /// No pod of the active revision is ready.
    Unavailable,
    /// A generated object was changed by somebody else, and was put back.
    DriftReverted,
    /// A write was withheld because it would have harmed users; the cluster changed under the release.
    WriteWithheld,
    /// State was rebuilt from what is in the cluster.
    StateRebuilt,
    /// The service has a new certificate for TLS between sidecars.
    CertificateIssued,
    /// The key of the certificate authority is lost; a new root is trusted beside the one before.
    AuthorityLost,

    // Decisions.
    /// A decision was taken up.
    DecisionAccepted,
    /// A decision was carried out.
    DecisionDone,
    /// The decision is for a revision that is not the one it would move.
    StaleRevision,
    /// The decision names another image digest than the revision runs.
    DigestMismatch,
    /// There is nothing that the decision could move.
    NothingToDecide,
    /// The ShopService that the decision names does not exist.
    ServiceMissing,
    /// There is no revision with ready pods to go back to.
    NoWayBack,
    /// Too many decisions waited for an answer; this one was not read.
    TooManyDecisions,
    /// Another decision was made before it, and is being carried out.
    DecidedAlready,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_a_word_and_a_sentence() {
        for reason in Reason::ALL {
            assert!(reason.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{reason:?}");
            assert!(reason.meaning().ends_with('.'), "{reason:?}: {}", reason.meaning());
        }
    }
}
