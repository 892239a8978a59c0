//! What holds at gates, for Jobs, analyses and restarts: which of the six it is said by each.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use shop_crds::{
    ShopServiceStatus, Verb,
    policy::FreezeWindow,
    status::{
        Phase, ReleaseState,
        analysis::{AnalysisOutcome, AnalysisStage},
        gates::{JobProgress, JobRun},
    },
};

use super::{Holds, Invariant, Sight, holds};
use crate::world::World;

/// Whether the window is open, for the few kinds of windows that are tried here; `None`: it cannot be read.
fn is_open(window: &FreezeWindow, now: Timestamp) -> Option<bool> {
    let start: DateTime = window.start.parse().ok()?;
    let start = start.to_zoned(TimeZone::UTC).ok()?.timestamp();
    if window.time_zone != "UTC" {
        return None;
    }
    let day = SignedDuration::from_hours(24);
    let mut passed = now.duration_since(start);
    while window.rrule.is_some() && passed >= day {
        passed -= day;
    }
    let long = SignedDuration::try_from(window.duration.duration()).ok()?;
    Some(!passed.is_negative() && passed < long)
}

impl Sight {
    /// Whether nobody may be moved to a newer revision now.
    fn frozen(&self) -> bool {
        let (mut allowed, mut allows) = (false, false);
        for policy in &self.policies {
            let Ok(spec) = &policy.spec else { return true };
            for window in &spec.freeze {
                if !window.services.is_empty() && !window.services.contains(&"order".to_owned()) {
                    continue;
                }
                match is_open(window, self.now) {
                    Some(open) if window.allow => (allows, allowed) = (true, allowed || open),
                    None | Some(true) => return true,
                    Some(false) => {}
                }
            }
        }
        allows && !allowed
    }

    fn has_job(&self, name: &str) -> bool {
        self.jobs.iter().any(|(known, _)| known == name)
    }

    fn job_succeeded(&self, name: &str) -> bool {
        self.jobs.iter().any(|(known, well)| known == name && *well)
    }

    /// A newer revision whose contract Job has begun.
    fn contracted(&self, status: &ShopServiceStatus, to: i64) -> Option<i64> {
        let begun = status.revisions.iter().filter(|one| {
            let begun = one.contract.as_ref().is_some_and(|run| run.state != JobProgress::Due);
            begun || one.contract.is_some() && self.has_job(&format!("order-r{}-contract", one.number))
        });
        begun.map(|one| one.number).filter(|number| *number > to).max()
    }
}

fn is_past(phase: Option<Phase>, all: &[Phase]) -> bool {
    phase.is_some_and(|phase| !all.contains(&phase))
}

impl World {
    /// Nothing passes a gate that is shut, in a status that is about to be written.
    pub(super) fn check_gates(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        self.check_jobs(sight, next)?;
        self.check_restart(sight, next)?;
        let Some(release) = next.release.as_ref().filter(|release| release.aborting.is_none()) else {
            return Ok(());
        };
        let before = self.status.release.as_ref();
        let before = before.filter(|before| before.to == release.to && before.started == release.started);
        check_force(sight, before, release)?;
        let known = before.and_then(|before| before.gates.as_ref()?.confirm.as_ref());
        let gate = release.gates.as_ref().and_then(|gates| gates.confirm.as_ref());
        if gate.is_some_and(|gate| gate.confirmed) && !known.is_some_and(|gate| gate.confirmed) {
            let id = format!("confirm-r{}-{}-", release.to, release.started.0.as_microsecond());
            holds(sight.yes.iter().any(|yes| yes.starts_with(&id)), Invariant::Fenced, || {
                format!("nobody confirmed revision {}", release.to)
            })?;
        }
        let verified = matches!(self.status.phase, Some(Phase::Preparing | Phase::Verifying))
            && is_past(next.phase, &[Phase::Preparing, Phase::Verifying]);
        let newer = sight.contracted(&self.status, release.to).filter(|_| !release.force);
        if release.returning && before.is_none() || verified && before.is_some() && !release.returning {
            holds(newer.is_none() || release.from.is_none(), Invariant::Unmixed, || {
                format!("revision {} comes back after the contract Job of {newer:?}", release.to)
            })?;
        }
        let Some(before) = before else { return Ok(()) };
        check_analysed(sight, before, release)?;
        let free = release.from.is_none() || release.returning || release.straight || release.force;
        if free {
            return Ok(());
        }
        let asks = verified && sight.release.confirm.is_some();
        holds(!asks || gate.is_some_and(|gate| gate.confirmed), Invariant::Fenced, || {
            format!("revision {} is promoted without a yes", release.to)
        })?;
        let handed = release.from.and_then(|from| sight.handed.get(&from)).copied().unwrap_or(0);
        let rises = release.weight.unwrap_or(0) > before.weight.unwrap_or(0).max(handed);
        // Where nothing runs twice the old revision is stopped before: all gates are.
        let moves = verified
            || rises
            || self.status.phase == Some(Phase::Scaling)
                && !release.recreate
                && is_past(next.phase, &[Phase::Scaling, Phase::Preparing, Phase::Verifying]);
        holds(!(moves && sight.frozen()), Invariant::Fenced, || {
            format!("users move to revision {} in a freeze window", release.to)
        })
    }

