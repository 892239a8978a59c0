//! The one list of what can go wrong, or just happens, beside the operators' own passes and the time that passes.

use crate::world::Dice;

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// What happens.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Fault {
            $($(#[doc = $doc])* $name,)+
        }

        impl Fault {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

faults! {
    /// 409, 429 or 500.
    ApiError,
    /// A write is made, and its answer lost.
    AnswerLost,
    /// A plan is made from caches of different ages.
    StaleRead,
    /// The operator crashes between two writes, or when it has none to make.
    Crash,
    /// Another operator takes over, and the old one does not know.
    NewLeader,
    /// An operator that was replaced wakes up, and goes on where it was.
    OldLeaderActs,
    /// The operator's clock jumps ahead, by a minute at most.
    ClockAhead,
    /// The operator's clock jumps back, by a minute at most.
    ClockBack,
    /// A pod is not ready any more.
    PodSick,
    /// No pod of a revision is ready any more.
    RevisionSick,
    /// A pod is deleted.
    PodDies,
    /// A sidecar does not answer any more.
    SidecarMute,
    /// Pods and sidecars get well.
    Recovery,
    /// A pod runs another image under the same tag.
    ImageChanged,
    /// EndpointSlices change late.
    EndpointsLate,
    NewImage,
    BrokenImage,
    ImageRestored,
    ConfigChanged,
    ConfigMissing,
    Replicas,
    ScaledToZero,
    PromotePolicy,
    OnFailurePolicy,
    Strategy,
    LiveField,
    Promote,
    Abort,
    Rollback,
    Retry,
    Pause,
    Resume,
    /// Another number of people must promote.
    ApprovalsPolicy,
    /// A promotion comes by itself after a while, or not.
    PromoteAfterPolicy,
    /// A decision for another revision, or another image.
    WrongDecision,
    /// A Service is edited by hand.
    ServiceEdited,
    /// A Deployment is edited by hand.
    DeploymentEdited,
    /// A sidecar's ConfigMap or a budget is edited by hand.
    ConfigEdited,
    /// The status is lost.
    StatusLost,
    /// A name that is needed belongs to somebody else, for a while.
    NameTaken,
    /// The API server refuses an object for good, until the spec changes.
    ObjectRefused,
    /// The analysis of the release changes.
    AnalysisPolicy,
    /// The web hook that must say yes comes or goes.
    ConfirmPolicy,
    /// Jobs before and after a release come or go.
    JobsPolicy,
    /// Freeze windows come or go, some of which cannot be read.
    Freeze,
    /// The template gets an overlay, which the API server may refuse.
    Overlay,
    /// Web hooks, a Prometheus and Jobs say something else from now on, or nothing.
    OthersSay,
    /// Requests come, fail, or stay away; sidecars tell what they counted, or not.
    Load,
    /// A Job is deleted by a stranger.
    JobGone,
    /// A pod is rejected, or cannot be made.
    PodRefused,
    /// New pods for the active revision.
    Restart,
    /// Far more decisions than anybody can make.
    Flood,
}

impl Fault {
    /// Any of them; those that end a story early are rarer.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let found = Self::ALL[dice.below(Self::ALL.len())];
        let rare = matches!(found, Self::StatusLost | Self::ScaledToZero | Self::ConfigMissing | Self::Flood);
        if rare && !dice.one_in(8) { Self::PodSick } else { found }
    }
}
