//! What users, nodes, clocks, strangers and the API server do, at random moments.

use jiff::SignedDuration;
use shop_crds::{
    ShopServiceStatus, Verb,
    service::release::{OnFailure, Promote},
};
use shop_release::{ObjectKind, ObjectRef, Refusal, ServiceKind, SourceState};

use crate::world::{Dice, World, steps};

pub(crate) const IMAGES: [&str; 8] =
    ["good-1", "good-2", "good-3", "good-4", "crash-5", "unready-6", "fades-7", "pull"];

/// Everything that happens beside the operators' own passes and the time that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
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
}

impl Fault {
    pub(crate) const ALL: [Self; 41] = [
        Self::ApiError,
        Self::AnswerLost,
        Self::StaleRead,
        Self::Crash,
        Self::NewLeader,
        Self::OldLeaderActs,
        Self::ClockAhead,
        Self::ClockBack,
        Self::PodSick,
        Self::RevisionSick,
        Self::PodDies,
        Self::SidecarMute,
        Self::Recovery,
        Self::ImageChanged,
        Self::EndpointsLate,
        Self::NewImage,
        Self::BrokenImage,
        Self::ImageRestored,
        Self::ConfigChanged,
        Self::ConfigMissing,
        Self::Replicas,
        Self::ScaledToZero,
        Self::PromotePolicy,
        Self::OnFailurePolicy,
        Self::Strategy,
        Self::LiveField,
        Self::Promote,
        Self::Abort,
        Self::Rollback,
        Self::Retry,
        Self::Pause,
        Self::Resume,
        Self::ApprovalsPolicy,
        Self::PromoteAfterPolicy,
        Self::WrongDecision,
        Self::ServiceEdited,
        Self::DeploymentEdited,
        Self::ConfigEdited,
        Self::StatusLost,
        Self::NameTaken,
        Self::ObjectRefused,
    ];

    /// Any of them; those that end a story early are rarer.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let found = Self::ALL[dice.below(Self::ALL.len())];
        let rare = matches!(found, Self::StatusLost | Self::ScaledToZero | Self::ConfigMissing);
        if rare && !dice.one_in(8) { Self::PodSick } else { found }
    }
}

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll(end as u64)).unwrap()
    }
}

