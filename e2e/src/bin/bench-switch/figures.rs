//! The benchmark's figures.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde::Serialize;
use shop_e2e::load::{Failure, Report, window};

/// A switch and, where there is one, the rollback after it. Times are microseconds since the load began.
pub(crate) struct Round {
    pub(crate) old: String,
    pub(crate) new: String,
    /// When the new version was asked for.
    pub(crate) applied: u64,
    /// Its first answer.
    pub(crate) switched: u64,
    /// When it was decided to go back.
    pub(crate) decided: Option<u64>,
    /// When the round was over.
    pub(crate) ended: u64,
}

impl Round {
    /// How long both versions answered, and how long the new one did after the decision to leave it.
    pub(crate) fn durations(&self, report: &Report) -> (Option<Duration>, Option<Duration>) {
        let within = self.applied..self.decided.unwrap_or(self.ended);
        let both = report.overlap(&self.old, &self.new, within).map(|overlap| overlap.both());
        let back = self.decided.map(|decided| report.lingered(&self.new, decided, self.ended));
        (both, back)
    }

    /// The times in which its moves could be felt.
    fn windows(&self) -> impl Iterator<Item = Range<u64>> {
        [Some(self.switched), self.decided].into_iter().flatten().map(window)
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    requests: u64,
    failed: u64,
    failed_by_kind: BTreeMap<Failure, u64>,
    switches: usize,
    rollbacks: usize,
    p95_outside_ms: f64,
    p95_inside_ms: f64,
    both_colours_ms_max: u128,
    rollback_ms_max: u128,
    api_writes_per_release: f64,
}

impl Figures {
    /// Of the rounds that were made, and the operator's writes in each release that was left to end by itself.
    pub(crate) fn of(report: &Report, rounds: &[Round], writes: &[usize]) -> Self {
        let windows: Vec<Range<u64>> = rounds.iter().flat_map(Round::windows).collect();
        let durations: Vec<_> = rounds.iter().map(|round| round.durations(report)).collect();
        let both = durations.iter().filter_map(|(both, _)| *both).max().unwrap_or_default();
        let rollback = durations.iter().filter_map(|(_, back)| *back).max().unwrap_or_default();
        Self {
            requests: report.requests(),
            failed: report.failed(),
            failed_by_kind: report.failures.clone(),
            switches: rounds.len(),
            rollbacks: rounds.iter().filter(|round| round.decided.is_some()).count(),
            p95_outside_ms: report.outside(&windows).p95_ms,
            p95_inside_ms: report.inside(&windows).p95_ms,
            both_colours_ms_max: both.as_millis(),
            rollback_ms_max: rollback.as_millis(),
            api_writes_per_release: writes.iter().sum::<usize>() as f64 / writes.len().max(1) as f64,
        }
    }

    /// The table.
    pub(crate) fn print(&self) {
        let kinds: Vec<String> =
            self.failed_by_kind.iter().map(|(kind, count)| format!("{} {count}", kind.as_str())).collect();
        let failed =
            if kinds.is_empty() { "0".to_owned() } else { format!("{} ({})", self.failed, kinds.join(", ")) };
        println!("requests                                 {}", self.requests);
        println!("failed                                   {failed}");
        println!("switches, rollbacks                      {}, {}", self.switches, self.rollbacks);
        println!("p95 outside of switches and rollbacks    {:.1} ms", self.p95_outside_ms);
        println!("p95 from 1 s before to 3 s after         {:.1} ms", self.p95_inside_ms);
        println!("both versions answer, at most            {} ms", self.both_colours_ms_max);
        println!("rollback: decision to last, at most      {} ms", self.rollback_ms_max);
        println!("API writes in a release                  {:.1}", self.api_writes_per_release);
    }
}

#[cfg(test)]
mod tests {
    use shop_e2e::load::{Clock, Kind, KindCount, Sample, VersionId};

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn sample(version: u8, at: u64) -> Sample {
        let failure = None;
        let (scheduled, begun, sent, ended) = (at, at, at, at + 2_000);
        Sample { kind: Kind::KeepAlive, failure, version: VersionId(version), scheduled, begun, sent, ended }
    }

    #[test]
    fn are_of_all_rounds() {
        let samples = vec![
            sample(1, SECOND),
            sample(2, 10 * SECOND),
            sample(1, 10 * SECOND + 50_000),
            sample(2, 20 * SECOND + 300_000),
            sample(1, 30 * SECOND),
            sample(2, 40 * SECOND),
        ];
        let count = KindCount { requests: 6, ..KindCount::default() };
        let report = Report {
            clock: Clock::start(),
            ended: 50 * SECOND,
            samples,
            not_kept: 0,
            versions: ["", "v1", "v2"].map(str::to_owned).to_vec(),
            kinds: [(Kind::KeepAlive, count)].into(),
            failures: BTreeMap::new(),
            late: 0,
        };
        let round = |applied, switched, decided, ended| Round {
            old: "v1".to_owned(),
            new: "v2".to_owned(),
            applied,
            switched,
            decided,
            ended,
        };
        let rounds = [
            round(9 * SECOND, 10 * SECOND + 2_000, Some(20 * SECOND), 35 * SECOND),
            round(36 * SECOND, 40 * SECOND + 2_000, None, 50 * SECOND),
        ];
        let figures = Figures::of(&report, &rounds, &[20, 21]);
        assert_eq!((figures.switches, figures.rollbacks), (2, 1));
        assert_eq!((figures.both_colours_ms_max, figures.rollback_ms_max), (48, 300));
        assert!((figures.api_writes_per_release - 20.5).abs() < f64::EPSILON);
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json.get("failed_by_kind"), Some(&serde_json::json!({})));
    }
}
