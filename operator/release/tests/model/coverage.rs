//! What was explored: steps, states, which fault hit which phase, which reasons were given. A check that has not looked everywhere
//! does not pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use shop_crds::{Reason, status::Phase};
use shop_release::JobState;

use crate::{
    faults::Fault,
    operator::Operator,
    reasons::Reached,
    world::{
        World,
        check::{CHECKED, Holds, Invariant, holds},
    },
};

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) steps: u64,
    pub(crate) walks: u64,
    pub(crate) plans: u64,
    pub(crate) writes: u64,
    checked: [u64; 6],
    states: HashSet<u64>,
    faults: BTreeMap<(&'static str, Fault), u64>,
    /// Reasons that were given anywhere: in conditions, events, answers to decisions.
    reached: Reached,
    /// Reasons that something was waited for, and in which phases.
    blocked: BTreeMap<Reason, BTreeSet<&'static str>>,
    rested: BTreeMap<Option<Reason>, u64>,
}

impl Coverage {
    pub(crate) fn fault(&mut self, phase: Phase, fault: Fault) {
        *self.faults.entry((phase.as_str(), fault)).or_default() += 1;
    }

    pub(crate) fn told(&mut self, reasons: &[Reason]) {
        self.reached.told(reasons);
    }

    /// Where a walk ended, with the answers that decisions got.
    pub(crate) fn rested(&mut self, world: &World) {
        *self.rested.entry(world.blocked()).or_default() += 1;
        let answers = world.observed.decisions.iter().filter_map(|one| one.status.as_ref()?.reason);
        self.reached.told(&answers.collect::<Vec<_>>());
    }

    /// Notes the state, and checks what must hold in each.
    pub(crate) fn state(&mut self, world: &World, operators: &[Operator]) -> Holds {
        self.states.insert(fingerprint(world, operators));
        if let Some(blocked) = &world.status.blocked {
            self.blocked.entry(blocked.reason).or_default().insert(world.phase().as_str());
        }
        self.reached.state(&world.status);
        says_why(world)?;
        keeps_the_way_back(world)?;
        bounded(world)?;
        of_one_piece(world)
    }

    /// Takes over what this thread counted.
    pub(crate) fn take_checked(&mut self) {
        CHECKED.with_borrow_mut(|checked| {
            self.checked
                .iter_mut()
                .zip(checked.iter_mut())
                .for_each(|(all, one)| *all += std::mem::take(one));
        });
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.walks += other.walks;
        self.plans += other.plans;
        self.writes += other.writes;
        self.checked.iter_mut().zip(other.checked).for_each(|(all, one)| *all += one);
        self.states.extend(other.states);
        other.faults.into_iter().for_each(|(key, count)| *self.faults.entry(key).or_default() += count);
        self.reached.add(other.reached);
        other
            .blocked
            .into_iter()
            .for_each(|(key, phases)| self.blocked.entry(key).or_default().extend(phases));
        other.rested.into_iter().for_each(|(key, count)| *self.rested.entry(key).or_default() += count);
    }

    /// Every fault hit every phase, and every invariant was asked for.
    pub(crate) fn assert_complete(&self, steps: u64) {
        // A short exploration does not get everywhere.
        if steps < 200_000 {
            return;
        }
        let missed: Vec<(&str, Fault)> = Phase::ALL
            .iter()
            .flat_map(|phase| Fault::ALL.iter().map(|fault| (phase.as_str(), *fault)))
            .filter(|cell| !self.faults.contains_key(cell))
            .collect();
        assert!(missed.is_empty(), "never happened: {missed:?}");
        assert!(self.checked.iter().all(|count| *count > 500), "{:?}", self.checked);
        if steps >= 1_000_000 {
            self.reached.assert_complete();
        }
    }
}

/// Every state says what it waits for and what is going on.
fn says_why(world: &World) -> Holds {
    let status = &world.status;
    if status.observed_generation.is_none() {
        return Ok(());
    }
    let text = |found: Option<&String>| found.is_some_and(|text| !text.is_empty());
    let condition =
        |kind: &str| status.conditions.iter().find(|one| one.type_ == kind && !one.message.is_empty());
    let named = ["Ready", "Progressing", "Blocked"].iter().all(|kind| condition(kind).is_some());
    let waits = status.blocked.as_ref().is_none_or(|blocked| {
        !blocked.message.is_empty() && (blocked.command.is_some() || blocked.next_check.is_some())
    });
    let going = status.release.is_none()
        || status.blocked.is_some()
        || condition("Progressing").is_some_and(|one| one.status == "True");
    holds(text(status.message.as_ref()) && named && waits && going, Invariant::Converges, || {
        format!("a state without a reason: {}", world.describe())
    })
}