/// Lets something happen in the cluster; what concerns operators is the walk's to do.
pub(crate) fn happen(world: &mut World, dice: &mut Dice, fault: Fault) {
    let to = world.status.release.as_ref().map_or(world.status.last_revision, |release| release.to);
    match fault {
        Fault::PodSick | Fault::RevisionSick | Fault::SidecarMute | Fault::PodDies | Fault::ImageChanged => {
            ail(world, dice, fault);
        }
        Fault::Recovery => {
            world.sick.clear();
            world.mute.clear();
        }
        Fault::NewImage | Fault::BrokenImage => {
            let image = IMAGES[dice.below(4) + if fault == Fault::NewImage { 0 } else { 4 }];
            // Another port comes with some images: what is told to sidecars must be the revision's own.
            let port = 8080 + i32::try_from(dice.roll(2)).unwrap();
            world.apply(|spec| (spec.image, spec.port) = (image.to_owned(), port));
        }
        Fault::ImageRestored => {
            let active = world.active();
            let image = world.status.revisions.iter().find(|one| one.number == active);
            let port = world.observed.revisions.iter().find(|one| one.number == active);
            if let (Some(image), Some(port)) =
                (image.map(|one| one.image.clone()), port.map(|one| one.facts.port))
            {
                world.apply(|spec| (spec.image, spec.port) = (image, port));
            }
        }
        Fault::ConfigChanged | Fault::ConfigMissing => {
            let hash = format!("content-{}", dice.roll(3));
            for source in &mut world.observed.sources {
                source.state = match fault {
                    Fault::ConfigMissing if dice.one_in(2) => SourceState::Missing,
                    Fault::ConfigMissing => SourceState::Unreadable("forbidden".into()),
                    _ => SourceState::Found { hash: hash.clone(), bytes: 5 },
                };
            }
        }
        Fault::Replicas => world.apply(|spec| spec.replicas = i32::try_from(dice.roll(4)).unwrap() + 1),
        Fault::ScaledToZero => world.apply(|spec| spec.replicas = 0),
        Fault::PromotePolicy => world.release(|release| {
            release.promote = if dice.one_in(2) { Promote::Manual } else { Promote::Automatic };
        }),
        Fault::OnFailurePolicy => world.release(|release| {
            release.on_failure = if dice.one_in(2) { OnFailure::Hold } else { OnFailure::Abort };
        }),
        Fault::Strategy => steps::change(world, dice, true),
        Fault::LiveField => world.apply(|spec| {
            let text = format!(r#"{{"maxConnections": {}}}"#, 70 + dice.roll(3));
            spec.sidecar = serde_json::from_str(&text).unwrap();
        }),
        Fault::ApprovalsPolicy => world.release(|release| {
            release.approvals = dice.one_in(2).then(|| i32::try_from(dice.roll(3)).unwrap() + 1);
        }),
        Fault::PromoteAfterPolicy => world.release(|release| {
            release.promote_after = dice.one_in(2).then(|| shop_crds::Span::secs(30));
        }),
        Fault::Promote => {
            let person = ["ann", "bob", "eve"][dice.below(3)];
            let full = dice.one_in(4);
            world.decide_by(person, Verb::Promote, to.max(1), |spec| spec.full = full);
        }
        Fault::Pause => drop(world.decide(Verb::Pause, to.max(1))),
        Fault::Resume => drop(world.decide(Verb::Resume, to.max(1))),
        Fault::Abort => drop(world.decide(Verb::Abort, to.max(1))),
        Fault::Rollback => {
            let (active, back) = (world.active().max(1), i64::try_from(dice.roll(3)).unwrap());
            world.decide_by("", Verb::Rollback, active, |spec| {
                spec.to = Some(active - back).filter(|to| *to > 0 && *to != active);
            });
        }
        Fault::Retry => drop(world.decide(Verb::Retry, to.max(1))),
        Fault::WrongDecision => decide_wrongly(world, dice, to),
        Fault::ServiceEdited | Fault::DeploymentEdited | Fault::ConfigEdited => edit(world, dice, fault),
        Fault::StatusLost => {
            world.status = ShopServiceStatus::default();
            for pod in &mut world.observed.pods {
                pod.image_id = pod.image_id.take().filter(|id| !id.ends_with("sha256:other"));
            }
            world.age_pods();
            // A number of which nothing was stored yet is forgotten with it.
            let observed = &world.observed;
            world.meanings.retain(|number, _| observed.revisions.iter().any(|one| one.number == *number));
            world.subject.resource_version = world.bump();
        }
        Fault::NameTaken | Fault::ObjectRefused => obstruct(world, dice, fault),
        _ => {}
    }
    world.bump();
}

/// Pods get ill.
fn ail(world: &mut World, dice: &mut Dice, fault: Fault) {
    if world.observed.pods.is_empty() {
        return;
    }
    let at = dice.below(world.observed.pods.len());
    let (uid, revision) = (world.observed.pods[at].uid.clone(), world.observed.pods[at].revision);
    match fault {
        Fault::PodSick => drop(world.sick.insert(uid)),
        Fault::SidecarMute => drop(world.mute.insert(uid)),
        Fault::PodDies => drop(world.observed.pods.remove(at)),
        // Of a revision whose image is known: what is seen first is what it is.
        Fault::ImageChanged => {
            let known = world.status.revisions.iter().find(|one| one.number == revision);
            if known.is_none_or(|known| known.digest.is_none()) {
                return;
            }
            world.observed.pods[at].image_id = Some("registry/order@sha256:other".into());
        }
        _ => {
            let all = world.observed.pods.iter().filter(|pod| pod.revision == revision);
            let all: Vec<String> = all.map(|pod| pod.uid.clone()).collect();
            world.sick.extend(all);
        }
    }
    world.age_pods();
}

/// Somebody decides about a revision that is not the one, or about an image that is not the one.
fn decide_wrongly(world: &mut World, dice: &mut Dice, to: i64) {
    let verb = Verb::ALL[dice.below(Verb::ALL.len())];
    let near = [-1, 1, 2][dice.below(3)];
    let kind = dice.roll(3);
    if kind == 0 {
        world.decide(Verb::Promote, to.max(1));
        world.observed.decisions.last_mut().unwrap().spec.digest = Some("sha256:other".into());
    } else if kind == 1 {
        // An old one that arrives late.
        world.decide(verb, to.max(1));
        let last = world.observed.decisions.last_mut().unwrap();
        last.created -= SignedDuration::from_secs(i64::try_from(dice.roll(600)).unwrap());
    } else {
        world.decide(verb, (to + near).max(1));
    }
}

/// Somebody changes a generated object by hand.
fn edit(world: &mut World, dice: &mut Dice, fault: Fault) {
    let version = world.bump();
    let any = i64::try_from(dice.roll(3)).unwrap() + 1;
    match fault {
        Fault::ServiceEdited => {
            let kind = ServiceKind::ALL[dice.below(3)];
            if let Some(service) = world.observed.services.get_mut(&kind) {
                let selects = (!dice.one_in(3)).then_some(any);
                (service.selects, service.drifted, service.resource_version) = (selects, true, version);
            }
        }
        Fault::DeploymentEdited => {
            let count = world.observed.deployments.len();
            if count > 0 {
                let deployment = &mut world.observed.deployments[dice.below(count)];
                deployment.replicas = i32::try_from(dice.roll(3)).unwrap();
                (deployment.drifted, deployment.resource_version) = (true, version);
            }
        }
        _ if dice.one_in(2) => {
            if let Some(config) = world.observed.configs.last_mut() {
                (config.drifted, config.resource_version) = (true, version);
            }
        }
        _ => {
            if let Some(budget) = world.observed.budgets.last_mut() {
                budget.max_unavailable = None;
                (budget.drifted, budget.resource_version) = (true, version);
            }
        }
    }
}

/// A name is taken, or an object is refused.
fn obstruct(world: &mut World, dice: &mut Dice, fault: Fault) {
    let next = world.status.last_revision + i64::try_from(dice.roll(2)).unwrap();
    let kind = match dice.roll(3) {
        0 => ObjectKind::PodDisruptionBudget,
        _ => ObjectKind::Deployment,
    };
    let object = ObjectRef::new(kind, format!("order-r{next}"));
    if fault == Fault::ObjectRefused {
        let at = world.now;
        world.observed.refused = vec![Refusal { object, at, message: "invalid".into() }];
    } else if next > world.status.last_revision {
        world.observed.taken = if world.observed.taken.is_empty() { vec![object] } else { Vec::new() };
    }
}
