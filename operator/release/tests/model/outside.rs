//! What is beyond the cluster's own objects: web hooks and a Prometheus that answer, or do not; Jobs that end; requests that sidecars
//! have counted.

use jiff::Timestamp;
use shop_crds::{ShopServiceSpec, ShopServiceStatus};
use shop_release::{
    Answer, AnswerValue, Ask, Counters, JobState, MAX_TEXT, Question, Reading, Tally, counting,
};

use crate::world::{Dice, World};

/// What others say when they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Yes,
    No,
    Nothing,
    Anything,
}

impl Say {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        [Self::Yes, Self::No, Self::Nothing, Self::Anything][dice.below(4)]
    }

    /// Yes or no; `None`: not yet.
    fn now(self, dice: &mut Dice) -> Option<bool> {
        match self {
            // Answers may come late.
            _ if dice.one_in(3) => None,
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Nothing => None,
            Self::Anything => Some(dice.one_in(2)),
        }
    }
}

/// What users' requests come to, and what is known of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Good,
    Bad,
    None,
    /// Sidecars do not tell what they counted.
    Untold,
}

impl Load {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        [Self::Good, Self::Bad, Self::None, Self::Untold][dice.below(4)]
    }
}

/// Everybody outside.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) checks: Say,
    pub(crate) confirm: Say,
    pub(crate) jobs: Say,
    pub(crate) load: Load,
}

impl Outside {
    pub(crate) fn well() -> Self {
        Self { checks: Say::Yes, confirm: Say::Yes, jobs: Say::Yes, load: Load::Good }
    }

    /// How it may be when nothing changes any more: the hook that must say yes does so in the end, and Jobs end.
    pub(crate) fn settled(dice: &mut Dice) -> Self {
        let jobs = if dice.one_in(4) { Say::No } else { Say::Yes };
        let (checks, load) =
            if dice.one_in(3) { (Say::any(dice), Load::any(dice)) } else { (Say::Yes, Load::Good) };
        Self { checks, confirm: Say::Yes, jobs, load }
    }

    pub(crate) fn change(&mut self, dice: &mut Dice) {
        for say in [&mut self.checks, &mut self.confirm, &mut self.jobs] {
            if dice.one_in(2) {
                *say = Say::any(dice);
            }
        }
    }

    /// The answer to a question, if it comes now.
    pub(crate) fn answer(&self, dice: &mut Dice, question: &Question, at: Timestamp) -> Option<Answer> {
        let say = if question.id.starts_with("confirm-") { self.confirm } else { self.checks };
        let value = match (say.now(dice)?, &question.ask) {
            (true, Ask::Http { json_path: None, .. }) => value([200, 201, 202][dice.below(3)], None, "fine"),
            (true, _) => value(200, Some(0.0), "ok"),
            (false, _) if dice.one_in(4) => {
                let outcome = Err("connection refused".to_owned());
                return Some(Answer { id: question.id.clone(), at, outcome });
            }
            (false, Ask::Http { json_path: None, .. }) => {
                value([302, 403, 412, 429, 500][dice.below(5)], None, &"no ".repeat(MAX_TEXT / 3))
            }
            (false, _) => value(200, [None, Some(1.0)][dice.below(2)], "bad"),
        };
        Some(Answer { id: question.id.clone(), at, outcome: Ok(value) })
    }

    /// Jobs that end now.
    pub(crate) fn end_jobs(&self, world: &mut World, dice: &mut Dice) {
        for at in 0..world.observed.jobs.len() {
            if world.observed.jobs[at].state != JobState::Running {
                continue;
            }
            let Some(well) = self.jobs.now(dice) else { continue };
            let version = world.bump();
            let job = &mut world.observed.jobs[at];
            job.state = if well { JobState::Succeeded } else { JobState::Failed("exit code 1".into()) };
            job.resource_version = version;
        }
    }

    /// What a collector has counted until now, for the analysis that its operator knows of.
    pub(crate) fn counted(
        &self,
        dice: &mut Dice,
        spec: &ShopServiceSpec,
        status: &ShopServiceStatus,
        now: Timestamp,
    ) -> Vec<Tally> {
        let Some((run, revisions)) = counting(spec, status) else { return Vec::new() };
        let passed = u64::try_from(now.duration_since(run).as_secs()).unwrap_or(0).min(1_000);
        let told = |share: u64| {
            let users = counters(passed * 50, share);
            Reading { mirrored: users.clone(), users, ..Reading::default() }
        };
        let mut of = |revision: i64| {
            let own = revision == revisions[0];
            let counted = match self.load {
                Load::Good | Load::Untold => told(0),
                Load::Bad => told(if own { 10 } else { 0 }),
                Load::None => Reading::default(),
            };
            let silent = u32::from(self.load == Load::Untold || dice.one_in(30));
            let lost = dice.one_in(30).then_some(now);
            let before = Reading { users: counters(5_000, 0), ..Reading::default() };
            let before = if own { Reading::default() } else { before };
            Tally { revision, run, counted, before, silent, lost }
        };
        revisions.iter().map(|revision| of(*revision)).collect()
    }
}

fn value(status: u16, number: Option<f64>, text: &str) -> AnswerValue {
    AnswerValue { status, number, text: text.to_owned() }
}

/// So many requests, of which this percentage fails and is slow.
fn counters(requests: u64, percent: u64) -> Counters {
    let failures = requests * percent / 100;
    let counts = vec![requests - failures, 0, failures, 0];
    Counters { requests, failures, bounds_us: vec![100_000, 300_000, 500_000], counts }
}