/// While users are to go back, the revision they go back to is kept, and named as the stable one.
fn keeps_the_way_back(world: &World) -> Holds {
    let status = &world.status;
    let Some(release) = status.release.as_ref().filter(|release| release.aborting.is_some()) else {
        return Ok(());
    };
    let from = release.from;
    let stable = status.stable.as_ref().map(|stable| stable.revision);
    holds(from.is_some() && stable == from, Invariant::WayBack, || {
        format!("users go back to {from:?}, but {stable:?} is stable")
    })
}

fn bounded(world: &World) -> Holds {
    let status = &world.status;
    holds(status.revisions.len() <= 24, Invariant::Converges, || "revisions are not bounded".into())
}

/// Numbers are unique, and what is stored under a number is what the status means by it.
fn of_one_piece(world: &World) -> Holds {
    let revisions = &world.status.revisions;
    let rising = revisions.windows(2).all(|pair| pair[0].number < pair[1].number);
    holds(rising, Invariant::Unmixed, || "revisions do not rise".into())
}

/// What matters of a state: times, versions and names do not.
fn fingerprint(world: &World, operators: &[Operator]) -> u64 {
    let mut hash = DefaultHasher::new();
    let status = &world.status;
    let last = status.last_revision;
    status.phase.map(Phase::as_str).hash(&mut hash);
    status.blocked.as_ref().map(|blocked| blocked.reason).hash(&mut hash);
    (status.pending.is_some(), world.subject.spec.replicas).hash(&mut hash);
    if let Some(release) = &status.release {
        (release.from.map(|from| last - from), last - release.to, release.returning, release.held)
            .hash(&mut hash);
        (release.promoted_by.is_some(), release.succeeded.is_some(), release.healthy_since.is_some())
            .hash(&mut hash);
        (release.step, release.weight, release.straight).hash(&mut hash);
        release.failing.as_ref().map(|failing| failing.reason).hash(&mut hash);
        release.analysis.as_ref().map(|one| (one.stage.as_str(), one.step, one.outcome)).hash(&mut hash);
        let gates = release.gates.as_ref();
        gates
            .map(|one| (one.freeze.is_some(), one.confirm.as_ref().map(|gate| gate.confirmed)))
            .hash(&mut hash);
        (release.force, release.paused.is_some(), release.approvals.len()).hash(&mut hash);
        release
            .aborting
            .as_ref()
            .map(|abort| (abort.reason, abort.traffic, abort.back_since.is_some()))
            .hash(&mut hash);
    }
    for state in &status.revisions {
        (last - state.number, state.proven, state.barred, state.expanded).hash(&mut hash);
        state.contract.as_ref().map(|run| run.state as u8).hash(&mut hash);
    }
    let observed = &world.observed;
    for (kind, service) in &observed.services {
        (*kind, service.selects.map(|to| last - to), service.drifted).hash(&mut hash);
    }
    for deployment in &observed.deployments {
        let pods = observed.pods.iter().filter(|pod| pod.revision == deployment.revision);
        let (ready, all) = pods.fold((0, 0), |(ready, all), pod| (ready + u32::from(pod.ready), all + 1));
        (last - deployment.revision, deployment.replicas, deployment.drifted, ready, all).hash(&mut hash);
    }
    for config in &observed.configs {
        let to = config.document.as_ref().and_then(|document| document.hand_off.as_ref());
        (last - config.revision, to.map(|to| last - to.to_revision)).hash(&mut hash);
    }
    for job in &observed.jobs {
        (last - job.revision, job.state == JobState::Running, job.state == JobState::Succeeded)
            .hash(&mut hash);
    }
    for operator in operators {
        operator.progress().hash(&mut hash);
    }
    hash.finish()
}

impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, walks, plans, writes, .. } = self;
        writeln!(
            out,
            "model: {steps} steps, {} states, {walks} walks, {plans} plans, {writes} writes",
            self.states.len()
        )?;
        for (invariant, count) in Invariant::ALL.iter().zip(self.checked) {
            writeln!(out, "  invariant {} {invariant:?}: asked {count} times", *invariant as u8 + 1)?;
        }
        let cells = Phase::ALL.len() * Fault::ALL.len();
        writeln!(out, "  faults in phases: {} of {cells}", self.faults.len())?;
        writeln!(out, "  waited for: {:?}", self.blocked)?;
        writeln!(out, "{}", self.reached)?;
        writeln!(out, "  rested: {:?}", self.rested)
    }
}