    /// A Job is believed once it has succeeded.
    fn check_jobs(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        for revision in next.revisions.iter().filter(|one| one.expanded) {
            let number = revision.number;
            let known = self.status.revisions.iter().any(|one| one.number == number && one.expanded);
            let succeeded = known || sight.job_succeeded(&format!("order-r{number}-expand"));
            holds(succeeded, Invariant::Unmixed, || {
                format!("revision {number} starts without its expand Job")
            })?;
        }
        // What a contract Job takes away nobody uses any more.
        let begins = |run: Option<&JobRun>| run.is_none_or(|run| run.state == JobProgress::Due);
        for known in self.status.revisions.iter().filter(|known| begins(known.contract.as_ref())) {
            let number = known.number;
            let new = next.revisions.iter().find(|one| one.number == number);
            if begins(new.and_then(|one| one.contract.as_ref())) {
                continue;
            }
            let alone = sight.pods.keys().all(|other| *other == number) && next.release.is_none();
            holds(alone, Invariant::InUse, || {
                format!("the contract Job of revision {number} begins while {:?} have pods", sight.pods)
            })?;
        }
        Ok(())
    }

    /// Pods start after the Job that must come before them.
    pub(super) fn check_expanded(&self, sight: &Sight, revision: i64) -> Holds {
        let asked = sight.release.jobs.as_ref().is_some_and(|jobs| jobs.expand.is_some());
        let release = self.status.release.as_ref().filter(|release| release.to == revision && asked);
        let forward =
            |release: &&ReleaseState| release.aborting.is_none() && !release.returning && !release.straight;
        // Later phases begin with pods that run: what is lost then is made good.
        if !release.as_ref().is_some_and(forward) || self.status.phase != Some(Phase::Preparing) {
            return Ok(());
        }
        let expanded = self.status.revisions.iter().any(|one| one.number == revision && one.expanded);
        holds(expanded, Invariant::Unmixed, || format!("revision {revision} starts before its expand Job"))
    }

    /// The status knows of a contract Job before it is there: it bars the way back.
    pub(super) fn check_job(&self, sight: &Sight, name: &str, revision: i64) -> Holds {
        if !name.ends_with("-contract") || sight.replaced {
            return Ok(());
        }
        let state = self.status.revisions.iter().find(|one| one.number == revision);
        let told =
            state.and_then(|one| one.contract.as_ref()).is_some_and(|run| run.state == JobProgress::Running);
        holds(told, Invariant::Unmixed, || format!("{name} is created, and the status does not know"))
    }

    /// A restart is what somebody decided for the active revision.
    fn check_restart(&self, sight: &Sight, next: &ShopServiceStatus) -> Holds {
        let known = self.status.restart.as_ref().map(|known| known.decision.as_str());
        let Some(restart) = next.restart.as_ref().filter(|new| known != Some(new.decision.as_str())) else {
            return Ok(());
        };
        let decided = sight.decisions.iter().any(|one| {
            one.name == restart.decision
                && one.spec.verb == Verb::Restart
                && one.spec.revision == restart.revision
        });
        let active = next.active.as_ref().map(|active| active.revision);
        holds(decided && active == Some(restart.revision), Invariant::Fenced, || {
            format!("revision {} is restarted, which nobody decided", restart.revision)
        })
    }
}

/// Force is what somebody decided.
fn check_force(sight: &Sight, before: Option<&ReleaseState>, release: &ReleaseState) -> Holds {
    if !release.force || before.is_some_and(|before| before.force) {
        return Ok(());
    }
    let forced = sight.decisions.iter().any(|one| {
        let moves = if one.spec.verb == Verb::Rollback { release.from } else { Some(release.to) };
        one.spec.force && moves == Some(one.spec.revision)
    });
    let noted = before.is_some_and(|before| before.approvals.iter().any(|approval| approval.force));
    holds(forced || noted, Invariant::Fenced, || format!("nobody forces revision {}", release.to))
}

/// An analysis that fails leads back, or stops the release; and a step of it is passed by its result.
fn check_analysed(sight: &Sight, before: &ReleaseState, release: &ReleaseState) -> Holds {
    let Some(analysis) = &sight.release.analysis else { return Ok(()) };
    let (old, new) = (before.analysis.as_ref(), release.analysis.as_ref());
    if let Some(new) = new.filter(|new| new.outcome == Some(AnalysisOutcome::Failed) && !analysis.dry_run) {
        let known = old.is_some_and(|old| old.since == new.since && old.outcome == new.outcome);
        holds(known || release.held || new.accepted_by.is_some(), Invariant::WayBack, || {
            format!("the analysis of revision {} failed, and the release goes on", release.to)
        })?;
    }
    let Some(canary) = sight.release.canary.as_ref().filter(|_| !release.full && !release.straight) else {
        return Ok(());
    };
    let (Some(from), Some(to)) = (before.step, release.step) else { return Ok(()) };
    for at in from..to {
        let step = usize::try_from(at).ok().and_then(|at| canary.steps.get(at));
        if step.is_none_or(|step| step.analysis.is_none()) {
            continue;
        }
        let ran = old.is_some_and(|old| old.stage == AnalysisStage::Step && old.step == Some(at));
        holds(ran, Invariant::Fenced, || format!("step {at} is passed without its analysis"))?;
    }
    Ok(())
}
