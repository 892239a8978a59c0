//! What users, nodes, clocks, strangers and the API server do, at random moments.

use jiff::SignedDuration;
use shop_crds::{
    ShopServiceStatus, Verb,
    service::release::{OnFailure, Promote},
};
use shop_release::{ObjectKind, ObjectRef, Refusal, ServiceKind, SourceState};

use crate::{
    faults::Fault,
    policies,
    world::{Dice, World, steps},
};

pub(crate) const IMAGES: [&str; 8] =
    ["good-1", "good-2", "good-3", "good-4", "crash-5", "unready-6", "fades-7", "pull"];

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll(end as u64)).unwrap()
    }
}

/// Lets something happen in the cluster; what concerns operators is the walk's to do.
pub(crate) fn happen(world: &mut World, dice: &mut Dice, fault: Fault) {
    let to = world.status.release.as_ref().map_or(world.status.last_revision, |release| release.to);
    match fault {
        Fault::PodSick
        | Fault::RevisionSick
        | Fault::SidecarMute
        | Fault::PodDies
        | Fault::ImageChanged
        | Fault::PodRefused => {
            ail(world, dice, fault);
        }
        Fault::Recovery => recover(world),
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
        Fault::ConfigChanged | Fault::ConfigMissing => change_sources(world, dice, fault),
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
            let (full, force) = (dice.one_in(4), dice.one_in(4));
            world.decide_by(person, Verb::Promote, to.max(1), |spec| (spec.full, spec.force) = (full, force));
        }
        Fault::Pause => drop(world.decide(Verb::Pause, to.max(1))),
        Fault::Resume => drop(world.decide(Verb::Resume, to.max(1))),
        Fault::Abort => drop(world.decide(Verb::Abort, to.max(1))),
        Fault::Rollback => {
            let (active, back) = (world.active().max(1), i64::try_from(dice.roll(3)).unwrap());
            let force = dice.one_in(3);
            world.decide_by("", Verb::Rollback, active, |spec| {
                spec.to = Some(active - back).filter(|to| *to > 0 && *to != active);
                spec.force = force;
            });
        }
        Fault::Retry => drop(world.decide(Verb::Retry, to.max(1))),
        Fault::Restart => drop(world.decide(Verb::Restart, world.active().max(1))),
        Fault::Flood => (0..110).for_each(|_| drop(world.decide(Verb::Promote, to + 90))),
        Fault::AnalysisPolicy | Fault::ConfirmPolicy | Fault::JobsPolicy | Fault::Freeze | Fault::Overlay => {
            policies::change(world, dice, fault);
        }
        Fault::JobGone => {
            let count = world.observed.jobs.len();
            if count > 0 {
                world.observed.jobs.remove(dice.below(count));
            }
        }
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

/// What the spec names is changed, gone, unreadable or too large.
fn change_sources(world: &mut World, dice: &mut Dice, fault: Fault) {
    let hash = format!("content-{}", dice.roll(3));
    for source in &mut world.observed.sources {
        source.state = match fault {
            Fault::ConfigMissing if dice.one_in(2) => SourceState::Missing,
            Fault::ConfigMissing if dice.one_in(2) => {
                SourceState::Found { hash: hash.clone(), bytes: 2_000_000 }
            }
            Fault::ConfigMissing => SourceState::Unreadable("forbidden".into()),
            _ => SourceState::Found { hash: hash.clone(), bytes: 5 },
        };
    }
}

/// Pods and sidecars get well.
fn recover(world: &mut World) {
    world.sick.clear();
    world.mute.clear();
    for pod in &mut world.observed.pods {
        pod.rejected = None;
        let refused = |waiting: &(String, String)| waiting.0 == "CreateContainerConfigError";
        pod.containers[0].waiting = pod.containers[0].waiting.take().filter(|waiting| !refused(waiting));
    }
    for deployment in &mut world.observed.deployments {
        deployment.failure = None;
    }
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
        Fault::PodRefused => match dice.roll(3) {
            0 => {
                world.observed.pods[at].rejected = Some("UnexpectedAdmissionError".into());
                world.sick.insert(uid);
            }
            1 => {
                let waiting = ("CreateContainerConfigError".to_owned(), "no such key".to_owned());
                world.observed.pods[at].containers[0].waiting = Some(waiting);
                world.sick.insert(uid);
            }
            _ => {
                let version = world.bump();
                let deployments = &mut world.observed.deployments;
                if let Some(deployment) = deployments.iter_mut().find(|one| one.revision == revision) {
                    deployment.failure = Some("exceeded quota".into());
                    deployment.resource_version = version;
                }
                world.sick.insert(uid);
            }
        },
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
    let object = match dice.roll(5) {
        0 | 1 => ObjectRef::new(ObjectKind::PodDisruptionBudget, format!("order-r{next}")),
        2 => ObjectRef::new(ObjectKind::Job, format!("order-r{next}-expand")),
        _ => ObjectRef::new(ObjectKind::Deployment, format!("order-r{next}")),
    };
    if fault == Fault::ObjectRefused {
        let at = world.now;
        world.observed.refused = vec![Refusal { object, at, message: "invalid".into() }];
    } else if next > world.status.last_revision {
        world.observed.taken = if world.observed.taken.is_empty() { vec![object] } else { Vec::new() };
    }
}
