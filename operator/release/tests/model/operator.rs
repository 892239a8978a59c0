//! An operator with caches of its own, which show each kind of object as it was at some moment, and a plan that it carries out
//! write by write while everything else goes on.

mod left;

use std::{collections::BTreeMap, mem};

use jiff::{SignedDuration, Timestamp};
use shop_crds::{Reason, ShopServiceStatus};
use shop_release::{ObjectRef, Observed, Question, Refusal, SidecarView, Subject, Write, plan};

use left::{never_emptied, returned, served, users, way_back_is_open};

use crate::{
    outside::Outside,
    world::{
        Dice, World,
        check::{Invariant, Sight, holds},
    },
};

/// Answers and open questions that an operator keeps.
const ANSWERS: usize = 40;

/// What is watched apart from each other: each may lag by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Subject,
    Revisions,
    Deployments,
    Pods,
    Endpoints,
    Services,
    Configs,
    Budgets,
    Decisions,
    Sources,
    Jobs,
    Policies,
}

impl Watch {
    pub(crate) const ALL: [Self; 12] = [
        Self::Subject,
        Self::Revisions,
        Self::Deployments,
        Self::Pods,
        Self::Endpoints,
        Self::Services,
        Self::Configs,
        Self::Budgets,
        Self::Decisions,
        Self::Sources,
        Self::Jobs,
        Self::Policies,
    ];

    /// Where a write shows up.
    fn of(write: &Write) -> Option<Self> {
        Some(match write {
            Write::CreateRevision { .. }
            | Write::CreateRestart { .. }
            | Write::CreateSnapshot { .. }
            | Write::CreateAccount
            | Write::CreateKeys { .. }
            | Write::CopyTokenKeys { .. }
            | Write::IssueCertificate
            | Write::CopyRoots { .. }
            | Write::RemoveCertificate
            | Write::WriteNetworkPolicy { .. } => Self::Revisions,
            Write::WriteConfig { .. } => Self::Configs,
            Write::WriteDeployment { .. } => Self::Deployments,
            Write::WriteService { .. } => Self::Services,
            Write::WriteBudget { .. } => Self::Budgets,
            Write::WriteDecision { .. } => Self::Decisions,
            Write::CreateJob { .. } => Self::Jobs,
            Write::Stamp { object, .. } | Write::Delete { object, .. } => match object.kind {
                shop_release::ObjectKind::Deployment => Self::Deployments,
                shop_release::ObjectKind::Service => Self::Services,
                shop_release::ObjectKind::ConfigMap if object.name.ends_with("-sidecar") => Self::Configs,
                shop_release::ObjectKind::PodDisruptionBudget => Self::Budgets,
                shop_release::ObjectKind::ReleaseDecision => Self::Decisions,
                shop_release::ObjectKind::Job => Self::Jobs,
                _ => Self::Revisions,
            },
            _ => return None,
        })
    }
}

/// What the API server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What it should.
    Fine,
    /// 409, 429 or 500: nothing is written.
    Failed,
    /// The write is made, and its answer lost: the plan ends, and the next one is made when what came of the write is shown.
    Lost,
}

/// A plan under way.
#[derive(Clone, Debug)]
struct Doing {
    status: Option<Box<ShopServiceStatus>>,
    version: String,
    writes: std::collections::VecDeque<Write>,
    sight: Sight,
    /// Whether everything the caches showed was the present.
    fresh: bool,
    /// When that is so: whether the way back was open.
    open: bool,
}

/// How a step of an operator ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Did {
    /// The plan has been carried out whole, without a failure.
    pub(crate) whole: bool,
    /// Something was written or pushed.
    pub(crate) wrote: bool,
    pub(crate) failed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) epoch: i64,
    /// How much its clock is ahead.
    pub(crate) skew: SignedDuration,
    subject: Subject,
    status: ShopServiceStatus,
    observed: Observed,
    shown: [u64; Watch::ALL.len()],
    own: [u64; Watch::ALL.len()],
    known: BTreeMap<String, SidecarView>,
    /// Questions that are open.
    asked: Vec<Question>,
    doing: Option<Doing>,
    /// What the last whole plan asked for.
    pub(crate) requeue: Option<std::time::Duration>,
    /// Whether its last plan waits for an answer.
    pub(crate) asks: bool,
    /// Whether its last plan had nothing to write.
    pub(crate) idle: bool,
}

