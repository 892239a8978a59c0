//! The benchmark's figures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::proxies::{Arm, Features, Kind};
use crate::soak::Soak;

/// Bytes of a megabyte.
pub(crate) const MB: f64 = 1024.0 * 1024.0;

/// One proxy in one round.
#[derive(Debug)]
pub(crate) struct Round {
    /// At the fixed rate, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
    /// The 99th percentile of the load's own delay, in nanoseconds.
    pub(crate) late: u64,
    /// CPU time and requests at the fixed rate.
    pub(crate) cpu_steady: (Duration, u64),
    /// CPU time and requests without pause.
    pub(crate) cpu_busy: (Duration, u64),
    /// Requests in a second without pause.
    pub(crate) throughput: f64,
    /// Bytes at 64 connections.
    pub(crate) rss: u64,
    /// Bytes for 1,000 idle connections more.
    pub(crate) rss_idle: u64,
    /// Bytes for 1,000 idle WebSockets more.
    pub(crate) rss_websockets: u64,
    /// Bytes after requests from 100,000 senders that are counted apart, where they are.
    pub(crate) rss_senders: Option<u64>,
    /// From its start to its first answer.
    pub(crate) ready: Duration,
}

/// All rounds.
#[derive(Debug)]
pub(crate) struct Figures {
    rounds: BTreeMap<(Kind, Features), Vec<Round>>,
    load_average: f64,
    /// What a long load did to memory.
    pub(crate) soak: Option<Soak>,
}

impl Figures {
    /// `load_average`: of the machine, before anything was measured.
    pub(crate) fn new(load_average: f64) -> Self {
        Self { rounds: BTreeMap::new(), load_average, soak: None }
    }

    pub(crate) fn take(&mut self, arm: &Arm, round: Round) {
        self.rounds.entry((arm.kind, arm.features)).or_default().push(round);
    }

    /// What was measured.
    pub(crate) fn arms(&self) -> impl Iterator<Item = (Kind, Features)> {
        self.rounds.keys().copied()
    }

    fn of(&self, kind: Kind, features: Features) -> &[Round] {
        self.rounds.get(&(kind, features)).map_or(&[], Vec::as_slice)
    }

    /// Microseconds of CPU for a request, over all rounds.
    fn cpu(&self, kind: Kind, features: Features, part: fn(&Round) -> (Duration, u64)) -> Option<f64> {
        let rounds = self.of(kind, features);
        let (time, requests) = rounds
            .iter()
            .map(part)
            .fold((Duration::ZERO, 0), |sum, (time, requests)| (sum.0 + time, sum.1 + requests));
        (requests > 0).then(|| time.as_secs_f64() * 1e6 / requests as f64)
    }

    pub(crate) fn busy(&self, kind: Kind, features: Features) -> Option<f64> {
        self.cpu(kind, features, |round| round.cpu_busy)
    }

    /// The median over the rounds of what a percentile is above the direct one of the same round, in microseconds.
    pub(crate) fn added(&self, kind: Kind, features: Features, share: f64) -> Option<f64> {
        let direct = self.of(Kind::Direct, Features::Bare);
        let pairs = self.of(kind, features).iter().zip(direct);
        median(pairs.map(|(round, direct)| {
            (percentile(&round.latencies, share) - percentile(&direct.latencies, share)) / 1e3
        }))
    }

