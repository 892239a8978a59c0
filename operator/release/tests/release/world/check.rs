//! What must always hold (design, section 8), checked at every write in its own words: the stories and the model check ask the
//! same questions.

mod gates;
mod shares;

use std::{cell::RefCell, collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};
use shop_crds::{
    ShopServiceStatus, Verb,
    service::release::{Promote, Release},
    status::{Phase, ReleaseState},
};
use shop_release::{Decision, JobState, ObjectKind, Observed, Policy, ServiceKind, Subject, Write};

use super::World;

/// The six of section 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Invariant {
    /// 1: users are only sent to a revision with enough ready pods.
    Enough,
    /// 2: abort and rollback end on a stable revision that is ready, in bounded steps.
    WayBack,
    /// 3: a decision moves the revision that it names and no other.
    Fenced,
    /// 4: nothing in use is scaled down or deleted.
    InUse,
    /// 5: once faults stop, it comes to rest, and then nothing is written.
    Converges,
    /// 6: config and code of revisions are never mixed.
    Unmixed,
}

impl Invariant {
    pub(crate) const ALL: [Self; 6] =
        [Self::Enough, Self::WayBack, Self::Fenced, Self::InUse, Self::Converges, Self::Unmixed];
}

/// What does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "invariant {} ({:?}): {}", self.invariant as u8 + 1, self.invariant, self.what)
    }
}

thread_local! {
    /// How often each was asked for on this thread.
    pub(crate) static CHECKED: RefCell<[u64; 6]> = const { RefCell::new([0; 6]) };
}

pub(crate) type Holds = Result<(), Violation>;