impl Operator {
    pub(crate) fn new(world: &World, epoch: i64, skew: SignedDuration) -> Self {
        let mut new = Self {
            epoch,
            skew,
            subject: world.subject.clone(),
            status: world.status.clone(),
            observed: Observed { keys_fingerprint: "keys".into(), ..Observed::default() },
            shown: [0; Watch::ALL.len()],
            own: [0; Watch::ALL.len()],
            known: BTreeMap::new(),
            asked: Vec::new(),
            doing: None,
            requeue: None,
            asks: false,
            idle: false,
        };
        new.see_all(world);
        new
    }

    pub(crate) fn now(&self, world: &World) -> Timestamp {
        world.now + self.skew
    }

    pub(crate) fn busy(&self) -> bool {
        self.doing.is_some()
    }

    pub(crate) fn see_all(&mut self, world: &World) {
        for watch in Watch::ALL {
            self.see(world, watch);
        }
    }

    /// A watch brings the cache of one kind to the present.
    pub(crate) fn see(&mut self, world: &World, watch: Watch) {
        let (seen, is) = (&mut self.observed, &world.observed);
        self.shown[watch as usize] = world.version;
        match watch {
            Watch::Subject => {
                if self.subject.generation != world.subject.generation {
                    seen.refused.clear();
                }
                self.subject = world.subject.clone();
                self.status = world.status.clone();
            }
            Watch::Revisions => {
                seen.revisions.clone_from(&is.revisions);
                seen.snapshots.clone_from(&is.snapshots);
                (seen.account, seen.keys) = (is.account, is.keys);
                seen.certificate.clone_from(&is.certificate);
                seen.network_policy.clone_from(&is.network_policy);
            }
            Watch::Deployments => seen.deployments.clone_from(&is.deployments),
            Watch::Pods => self.see_pods(world),
            Watch::Endpoints => seen.endpoints.clone_from(&is.endpoints),
            Watch::Services => seen.services.clone_from(&is.services),
            Watch::Configs => seen.configs.clone_from(&is.configs),
            Watch::Jobs => seen.jobs.clone_from(&is.jobs),
            Watch::Policies => {
                seen.policies.clone_from(&is.policies);
                seen.faults.clone_from(&is.faults);
            }
            Watch::Budgets => seen.budgets.clone_from(&is.budgets),
            Watch::Decisions => seen.decisions.clone_from(&is.decisions),
            Watch::Sources => {
                seen.sources.clone_from(&is.sources);
                seen.keys_fingerprint.clone_from(&is.keys_fingerprint);
                seen.taken.retain(|taken| is.taken.contains(taken));
            }
        }
    }

    /// Pods are watched; what their sidecars said is this operator's own knowledge.
    fn see_pods(&mut self, world: &World) {
        self.observed.pods.clone_from(&world.observed.pods);
        for pod in &mut self.observed.pods {
            let traffic = pod.sidecar.traffic.take();
            pod.sidecar = self.known.get(&pod.uid).cloned().unwrap_or_default();
            pod.sidecar.traffic = traffic.map(|mut traffic| {
                traffic.at += self.skew;
                traffic
            });
        }
        if self.known.len() > 40 {
            let pods = &world.observed.pods;
            self.known.retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
        }
    }

    /// Whom it asked may answer, and its sidecars tell what they counted.
    pub(crate) fn hear(&mut self, world: &World, outside: &Outside, dice: &mut Dice) {
        let now = self.now(world);
        let answers = &mut self.observed.answers;
        self.asked.retain(|question| match outside.answer(dice, question, now) {
            None => true,
            Some(answer) => {
                answers.push(answer);
                false
            }
        });
        answers.drain(..answers.len().saturating_sub(ANSWERS));
        self.observed.tallies = outside.counted(dice, &self.subject.spec, &self.status, now);
    }

