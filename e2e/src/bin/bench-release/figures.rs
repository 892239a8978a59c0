//! The benchmark's figures.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{abort::Aborted, share::Shared, whole::Whole};

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    api_writes: usize,
    api_writes_by_kind: BTreeMap<String, usize>,
    api_writes_refused: usize,
    api_reads: usize,
    phase_ms: BTreeMap<&'static str, i64>,
    abort_ms: BTreeMap<String, u128>,
    abort_ms_max: Option<u128>,
    abort_failed: u64,
    abort_unserved: u64,
    canary_share_percent: BTreeMap<String, f64>,
    canary_share_error_points_max: Option<f64>,
}

impl Figures {
    /// Of the release with the most writes, and the slowest aborts.
    pub(crate) fn of(releases: &[Whole], aborts: &[Aborted], shares: &[Shared]) -> Result<Self> {
        let most = releases.iter().max_by_key(|whole| whole.api_writes()).context("there was no release")?;
        let mut abort_ms = BTreeMap::new();
        for aborted in aborts {
            let slowest = abort_ms.entry(format!("{} ready", aborted.ready)).or_default();
            *slowest = aborted.took.as_millis().max(*slowest);
        }
        Ok(Self {
            api_writes: most.api_writes(),
            api_writes_by_kind: most.writes.clone(),
            api_writes_refused: releases.iter().map(|whole| whole.refused).max().unwrap_or(0),
            api_reads: releases.iter().map(|whole| whole.reads).max().unwrap_or(0),
            phase_ms: most.phase_ms.clone(),
            abort_ms_max: abort_ms.values().max().copied(),
            abort_ms,
            abort_failed: aborts.iter().map(|aborted| aborted.failed).sum(),
            abort_unserved: aborts.iter().map(|aborted| aborted.unserved).sum(),
            canary_share_percent: shares
                .iter()
                .map(|shared| (format!("{} %", shared.asked), shared.got))
                .collect(),
            canary_share_error_points_max: shares.iter().map(Shared::error).max_by(f64::total_cmp),
        })
    }

    /// The table.
    pub(crate) fn print(&self) {
        println!("API writes of a release                  {}", self.api_writes);
        for (kind, count) in &self.api_writes_by_kind {
            println!("  {kind:<38} {count}");
        }
        println!("refused ones, at most                    {}", self.api_writes_refused);
        println!("gets and lists, at most                  {}", self.api_reads);
        for (phase, took) in &self.phase_ms {
            println!("{phase:<40} {took} ms");
        }
        for (ready, took) in &self.abort_ms {
            println!("abort with {ready:<29} {took} ms");
        }
        println!("failed in aborts                         {}", self.abort_failed);
        println!("without a ready pod until users are back {}", self.abort_unserved);
        for (asked, got) in &self.canary_share_percent {
            println!("canary share of {asked:<24} {got:.2} %");
        }
        if let Some(error) = self.canary_share_error_points_max {
            println!("canary share, largest error              {error:.2} points");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn are_of_the_worst() {
        let whole = |patches: usize, reads| Whole {
            writes: [("patch deployments".to_owned(), patches), ("create configmaps".to_owned(), 1)].into(),
            refused: 1,
            reads,
            phase_ms: BTreeMap::from([("Preparing", 5)]),
        };
        let aborted = |ready, milliseconds, failed| Aborted {
            ready,
            took: Duration::from_millis(milliseconds),
            failed,
            unserved: 0,
        };
        let shared = Shared { asked: 10.0, got: 10.1, kept_alive: 9.8 };
        let figures = Figures::of(
            &[whole(2, 1), whole(4, 0)],
            &[aborted(0, 90, 0), aborted(0, 50, 0), aborted(2, 7, 1)],
            &[shared],
        )
        .unwrap();
        assert_eq!((figures.api_writes, figures.api_reads, figures.abort_ms_max), (5, 1, Some(90)));
        assert_eq!(figures.abort_ms, BTreeMap::from([("0 ready".to_owned(), 90), ("2 ready".to_owned(), 7)]));
        assert_eq!(figures.abort_failed, 1);
        assert!((figures.canary_share_error_points_max.unwrap() - 0.2).abs() < 1e-9);
    }
}