/// Holds, or is violated for this reason.
pub(crate) fn holds(is: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Holds {
    CHECKED.with_borrow_mut(|checked| checked[invariant as usize] += 1);
    if is { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// What a plan was made from, as far as the checks need it: what changed since the read cannot be known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// `spec.replicas`.
    pub(crate) wanted: i32,
    /// `spec.release`.
    release: Release,
    /// Whether the plan leads back.
    pub(crate) back: bool,
    /// Whether another operator leads by now: a create of it that comes late cannot be fenced, and what it leaves is swept.
    pub(crate) replaced: bool,
    /// What the users' Service selects.
    users: Option<i64>,
    /// Ready pods by revision, those of another image not counted.
    ready: BTreeMap<i64, i32>,
    /// Those of them that a share can be handed to.
    takers: BTreeMap<i64, Vec<shares::Taker>>,
    /// `spec.replicas` of Deployments.
    sizes: BTreeMap<i64, i32>,
    decisions: Vec<Decision>,
    /// The release that the plan carries out, where its strategy is that nothing runs twice.
    recreate: Option<ReleaseState>,
    /// Whether the old revision of that one is being stopped.
    stopping: bool,
    /// Pods by revision, terminating ones too.
    pods: BTreeMap<i64, i32>,
    /// When, by the operator's clock.
    now: Timestamp,
    policies: Vec<Policy>,
    /// Questions that were answered with 200, 201 or 202.
    yes: Vec<String>,
    /// Jobs, and whether they succeeded.
    jobs: Vec<(String, bool)>,
    /// What each revision's sidecars hand over, in parts of 10,000.
    handed: BTreeMap<i64, i64>,
}

impl Sight {
    /// `status` is what was read, `next` what the plan makes of it.
    pub(crate) fn new(
        subject: &Subject,
        observed: &Observed,
        status: &ShopServiceStatus,
        next: &ShopServiceStatus,
    ) -> Self {
        let mut ready = BTreeMap::new();
        shares::ready(observed, status).for_each(|pod| *ready.entry(pod.revision).or_default() += 1);
        let mut pods = BTreeMap::new();
        observed.pods.iter().for_each(|pod| *pods.entry(pod.revision).or_default() += 1);
        Self {
            recreate: next.release.clone().filter(|release| release.recreate),
            stopping: matches!(next.phase, Some(Phase::Scaling | Phase::Switching)),
            pods,
            wanted: subject.spec.replicas,
            release: subject.release(),
            back: next.phase == Some(Phase::Aborting),
            replaced: false,
            users: observed.services.get(&ServiceKind::Users).and_then(|one| one.selects),
            ready,
            takers: shares::takers(observed, status),
            sizes: observed.deployments.iter().map(|one| (one.revision, one.replicas)).collect(),
            decisions: observed.decisions.clone(),
            now: Timestamp::UNIX_EPOCH,
            policies: observed.policies.clone(),
            yes: observed
                .answers
                .iter()
                .filter(|one| one.outcome.as_ref().is_ok_and(|value| (200..=202).contains(&value.status)))
                .map(|one| one.id.clone())
                .collect(),
            jobs: observed
                .jobs
                .iter()
                .map(|one| (one.name.clone(), one.state == JobState::Succeeded))
                .collect(),
            handed: observed
                .configs
                .iter()
                .filter_map(|one| {
                    Some((one.revision, i64::from(one.document.as_ref()?.hand_off.as_ref()?.share)))
                })
                .collect(),
        }
    }

    /// Planned then, by the operator's clock.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Whether this person decided so about the revision.
    fn decides(&self, verb: Verb, revision: i64, actor: &str) -> bool {
        self.decisions
            .iter()
            .any(|one| one.spec.verb == verb && one.spec.revision == revision && one.spec.actor == actor)
    }

    /// Whether the revision may be stopped although it is in use.
    fn may_stop(&self, revision: i64) -> bool {
        self.recreate.as_ref().is_some_and(|release| {
            let back = release.aborting.is_some();
            back && release.to == revision || !back && self.stopping && release.from == Some(revision)
        })
    }

    /// Pods of the other revision, where nothing may run twice.
    fn beside(&self, revision: i64) -> i32 {
        let Some(release) = &self.recreate else { return 0 };
        let two = [release.from.unwrap_or(0), release.to];
        if !two.contains(&revision) {
            return 0;
        }
        two.iter().filter(|one| **one != revision).filter_map(|one| self.pods.get(one)).sum()
    }

    pub(crate) fn ready(&self, revision: i64) -> i32 {
        self.ready.get(&revision).copied().unwrap_or(0)
    }

    /// `spec.replicas` of the revision's Deployment.
    pub(crate) fn size(&self, revision: i64) -> i32 {
        self.sizes.get(&revision).copied().unwrap_or(0)
    }

    /// Whether `next` has enough ready pods for the users that `now` has.
    pub(crate) fn enough(&self, now: i64, next: i64, back: bool) -> bool {
        let (leaves, takes) = (self.ready(now), self.ready(next));
        let size = self.sizes.get(&now).copied().unwrap_or(self.wanted);
        let may_miss = if size >= 20 { (size + 9) / 10 } else { 1 };
        takes >= (leaves - may_miss).min(self.wanted).max(1) || (back && takes >= 1 && takes > leaves)
    }
}

impl World {
    /// A status that is about to be written.
    pub(crate) fn check_status(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        let old = &self.status;
        if old.last_revision > 0 && next.last_revision > 0 {
            holds(next.last_revision >= old.last_revision, Invariant::Unmixed, || {
                format!("the last number sinks from {} to {}", old.last_revision, next.last_revision)
            })?;
            holds(next.role_epoch >= old.role_epoch, Invariant::Fenced, || "the role epoch sinks".into())?;
        }
        let number =
            |one: &Option<shop_crds::status::RevisionRef>| one.as_ref().map_or(0, |one| one.revision);
        let (left, taken) = (number(&old.active), number(&next.active));
        if left != taken && left != 0 && taken != 0 {
            let told = next.role_epoch > old.role_epoch || old.phase == Some(Phase::Aborting);
            holds(told, Invariant::Fenced, || "users move without an epoch of their own".into())?;
        }
        holds(next.revisions.len() <= 24, Invariant::Converges, || "revisions are not bounded".into())?;
        for revision in &next.revisions {
            let stored = self.observed.revisions.iter().find(|stored| stored.number == revision.number);
            holds(
                stored.is_none_or(|stored| stored.facts.hash == revision.hash),
                Invariant::Unmixed,
                || format!("revision {} is stored with other inputs", revision.number),
            )?;
            let known = self.meanings.get(&revision.number);
            holds(known.is_none_or(|known| *known == revision.hash), Invariant::Unmixed, || {
                format!("revision {} got other inputs", revision.number)
            })?;
        }
        self.check_restarted(sight, next)?;
        self.check_decided(sight, next)?;
        self.check_gates(sight, next)
    }

    /// Restarts are counted for the revision that users have, and because somebody decided so.
    fn check_restarted(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        let active = next.active.as_ref().map(|active| active.revision);
        for old in &self.status.revisions {
            let counted = next.revisions.iter().find(|one| one.number == old.number);
            if counted.is_none_or(|counted| counted.restarts <= old.restarts) {
                continue;
            }
            let named = |one: &Decision| one.spec.verb == Verb::Restart && one.spec.revision == old.number;
            let decided = sight.decisions.iter().any(named);
            holds(decided && active == Some(old.number), Invariant::Fenced, || {
                format!("revision {} is restarted, and users have {active:?}", old.number)
            })?;
        }
        Ok(())
    }

    /// What decisions did in a status that is about to be written.
    fn check_decided(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        let Some(release) = &next.release else { return Ok(()) };
        let before = self.status.release.as_ref();
        let same = before.filter(|before| before.to == release.to && before.started == release.started);
        let fresh = release
            .decision
            .as_ref()
            .filter(|name| before.and_then(|before| before.decision.as_ref()) != Some(*name));
        if let Some(decision) = fresh.and_then(|name| sight.decisions.iter().find(|one| one.name == *name)) {
            self.check_decision(decision, next)?;
        }
        // Those that were noted before may have lost their decision: only so many are kept.
        let noted = |approval| same.is_some_and(|same| same.approvals.contains(approval));
        for approval in release.approvals.iter().filter(|approval| !noted(*approval)) {
            holds(sight.decides(Verb::Promote, release.to, &approval.by), Invariant::Fenced, || {
                format!("{} did not decide for revision {}", approval.by, release.to)
            })?;
        }
        if let Some(paused) = &release.paused {
            let known = same.is_some_and(|same| same.paused.as_ref() == Some(paused));
            holds(known || sight.decides(Verb::Pause, release.to, &paused.by), Invariant::Fenced, || {
                format!("{} did not pause revision {}", paused.by, release.to)
            })?;
            holds(release.aborting.is_none(), Invariant::WayBack, || "a way back is paused".into())?;
        }
        let promoted = release.promoted_by.as_ref().filter(|_| !release.returning);
        let newly = same.is_none_or(|same| same.promoted_by != release.promoted_by);
        if let Some(by) = promoted.filter(|_| newly) {
            let decided = by.split(", ").all(|who| sight.decides(Verb::Promote, release.to, who));
            let automatic = match by.strip_prefix("spec.release.") {
                Some(word) if word.starts_with("promote: ") => sight.release.promote == Promote::Automatic,
                Some(word) if word.starts_with("promoteAfter: ") => sight.release.promote_after.is_some(),
                Some(word) => word.starts_with("rollbackWindow: ") && release.straight,
                None => by.starts_with("before the status was lost"),
            };
            holds(decided || automatic, Invariant::Fenced, || {
                format!("revision {} is promoted by {by}, who decided otherwise", release.to)
            })?;
        }
        Ok(())
    }

    /// A decision that has just begun to move a release is for this release, and was not answered before.
    fn check_decision(&self, decision: &Decision, next: &ShopServiceStatus) -> Holds {
        let Some(release) = &next.release else { return Ok(()) };
        let (spec, name) = (&decision.spec, &decision.name);
        let returns = spec.verb == Verb::Rollback && release.aborting.is_none();
        let moves = if returns { release.from } else { Some(release.to) };
        holds(moves == Some(spec.revision), Invariant::Fenced, || {
            format!("{name} ({:?} of {}) moves revision {moves:?}", spec.verb, spec.revision)
        })?;
        let answered = decision.status.as_ref().is_some_and(|status| status.outcome.is_some());
        holds(!answered, Invariant::Fenced, || format!("{name} was answered, and moves again"))?;
        let before = self.status.release.as_ref().filter(|before| before.to == release.to);
        if let Some(before) = before.filter(|_| spec.verb == Verb::Promote) {
            let late = decision.created + SignedDuration::from_secs(1) > before.started.0;
            holds(late, Invariant::Fenced, || format!("{name} is older than the release that it moves"))?;
        }
        let wanted = spec.digest.as_ref().filter(|_| spec.verb == Verb::Promote);
        let runs = next.revisions.iter().find(|one| one.number == release.to);
        let runs = runs.and_then(|one| one.digest.as_ref());
        holds(wanted.is_none() || wanted == runs, Invariant::Fenced, || {
            format!("{name} is for {wanted:?}, and promotes {runs:?}")
        })
    }

    /// A write that is about to be made from what was seen.
    pub(crate) fn check_write(&self, sight: &Sight, write: &Write) -> Holds {
        match write {
            Write::WriteService { service, selects, .. } if *service != ServiceKind::Preview => {
                let moved = self.observed.services.get(service).and_then(|one| one.selects);
                match (sight.users, moved.is_some_and(|moved| moved != *selects)) {
                    (Some(now), true) => check_enough(sight, now, *selects),
                    _ => Ok(()),
                }
            }
            Write::WriteDeployment { revision, replicas, .. } => {
                let found = self.observed.deployments.iter().find(|one| one.revision == *revision);
                let lowers = found.is_some_and(|found| *replicas < found.replicas);
                let rises = *replicas > found.map_or(0, |found| found.replicas);
                holds(!rises || sight.beside(*revision) == 0, Invariant::InUse, || {
                    format!("revision {revision} runs beside another one, and the strategy is recreate")
                })?;
                let stops = *replicas == 0 && sight.may_stop(*revision);
                if lowers && *replicas < sight.wanted && !stops {
                    self.check_unused(*revision, *replicas > 0)?;
                }
                if *replicas == 0 || sight.replaced {
                    return Ok(());
                }
                if found.is_none_or(|found| found.replicas == 0) {
                    self.check_expanded(sight, *revision)?;
                }
                self.check_ground(*revision)
            }
            Write::CreateJob { name, revision, .. } => self.check_job(sight, name, *revision),
            Write::Delete { object, .. } => {
                holds(object.kind != ObjectKind::Service, Invariant::InUse, || {
                    "a Service is deleted".into()
                })?;
                self.check_deleted(sight, object.kind, &object.name)
            }
            Write::WriteConfig { document, .. } => {
                self.check_share(sight, document)?;
                self.check_document(sight, document)
            }
            Write::CreateRevision { revision, inputs, facts } => {
                let known = self.status.revisions.iter().find(|one| one.number == *revision);
                let own = inputs.hash() == facts.hash || *revision == 0;
                let same = own && known.is_none_or(|known| known.hash == facts.hash);
                holds(same, Invariant::Unmixed, || format!("revision {revision} is stored with other inputs"))
            }
            _ => Ok(()),
        }
    }

    /// What a revision's pods need is there before they are, and is its own.
    fn check_ground(&self, revision: i64) -> Holds {
        let stored = self.observed.revisions.iter().find(|one| one.number == revision);
        let snapshots = stored.map(|stored| &stored.facts.snapshots).into_iter().flatten();
        for snapshot in snapshots {
            let copied = self
                .observed
                .snapshots
                .iter()
                .any(|one| one.snapshot == *snapshot && one.revision == revision);
            holds(copied, Invariant::Unmixed, || {
                format!("revision {revision} runs without its {snapshot:?}")
            })?;
        }
        let told = self.observed.configs.iter().any(|one| one.revision == revision) || revision == 0;
        holds(told && stored.is_some(), Invariant::Unmixed, || {
            format!("revision {revision} runs without its document or its facts")
        })
    }

    fn check_document(&self, sight: &Sight, document: &shop_release::SidecarDocument) -> Holds {
        let stored = self.observed.revisions.iter().find(|one| one.number == document.revision);
        let own = stored.map_or(sight.replaced, |stored| {
            let facts = &stored.facts;
            i32::from(document.port) == facts.port
                && document.protocol == facts.protocol
                && document.readiness_path == facts.readiness_path
                && u128::from(document.drain_max_ms) == facts.drain_max.duration().as_millis()
        });
        holds(own, Invariant::Unmixed, || {
            format!("the document of revision {} says what the revision does not", document.revision)
        })
    }

    /// Whether the revision has pods to be, and not because somebody else wants it so.
    fn runs(&self, revision: i64) -> bool {
        self.observed
            .deployments
            .iter()
            .any(|one| one.revision == revision && one.replicas > 0 && !one.drifted)
    }

    /// Nothing sends requests to the revision; one that keeps pods may be looked at.
    fn check_unused(&self, revision: i64, keeps: bool) -> Holds {
        // What somebody else changed after the read cannot be known.
        for (kind, service) in self.observed.services.iter().filter(|(_, service)| !service.drifted) {
            if keeps && *kind == ServiceKind::Preview {
                continue;
            }
            holds(service.selects != Some(revision), Invariant::InUse, || {
                format!("{kind:?} selects revision {revision}, which is scaled down")
            })?;
        }
        for config in &self.observed.configs {
            let runs = self.runs(config.revision);
            let to = config.document.as_ref().and_then(|document| document.hand_off.as_ref());
            let to = to.map(|hand_off| hand_off.to_revision);
            holds(!(runs && to == Some(revision)), Invariant::InUse, || {
                format!(
                    "revision {} hands over to revision {revision}, which is scaled down",
                    config.revision
                )
            })?;
        }
        Ok(())
    }

    /// Nothing of a revision that runs or is selected is deleted.
    fn check_deleted(&self, sight: &Sight, kind: ObjectKind, name: &str) -> Holds {
        // Decisions and Jobs are about a revision, and nothing that it runs on.
        let other = matches!(kind, ObjectKind::ReleaseDecision | ObjectKind::Job);
        let rest = name.strip_prefix("order-r").filter(|_| !other);
        let digits: String = rest.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let Ok(revision) = digits.parse::<i64>() else { return Ok(()) };
        let ordinal = name.split_once("-s").filter(|_| kind == ObjectKind::ControllerRevision);
        if let Some(ordinal) = ordinal.and_then(|(_, ordinal)| ordinal.parse::<i64>().ok()) {
            // The record of a restart: any but the one in use may go.
            let deployment = self.observed.deployments.iter().find(|one| one.revision == revision);
            let used = deployment.is_some_and(|one| one.replicas > 0 && one.restart == ordinal);
            return holds(!used, Invariant::InUse, || format!("{name} is deleted, which is in use"));
        }
        // Budgets are not stamped: one that an older leader deletes is made anew by the leader's next pass.
        // Nor can the late create of an older leader be known.
        let known = sight.sizes.contains_key(&revision);
        let runs =
            known && self.runs(revision) && !(sight.replaced && kind == ObjectKind::PodDisruptionBudget);
        holds(!runs, Invariant::InUse, || format!("{kind:?} {name} is deleted while its revision runs"))?;
        if kind == ObjectKind::PodDisruptionBudget { Ok(()) } else { self.check_unused(revision, false) }
    }
}

fn check_enough(sight: &Sight, now: i64, next: i64) -> Holds {
    if sight.recreate.as_ref().is_some_and(|release| release.aborting.is_some()) && sight.beside(next) == 0 {
        // The way back of what cannot run twice: nobody is served any more.
        return Ok(());
    }
    // Who has a revision without pods loses nothing.
    let nobody = sight.size(now) == 0 && sight.ready(now) == 0;
    if now == next || sight.wanted == 0 || nobody {
        return Ok(());
    }
    holds(sight.enough(now, next, sight.back), Invariant::Enough, || {
        let (leaves, takes) = (sight.ready(now), sight.ready(next));
        format!("users of revision {now} ({leaves} ready) are sent to revision {next} ({takes} ready)")
    })
}