    pub(crate) fn middle(&self, kind: Kind, features: Features, of: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.of(kind, features).iter().map(of))
    }

    /// Megabytes after requests from 100,000 senders.
    fn senders(&self) -> Option<f64> {
        let rounds = self.of(Kind::Ours, Features::All).iter();
        median(rounds.filter_map(|round| Some(round.rss_senders? as f64 / MB))).map(tenths)
    }

    /// One object; what was not measured is null.
    pub(crate) fn to_json(&self) -> Value {
        let ratio = |one: Option<f64>, other: Option<f64>| Some(tenths(one? / other? * 100.0) / 100.0);
        let per_proxy = |part: fn(&Round) -> (Duration, u64)| {
            let kinds = [Kind::Envoy, Kind::Nginx, Kind::Haproxy, Kind::Ours];
            let cpu = |kind, features| self.cpu(kind, features, part).map(tenths);
            kinds.map(|kind| {
                let figures = json!({
                    "bare": cpu(kind, Features::Bare),
                    "log": cpu(kind, Features::Log),
                    "tokens": cpu(kind, Features::Tokens),
                    "limits": cpu(kind, Features::Limits),
                    "traces": cpu(kind, Features::Traces),
                    "all": cpu(kind, Features::All),
                    "all_uncached": cpu(kind, Features::AllUncached),
                    "outbound": cpu(kind, Features::Outbound),
                });
                (kind.as_str().to_owned(), figures)
            })
        };
        let versus_envoy =
            |features| ratio(self.busy(Kind::Ours, features), self.busy(Kind::Envoy, features));
        let ours = (Kind::Ours, Features::Bare);
        let middle = |of: fn(&Round) -> f64| self.middle(ours.0, ours.1, of).map(tenths);
        json!({
            "cpu_us": Map::from_iter(per_proxy(|round| round.cpu_busy)),
            "cpu_us_at_rate": Map::from_iter(per_proxy(|round| round.cpu_steady)),
            "ratio_all_vs_envoy": versus_envoy(Features::All),
            "ratio_all_uncached_vs_envoy": versus_envoy(Features::AllUncached),
            "ratio_log_vs_envoy": versus_envoy(Features::Log),
            "ratio_bare_vs_nginx":
                ratio(self.busy(Kind::Ours, Features::Bare), self.busy(Kind::Nginx, Features::Bare)),
            "p50_added_us": self.added(ours.0, ours.1, 0.5).map(tenths),
            "p99_added_us": self.added(ours.0, ours.1, 0.99).map(tenths),
            "rss_mb_64": middle(|round| round.rss as f64 / MB),
            "rss_mb_per_1k_idle": middle(|round| round.rss_idle as f64 / MB),
            "rss_mb_per_1k_websockets": middle(|round| round.rss_websockets as f64 / MB),
            "rss_mb_100k_senders": self.senders(),
            "soak": self.soak.as_ref().map(Soak::to_json),
            "ready_ms": middle(|round| round.ready.as_secs_f64() * 1e3),
            "load_average_before": self.load_average,
        })
    }

    /// The table.
    pub(crate) fn print(&self) {
        println!(
            "proxy                CPU/request   at rate   p50 added   p99 added   requests/s   at 64 conn.   1,000 idle   1,000 WebSockets   ready"
        );
        for (kind, features) in self.rounds.keys().copied() {
            let text = |value: Option<f64>, unit: &str, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}{unit}"))
            };
            let middle = |of: fn(&Round) -> f64| self.middle(kind, features, of);
            println!(
                "{:<20} {:>10} {:>9} {:>11} {:>11} {:>12} {:>13} {:>12} {:>18} {:>7}",
                format!("{}{}", kind.as_str(), features.as_str()),
                text(self.busy(kind, features), " µs", 1),
                text(self.cpu(kind, features, |round| round.cpu_steady), " µs", 1),
                text(self.added(kind, features, 0.5), " µs", 0),
                text(self.added(kind, features, 0.99), " µs", 0),
                text(middle(|round| round.throughput), "", 0),
                text(middle(|round| round.rss as f64 / MB), " MB", 1),
                text(middle(|round| round.rss_idle as f64 / MB), " MB", 1),
                text(middle(|round| round.rss_websockets as f64 / MB), " MB", 1),
                text(middle(|round| round.ready.as_secs_f64() * 1e3), " ms", 0),
            );
        }
        if let Some(senders) = self.senders() {
            println!("ours with a limit for each of 100,000 senders: {senders} MB");
        }
        if let Some(soak) = &self.soak {
            println!("ours with all features under a load that lasts: {}", soak.to_json());
        }
        let direct = self.of(Kind::Direct, Features::Bare);
        let late = median(direct.iter().map(|round| round.late as f64 / 1e3)).unwrap_or_default();
        println!(
            "the load itself was late by {late:.0} µs (p99); load average before: {:.1}",
            self.load_average
        );
    }
}

/// To a tenth.
pub(crate) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn percentile(values: &[u64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the values")]
    let index = ((sorted.len() as f64 - 1.0) * share).round().max(0.0) as usize;
    sorted.get(index).copied().unwrap_or_default() as f64
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_values() {
        let values: Vec<u64> = (1..=101).rev().collect();
        assert!((percentile(&values, 0.5) - 51.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 100.0).abs() < f64::EPSILON);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
