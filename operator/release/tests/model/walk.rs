//! Random walks: each is led to a phase, something happens there, then a storm of faults follows; when it stops, everything must
//! come to rest, and rest there.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::SignedDuration;
use shop_crds::{DecisionOutcome, Reason, Verb, service::release::Promote, status::Phase};
use shop_release::{JobState, Source, SourceKind, SourceState};

use crate::{
    actions::happen,
    coverage::Coverage,
    faults::Fault,
    operator::{Answer, Operator, Watch},
    outside::{Load, Outside},
    policies,
    world::{
        Dice, World,
        check::{Holds, Invariant, holds},
        spec, steps,
    },
};

/// Steps within which everything has come to rest after the last fault.
const REST: usize = 4_000;
/// Operators that were replaced and do not know it, at most.
const OLD: usize = 2;

/// Whether some walk has found something: the others stop.
static FOUND: AtomicBool = AtomicBool::new(false);

pub(crate) struct Walk {
    pub(crate) world: World,
    /// The last one is the leader.
    pub(crate) operators: Vec<Operator>,
    pub(crate) coverage: Coverage,
    dice: Dice,
    outside: Outside,
    late: bool,
    seed: u64,
    trace: Vec<String>,
    /// Whether every step is told as it is taken.
    aloud: bool,
}

/// One walk by its seed, told step by step.
pub(crate) fn again(seed: u64, first: u64, of: u64) {
    let mut walk = Walk::new(seed, Coverage::default());
    walk.aloud = true;
    walk.whole(seed.wrapping_sub(first) / of);
}

/// Walks of one of `of` parts of all seeds, until so many steps are explored.
pub(crate) fn walks(seed: u64, part: u64, of: u64, steps: u64) -> Coverage {
    let mut coverage = Coverage::default();
    let mut number = part;
    while coverage.steps < steps && !FOUND.load(Ordering::Relaxed) {
        let mut walk = Walk::new(seed.wrapping_add(number), coverage);
        walk.whole(number / of);
        coverage = walk.coverage;
        number += of;
    }
    coverage.take_checked();
    coverage
}

