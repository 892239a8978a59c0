//! Whether memory grows under a load that lasts.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::figures::{MB, tenths};
use crate::load;
use crate::proxies::Running;
use crate::requests::Requests;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(5);
/// Connections that come and go with each look.
const GUESTS: usize = 64;
/// Until buffers and tables have found their size, nothing is said about growth: a fifth of the time.
const SETTLING: usize = 5;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Soak {
    requests: u64,
    /// Seconds since the begin, and bytes then.
    samples: Vec<(f64, f64)>,
}

/// Requests at a fixed rate for so long, and beside them connections that come and go.
pub(crate) fn run(
    running: &Running,
    requests: &Requests,
    rate: u32,
    connections: usize,
    duration: Duration,
) -> Result<Soak> {
    let (address, begun): (SocketAddr, _) = (running.address, Instant::now());
    thread::scope(|scope| {
        let load = scope.spawn(|| load::at_rate(address, requests, rate, connections, duration));
        let mut samples = Vec::new();
        while !load.is_finished() {
            load::with_idle(address, requests, GUESTS, || Ok(())).context("open more connections")?;
            samples.push((begun.elapsed().as_secs_f64(), running.rss()? as f64));
            eprint!("soak: {:>4} s of {}\r", begun.elapsed().as_secs(), duration.as_secs());
            thread::sleep(LOOK);
        }
        let found = load.join().unwrap_or_else(|_| Err(anyhow!("the load panicked")))?;
        Ok(Soak { requests: found.requests, samples })
    })
}

impl Soak {
    /// Megabytes in the beginning, at the end, and by how many a minute it grew, by least squares.
    pub(crate) fn to_json(&self) -> Value {
        let settled = self.samples.get(self.samples.len() / SETTLING..).unwrap_or_default();
        let at = |sample: Option<&(f64, f64)>| sample.map(|(_, bytes)| tenths(bytes / MB));
        json!({
            "minutes": self.samples.last().map(|(seconds, _)| tenths(seconds / 60.0)),
            "requests": self.requests,
            "rss_mb_first": at(settled.first()),
            "rss_mb_last": at(settled.last()),
            "slope_mb_per_minute": slope(settled).map(|slope| tenths(slope / MB * 60.0 * 100.0) / 100.0),
        })
    }
}

/// The slope of the line that fits best.
fn slope(samples: &[(f64, f64)]) -> Option<f64> {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|one| one.0), mean(|one| one.1));
    let above: f64 = samples.iter().map(|one| (one.0 - x) * (one.1 - y)).sum();
    let below: f64 = samples.iter().map(|one| (one.0 - x).powi(2)).sum();
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 1.0), (10.0, 21.0), (20.0, 41.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 1.0)]), None);
    }
}