    /// A question that is open, or was answered, is not asked again.
    fn ask(&mut self, question: &Question) {
        if self.is_known(question) {
            return;
        }
        self.asked.push(question.clone());
        self.asked.drain(..self.asked.len().saturating_sub(ANSWERS));
    }

    fn is_known(&self, question: &Question) -> bool {
        self.asked.iter().any(|asked| asked.id == question.id)
            || self.observed.answers.iter().any(|answer| answer.id == question.id)
    }

    /// Whether the caches show everything that this operator wrote.
    pub(crate) fn sees_own(&self) -> bool {
        self.shown.iter().zip(&self.own).all(|(shown, own)| shown >= own)
    }

    /// Reads its caches and makes a plan.
    pub(crate) fn plan(
        &mut self,
        world: &World,
        twice: bool,
    ) -> Result<Vec<Reason>, crate::world::check::Violation> {
        self.subject.leader_epoch = self.epoch;
        let now = self.now(world);
        let made = plan(&self.subject, &self.observed, &self.status, now);
        if twice {
            let again = plan(&self.subject, &self.observed, &self.status, now);
            holds(made == again, Invariant::Converges, || "a plan is a function of its arguments".into())?;
        }
        let sight = Sight::new(&self.subject, &self.observed, &self.status, &made.status).at(now);
        let fresh = self.shown.iter().all(|shown| *shown == world.version);
        let stamped = self.status.leader_epoch == self.epoch;
        let fresh = fresh && stamped;
        let open = fresh && sight.back && way_back_is_open(&self.status, &sight, now);
        let reasons = made.events.iter().map(|event| event.reason).collect();
        let nothing = |write: &Write| matches!(write, Write::Ask(question) if self.is_known(question));
        self.idle = made.status == self.status && made.writes.iter().all(nothing);
        self.requeue = made.requeue;
        let answered =
            |question: &Question| self.observed.answers.iter().any(|answer| answer.id == question.id);
        let asks = |write: &Write| matches!(write, Write::Ask(question) if !answered(question));
        self.asks = made.writes.iter().any(asks);
        if self.idle {
            return Ok(reasons);
        }
        self.doing = Some(Doing {
            status: (made.status != self.status).then(|| Box::new(made.status)),
            version: self.subject.resource_version.clone(),
            writes: made.writes.into(),
            sight,
            fresh,
            open,
        });
        Ok(reasons)
    }

    /// Makes the next write of the plan.
    pub(crate) fn go_on(
        &mut self,
        world: &mut World,
        answer: Answer,
    ) -> Result<Did, crate::world::check::Violation> {
        let Some(mut doing) = self.doing.take() else { return Ok(Did::default()) };
        let mut did = Did::default();
        let (selects, runs, _) = users(world);
        if let Some(status) = doing.status.take() {
            did.wrote = true;
            did.failed = !self.write_status(world, *status, &doing, answer)?;
        } else if let Some(write) = doing.writes.pop_front() {
            did.wrote = true;
            did.failed = !self.write(world, &write, &mut doing, answer)?;
        }
        never_emptied(world, &doing, (selects, runs))?;
        if did.failed {
            return Ok(did);
        }
        if doing.writes.is_empty() {
            did.whole = true;
            returned(world, &doing)?;
            served(world, &doing)?;
        } else {
            self.doing = Some(doing);
        }
        Ok(did)
    }

    fn write_status(
        &mut self,
        world: &mut World,
        status: ShopServiceStatus,
        doing: &Doing,
        answer: Answer,
    ) -> Result<bool, crate::world::check::Violation> {
        if answer == Answer::Failed || doing.version != world.subject.resource_version {
            return Ok(false);
        }
        world.check_status(&doing.sight, &status)?;
        world.take_status(status);
        self.own[Watch::Subject as usize] = world.version;
        Ok(answer != Answer::Lost)
    }