impl Walk {
    pub(crate) fn new(seed: u64, coverage: Coverage) -> Self {
        let mut dice = Dice::new(seed);
        let mut world = World::new(spec("good-1", i32::try_from(dice.roll(3)).unwrap() + 1));
        world.observed.sources = vec![Source {
            kind: SourceKind::ConfigMap,
            name: "settings".into(),
            state: SourceState::Found { hash: "content-0".into(), bytes: 5 },
        }];
        world.apply(|spec| {
            spec.config =
                serde_json::from_str(r#"[{"configMap": "settings", "mountPath": "/etc/x"}]"#).unwrap();
        });
        world.linger = i64::try_from(dice.roll(20)).unwrap();
        let skew = SignedDuration::from_millis(i64::try_from(dice.roll(2_000)).unwrap() - 1_000);
        if dice.one_in(3) {
            for fault in [Fault::AnalysisPolicy, Fault::ConfirmPolicy, Fault::JobsPolicy] {
                policies::change(&mut world, &mut dice, fault);
            }
        }
        if dice.one_in(3) {
            steps::change(&mut world, &mut dice, false);
        }
        let operators = vec![Operator::new(&world, 1, skew)];
        let mut outside = Outside::well();
        if dice.one_in(6) {
            outside.change(&mut dice);
        }
        Self { world, operators, coverage, dice, outside, late: false, seed, trace: Vec::new(), aloud: false }
    }

    /// Led to a phase, a fault there, a storm, and rest.
    fn whole(&mut self, number: u64) {
        self.coverage.walks += 1;
        let cells = (Phase::ALL.len() * Fault::ALL.len()) as u64;
        let cell = usize::try_from(number % cells).unwrap();
        let (phase, fault) = (Phase::ALL[cell % Phase::ALL.len()], Fault::ALL[cell / Phase::ALL.len()]);
        if number % 12 == 5 {
            self.duel();
        } else if self.lead_to(phase) {
            self.fault(fault);
        }
        let calm = [3, 8, 20, 60][self.dice.below(4)];
        let length = 40 + self.dice.below(220);
        for _ in 0..length {
            self.random_step(calm);
        }
        self.stop_faults();
        self.settle();
    }

    /// Goes on without faults until the phase is reached; false where that takes too long.
    fn lead_to(&mut self, phase: Phase) -> bool {
        let manual = matches!(phase, Phase::Verifying) || self.dice.one_in(6);
        for turn in 0..600 {
            if self.world.phase() == phase && (phase != Phase::Stable || turn > 60) {
                return true;
            }
            if self.world.stable() && self.world.status.last_revision == 1 && self.leader().idle {
                self.world.release(|release| {
                    release.promote = if manual { Promote::Manual } else { Promote::Automatic };
                });
                let image = if self.dice.one_in(8) { "fades-7" } else { "good-2" };
                self.world.image(image);
            }
            let waits = self.world.blocked() == Some(Reason::AwaitingPromotion);
            if waits && phase != Phase::Verifying {
                self.world.decide(Verb::Promote, 2);
            }
            let deep = matches!(self.world.phase(), Phase::Shifting | Phase::Switching | Phase::Watching);
            if phase == Phase::Aborting && deep && self.dice.one_in(6) {
                self.world.decide(Verb::Abort, 2);
            }
            if !self.leader().busy() && self.leader().idle {
                self.pass_time(300);
                self.operators.last_mut().unwrap().idle = false;
            } else {
                self.work(Answer::Fine, true);
            }
        }
        false
    }

    /// A leader is about to scale the old revision to zero when another one takes over and brings the users back there.
    fn duel(&mut self) {
        if !self.lead_to(Phase::Draining) {
            return;
        }
        for _ in 0..400 {
            if self.leader().empties() {
                break;
            }
            self.work(Answer::Fine, true);
            if !self.leader().busy() {
                self.pass_time(500);
            }
        }
        self.fault(Fault::NewLeader);
        self.fault(Fault::Rollback);
        for _ in 0..self.dice.below(40) {
            self.work(Answer::Fine, true);
        }
        self.act(0, Answer::Fine, false);
        self.pass_time(700);
    }

    fn leader(&self) -> &Operator {
        self.operators.last().unwrap()
    }

    /// One step of whatever comes.
    fn random_step(&mut self, calm: u64) {
        if self.dice.one_in(calm) {
            let fault = Fault::any(&mut self.dice);
            self.fault(fault);
        } else if self.dice.one_in(4) {
            let most = [100, 400, 1_500, 6_000, 25_000][self.dice.below(5)];
            let millis = self.dice.roll(most);
            self.pass_time(i64::try_from(millis).unwrap());
        } else {
            self.work(Answer::Fine, false);
        }
    }

    /// The leader makes its next write, or looks and plans.
    fn work(&mut self, answer: Answer, fresh: bool) {
        let last = self.operators.len() - 1;
        self.act(last, answer, fresh);
    }

    fn act(&mut self, which: usize, answer: Answer, fresh: bool) {
        let mut operator = self.operators.remove(which);
        if self.aloud {
            println!("{which} {}", operator.next());
        }
        let result = if operator.busy() {
            let went = operator.go_on(&mut self.world, answer);
            went.map(|did| self.coverage.writes += u64::from(did.wrote))
        } else {
            if fresh || self.dice.one_in(2) {
                operator.see_all(&self.world);
            } else {
                for _ in 0..4 {
                    operator.see(&self.world, Watch::ALL[self.dice.below(Watch::ALL.len())]);
                }
            }
            if operator.sees_own() {
                self.coverage.plans += 1;
                let twice = self.dice.one_in(16);
                operator.plan(&self.world, twice).map(|told| self.coverage.told(&told))
            } else {
                // It waits for its own writes to show up: nothing that is worth a count.
                self.operators.insert(which, operator);
                return;
            }
        };
        self.operators.insert(which, operator);
        let who = if which + 1 == self.operators.len() { "leader" } else { "old leader" };
        self.stepped(who, result);
    }

    fn pass_time(&mut self, millis: i64) {
        let endpoints = self.late.then(|| self.world.observed.endpoints.clone());
        self.world.now += SignedDuration::from_millis(millis);
        self.world.run_pods();
        self.outside.end_jobs(&mut self.world, &mut self.dice);
        for operator in &mut self.operators {
            operator.hear(&self.world, &self.outside, &mut self.dice);
        }
        if let Some(endpoints) = endpoints {
            self.world.observed.endpoints = endpoints;
        }
        self.world.bump();
        self.stepped("time", Ok(()));
    }

    fn fault(&mut self, fault: Fault) {
        self.coverage.fault(self.world.phase(), fault);
        let last = self.operators.len() - 1;
        match fault {
            Fault::ApiError => return self.work(Answer::Failed, false),
            Fault::AnswerLost => return self.work(Answer::Lost, false),
            Fault::StaleRead => {
                let watch = Watch::ALL[self.dice.below(Watch::ALL.len())];
                let world = &self.world;
                self.operators[last].see(world, watch);
                return self.plan_stale();
            }
            Fault::Crash => {
                let epoch = self.next_epoch();
                self.operators[last] = self.operators[last].replaced(&self.world, epoch);
            }
            Fault::NewLeader => {
                let epoch = self.next_epoch();
                let skew =
                    SignedDuration::from_millis(i64::try_from(self.dice.roll(120_000)).unwrap() - 60_000);
                self.operators.push(Operator::new(&self.world, epoch, skew));
                if self.operators.len() > OLD + 1 {
                    self.operators.remove(0);
                }
            }
            Fault::OldLeaderActs => {
                if self.operators.len() == 1 {
                    let epoch = self.next_epoch();
                    self.operators.push(Operator::new(&self.world, epoch, SignedDuration::ZERO));
                }
                let which = self.dice.below(self.operators.len() - 1);
                for _ in 0..=self.dice.below(6) {
                    self.act(which, Answer::Fine, false);
                }
            }
            Fault::ClockAhead | Fault::ClockBack => {
                let far = SignedDuration::from_secs(i64::try_from(self.dice.roll(61)).unwrap());
                let operator = &mut self.operators[last];
                let skew = if fault == Fault::ClockAhead { operator.skew + far } else { operator.skew - far };
                let most = SignedDuration::from_secs(60);
                operator.skew = skew.clamp(-most, most);
            }
            Fault::OthersSay => self.outside.change(&mut self.dice),
            Fault::Load => self.outside.load = Load::any(&mut self.dice),
            Fault::EndpointsLate => self.late = !self.late,
            Fault::StatusLost => {
                happen(&mut self.world, &mut self.dice, fault);
                let epoch = self.next_epoch();
                self.operators = vec![Operator::new(&self.world, epoch, SignedDuration::ZERO)];
            }
            Fault::Recovery => {
                self.late = false;
                self.world.observed.refused.clear();
                self.world.observed.taken.clear();
                happen(&mut self.world, &mut self.dice, fault);
            }
            _ => happen(&mut self.world, &mut self.dice, fault),
        }
        self.stepped(&format!("{fault:?}"), Ok(()));
    }

    /// The leader plans from what it has, however old.
    fn plan_stale(&mut self) {
        let last = self.operators.len() - 1;
        let mut operator = self.operators.remove(last);
        let mut result = Ok(());
        if !operator.busy() && operator.sees_own() {
            self.coverage.plans += 1;
            result = operator.plan(&self.world, false).map(|told| self.coverage.told(&told));
        }
        self.operators.push(operator);
        self.stepped("StaleRead", result);
    }

    /// The epoch of the next leader, which leads from now on.
    fn next_epoch(&mut self) -> i64 {
        self.world.subject.leader_epoch += 1;
        self.world.subject.leader_epoch
    }

    /// After every step: what must hold in every state.
    fn stepped(&mut self, what: &str, result: Holds) {
        self.coverage.steps += 1;
        if self.trace.len() > 60 {
            self.trace.remove(0);
        }
        let text = format!("{what} [{:?} v{}]", self.world.phase(), self.world.version);
        if self.aloud {
            println!("{text}");
        }
        self.trace.push(text);
        let result = result.and_then(|()| self.coverage.state(&self.world, &self.operators));
        if let Err(violation) = result {
            FOUND.store(true, Ordering::Relaxed);
            panic!("{violation}\nseed {}, step by step: {:#?}", self.seed, self.trace);
        }
    }

    /// No more faults: one operator, healthy pods, what was in the way is gone. Policies and images stay as they are.
    fn stop_faults(&mut self) {
        let epoch = self.next_epoch();
        let skew = self.leader().skew;
        self.operators = vec![Operator::new(&self.world, epoch, skew)];
        self.late = false;
        self.world.observed.refused.clear();
        self.world.observed.taken.clear();
        for source in &mut self.world.observed.sources {
            if !matches!(source.state, SourceState::Found { bytes: 5, .. }) {
                source.state = SourceState::Found { hash: "content-1".into(), bytes: 5 };
            }
        }
        for pod in &mut self.world.observed.pods {
            pod.image_id = pod.image_id.take().filter(|id| !id.ends_with("sha256:other"));
        }
        happen(&mut self.world, &mut self.dice, Fault::Recovery);
        policies::calm(&mut self.world);
        self.outside = Outside::settled(&mut self.dice);
        self.stepped("faults stop", Ok(()));
    }

    /// Lets it come to rest.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..REST {
            if self.leader().busy() || quiet == 0 {
                self.work(Answer::Fine, true);
                quiet = u32::from(!self.leader().busy() && self.leader().idle);
                continue;
            }
            self.work(Answer::Fine, true);
            if !self.leader().idle {
                quiet = 0;
                continue;
            }
            self.work(Answer::Fine, true);
            quiet += 1;
            let requeue = self.leader().requeue;
            let runs = self.world.observed.jobs.iter().any(|job| job.state == JobState::Running);
            if quiet > 5 && requeue.is_none() && !runs && !self.leader().asks {
                return self.rests();
            }
            let wait = requeue.map_or(3_000, |wait| i64::try_from(wait.as_millis()).unwrap());
            self.pass_time(wait.clamp(500, 30_000) + 1);
        }
        panic!(
            "invariant 5 (Converges): seed {} does not come to rest: {}",
            self.seed,
            self.world.describe()
        );
    }

    /// Where a walk may end; and a new leader, much later, finds nothing to write.
    fn rests(&mut self) {
        let world = &self.world;
        let wanted = &world.subject.spec.image;
        let active = world.status.revisions.iter().find(|state| state.number == world.active());
        let image = active.map(|state| state.image.clone()).unwrap_or_default();
        let first = world.status.release.as_ref().is_some_and(|release| release.from.is_none());
        let fine = match world.blocked() {
            None => world.stable() && image == *wanted,
            Some(Reason::AwaitingPromotion) => {
                // Or a step that waits for people.
                let steps = world.status.release.as_ref().is_some_and(|release| release.step.is_some());
                steps || world.subject.release().promote == Promote::Manual
            }
            Some(Reason::OnHold | Reason::Paused | Reason::StateUnknown) => true,
            Some(Reason::AnalysisInconclusive | Reason::AnalysisError) => !world.stable(),
            Some(Reason::ContractDone) => world.phase() == Phase::Verifying,
            Some(Reason::NotTriedAgain | Reason::ContractFailed | Reason::RestartFailed) => world.stable(),
            Some(
                Reason::CrashLoop | Reason::WaitingForPods | Reason::ImagePullFailed | Reason::ExpandFailed,
            ) => first,
            // The moved tag was seen first.
            Some(Reason::ImageChanged) => {
                world.status.revisions.iter().any(|one| one.digest.as_deref() == Some("sha256:other"))
            }
            Some(Reason::NoWayBack) => world.status.pending.is_none(),
            _ => false,
        };
        let running = world.observed.deployments.iter().filter(|one| one.replicas > 0);
        let alone = running.map(|one| one.revision).eq([world.active()]) || world.subject.spec.replicas == 0;
        let open = world.observed.decisions.iter().any(|one| {
            let outcome = one.status.as_ref().and_then(|status| status.outcome);
            let restarts = one.spec.verb == Verb::Restart && world.status.restart.is_some();
            !(restarts || matches!(outcome, Some(DecisionOutcome::Done | DecisionOutcome::Refused)))
        });
        let unknown = world.blocked() == Some(Reason::StateUnknown);
        let fine = fine && (!world.stable() || unknown || (alone && !open));
        self.coverage.rested(world);
        let rests = holds(fine, Invariant::Converges, || format!("it rests badly: {}", world.describe()));
        self.stepped("rests", rests);
        self.pass_time(3_600_000);
        let epoch = self.next_epoch();
        self.operators = vec![Operator::new(&self.world, epoch, SignedDuration::ZERO)];
        self.work(Answer::Fine, true);
        let (idle, release) = (self.leader().idle, self.world.status.release.is_some());
        let nothing = holds(idle || release, Invariant::Converges, || {
            format!("a new leader writes where nothing is to be done: {}", self.world.describe())
        });
        self.stepped("rests still", nothing);
    }
}
