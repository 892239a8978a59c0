//! What the demo comes to: a table, and what was not as it should be.

use shop_e2e::load::{Failure, Kind, Latency, Report, window};

use crate::story::Moments;

/// The rows of the table, and the problems found.
pub(crate) struct Summary {
    rows: Vec<(String, String)>,
    /// What was not as it should be; empty when all went well.
    pub(crate) problems: Vec<String>,
}

/// Judges a run.
pub(crate) fn summarise(report: &Report, moments: &Moments) -> Summary {
    let mut summary = Summary { rows: Vec::new(), problems: Vec::new() };
    summary.requests(report);
    summary.latencies(report, moments);
    summary.releases(report, moments);
    summary
}

impl Summary {
    /// Prints the table and the problems.
    pub(crate) fn print(&self) {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        println!();
        for (name, value) in &self.rows {
            println!("  {name:<width$}  {value}");
        }
        println!();
        for problem in &self.problems {
            println!("  not as it should be: {problem}");
        }
    }

    fn row(&mut self, name: &str, value: String) {
        self.rows.push((name.to_owned(), value));
    }

    fn requests(&mut self, report: &Report) {
        self.row("requests", report.requests().to_string());
        let kinds: Vec<String> = Kind::ALL
            .iter()
            .filter_map(|kind| report.kinds.get(kind).map(|count| (kind, count)))
            .map(|(kind, count)| format!("{} {}", kind.as_str(), count.requests))
            .collect();
        self.row("  by connection", kinds.join(", "));
        self.row("failed", report.failed().to_string());
        if report.failed() > 0 {
            let failures: Vec<String> = report
                .failures
                .iter()
                .map(|(failure, count)| format!("{} {count}", Failure::as_str(*failure)))
                .collect();
            self.problems.push(format!("{} requests failed: {}", report.failed(), failures.join(", ")));
        }
        let sum = |of: fn(&shop_e2e::load::Connections) -> u64| -> u64 {
            report.kinds.values().map(|count| of(&count.connections)).sum()
        };
        let moved = format!(
            "Connection: close {}, GOAWAY {}, WebSocket 1012 {}",
            sum(|count| count.closed_by_answer),
            sum(|count| count.goaway),
            sum(|count| count.closed_1012),
        );
        self.row("connections asked to move on", moved);
    }

    fn latencies(&mut self, report: &Report, moments: &Moments) {
        let Some(quiet) = moments.quiet.clone() else { return };
        let mut windows: Vec<_> = moments.switches.iter().map(|switch| window(switch.at)).collect();
        windows.extend(moments.rollback.as_ref().map(|rollback| window(rollback.decided)));
        let last = windows.iter().map(|window| window.end).max().unwrap_or(quiet.end);
        self.row("latency p50 / p95 / p99", String::new());
        self.row("  before the first release", percentiles(&report.inside(std::slice::from_ref(&quiet))));
        self.row("  in switches and rollback", percentiles(&report.inside(&windows)));
        self.row("  after the last switch", percentiles(&report.latency(|sample| sample.scheduled >= last)));
        self.row("  the load's own delay, at most", format!("{:.1} ms", report.late as f64 / 1_000.0));
    }

    fn releases(&mut self, report: &Report, moments: &Moments) {
        for switch in &moments.switches {
            let name = format!("{}: both answered for", switch.name);
            match report.overlap(switch.old, switch.new, switch.within.clone()) {
                Some(overlap) => self.row(&name, format!("{} ms", overlap.both().as_millis())),
                None => self.problems.push(format!("{}: {} never answered", switch.name, switch.new)),
            }
        }
        if moments.switches.len() < 2 {
            self.problems.push("version 2 did not get all users twice".to_owned());
        }
        match &moments.rollback {
            Some(rollback) => {
                let lingered = report.lingered("v2", rollback.decided, rollback.until);
                self.row("rollback: from the decision to v2's last", format!("{} ms", lingered.as_millis()));
            }
            None => self.problems.push("the rollback did not happen".to_owned()),
        }
        match moments.aborted_after {
            Some(after) => self.row("broken v3: given up after", format!("{:.1} s", after.as_secs_f64())),
            None => self.problems.push("the broken version was not given up".to_owned()),
        }
        let broken = report.answered_by("v3");
        self.row("broken v3: answers to users", broken.to_string());
        if broken > 0 {
            self.problems.push(format!("users got {broken} answers of the broken version"));
        }
    }
}

fn percentiles(latency: &Latency) -> String {
    if latency.count == 0 {
        return "no answers".to_owned();
    }
    format!("{:.1} / {:.1} / {:.1} ms", latency.p50_ms, latency.p95_ms, latency.p99_ms)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use shop_e2e::load::{Clock, KindCount, Sample, VersionId};

    use super::*;
    use crate::story::{Rollback, Switch};

    const SECOND: u64 = 1_000_000;

    fn report(answers: &[(u8, u64)], failed: u64) -> Report {
        let sample = |(version, at): &(u8, u64)| Sample {
            kind: Kind::KeepAlive,
            failure: None,
            version: VersionId(*version),
            scheduled: *at,
            begun: *at,
            sent: *at,
            ended: *at + 1_000,
        };
        let count = KindCount { requests: answers.len() as u64 + failed, failed, ..KindCount::default() };
        Report {
            clock: Clock::start(),
            ended: 100 * SECOND,
            samples: answers.iter().map(sample).collect(),
            not_kept: 0,
            versions: ["", "v1", "v2", "v3"].map(str::to_owned).to_vec(),
            kinds: [(Kind::KeepAlive, count)].into(),
            failures: BTreeMap::from([(Failure::Timeout, failed)]),
            late: 0,
        }
    }

    fn moments() -> Moments {
        let switch =
            |at: u64| Switch { name: "v1 to v2", old: "v1", new: "v2", at, within: at..at + 5 * SECOND };
        Moments {
            quiet: Some(0..5 * SECOND),
            switches: vec![switch(10 * SECOND), switch(30 * SECOND)],
            rollback: Some(Rollback { decided: 20 * SECOND, until: 25 * SECOND }),
            aborted_after: Some(Duration::from_secs(3)),
        }
    }

    #[test]
    fn all_is_well_when_everything_happened_and_nothing_failed() {
        let answers =
            [(1, SECOND), (2, 10 * SECOND), (2, 20 * SECOND + 40_000), (1, 21 * SECOND), (2, 31 * SECOND)];
        let summary = summarise(&report(&answers, 0), &moments());
        assert_eq!(summary.problems, Vec::<String>::new());
        let rollback = summary.rows.iter().find(|(name, _)| name.starts_with("rollback"));
        assert_eq!(rollback.map(|(_, value)| value.as_str()), Some("40 ms"));
    }

    #[test]
    fn tells_each_thing_that_was_not_as_it_should_be() {
        let summary = summarise(&report(&[(3, SECOND)], 2), &Moments::default());
        let text = summary.problems.join("; ");
        for part in [
            "2 requests failed: timeout 2",
            "did not get all users",
            "rollback did not",
            "not given up",
            "1 answers of",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