    fn write(
        &mut self,
        world: &mut World,
        write: &Write,
        doing: &mut Doing,
        answer: Answer,
    ) -> Result<bool, crate::world::check::Violation> {
        if answer == Answer::Failed {
            return Ok(false);
        }
        doing.sight.replaced = self.epoch < world.subject.leader_epoch;
        let checked = world.check_write(&doing.sight, write);
        if let Some(object) = write.object("order")
            && !self.accepted(world, &object)
        {
            return Ok(false);
        }
        if let Write::Ask(question) = write {
            self.ask(question);
            return Ok(true);
        }
        if let Write::PushDocument { pods, .. } | Write::PushEndpoints { pods, .. } = write {
            let uids: Vec<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
            self.push(world, write, &uids, answer);
            return Ok(true);
        }
        let (leader, epoch) = (world.subject.leader_epoch, self.epoch);
        world.subject.leader_epoch = epoch;
        let done = world.write(write);
        world.subject.leader_epoch = leader;
        if done.is_err() {
            return Ok(false);
        }
        // A write that the API server refuses harms nobody.
        checked?;
        if let Write::CheckTemplate { .. } = write {
            // The answer to a dry run is this operator's own.
            self.observed.checked.clone_from(&world.observed.checked);
        }
        if let Some(watch) = Watch::of(write) {
            self.own[watch as usize] = world.version;
        }
        Ok(answer != Answer::Lost)
    }

    /// Whether the API server takes this object at all.
    fn accepted(&mut self, world: &World, object: &ObjectRef) -> bool {
        if world.observed.taken.contains(object) {
            self.observed.taken.push(object.clone());
            return false;
        }
        if world.observed.refused.iter().any(|refused| refused.object == *object) {
            let at = self.now(world);
            self.observed.refused.retain(|refused| refused.object != *object);
            self.observed.refused.push(Refusal { object: object.clone(), at, message: "invalid".into() });
            return false;
        }
        true
    }

    /// Sidecars answer this operator alone: what it knows of them is put in their place for the moment.
    fn push(&mut self, world: &mut World, write: &Write, uids: &[String], answer: Answer) {
        let is = |pod: &shop_release::Pod| uids.contains(&pod.uid);
        let mut kept: Vec<(String, SidecarView)> = Vec::new();
        for pod in world.observed.pods.iter_mut().filter(|pod| is(pod)) {
            let known = self.known.get(&pod.uid).cloned().unwrap_or_default();
            kept.push((pod.uid.clone(), mem::replace(&mut pod.sidecar, known)));
        }
        let (leader, now) = (world.subject.leader_epoch, world.now);
        world.subject.leader_epoch = self.epoch;
        world.now = self.now(world);
        // A push that fails does not fail the plan.
        let _ = world.write(write);
        world.now = now;
        world.subject.leader_epoch = leader;
        for pod in world.observed.pods.iter_mut().filter(|pod| is(pod)) {
            let Some((_, before)) = kept.iter().find(|(uid, _)| *uid == pod.uid) else { continue };
            let told = mem::replace(&mut pod.sidecar, before.clone());
            if answer != Answer::Lost {
                if let Some(seen) = self.observed.pods.iter_mut().find(|seen| seen.uid == pod.uid) {
                    let traffic = seen.sidecar.traffic.take();
                    seen.sidecar = SidecarView { traffic, ..told.clone() };
                }
                self.known.insert(pod.uid.clone(), SidecarView { traffic: None, ..told });
            }
        }
    }

    /// How far it is with how much.
    pub(crate) fn progress(&self) -> Option<(bool, usize)> {
        self.doing.as_ref().map(|doing| (doing.status.is_some(), doing.writes.len()))
    }

    /// What it does next.
    pub(crate) fn next(&self) -> String {
        let Some(doing) = &self.doing else { return "looks and plans".to_owned() };
        let status = doing.status.as_ref().map(|status| format!("status {:?}", status.phase));
        status.unwrap_or_else(|| format!("{:?}", doing.writes.front()))
    }

    /// Whether its next write scales a revision to zero.
    pub(crate) fn empties(&self) -> bool {
        let next =
            self.doing.as_ref().filter(|doing| doing.status.is_none()).and_then(|doing| doing.writes.front());
        matches!(next, Some(Write::WriteDeployment { replicas: 0, .. }))
    }

    /// It crashes and starts anew, or another one takes its place.
    pub(crate) fn replaced(&self, world: &World, epoch: i64) -> Self {
        Self::new(world, epoch, self.skew)
    }
}
