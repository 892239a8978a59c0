//! How many series there may be, and exemplars: the trace of a request whose span is kept, beside the bucket it was counted in.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus::{Histogram, IntCounter};

/// Label sets of a counter. A document has at most 51 routes, with five classes of status each.
pub const MOST_COUNTERS: usize = 600;
/// Label sets of a histogram, each with some fifteen series.
pub const MOST_HISTOGRAMS: usize = 120;
/// The value of every label of what is beyond that.
const OVERFLOW: &str = "overflow";

/// The label sets of one metric: so many and no more, however often documents change.
#[derive(Debug)]
struct Budget {
    most: usize,
    known: Mutex<HashSet<String>>,
}

impl Budget {
    fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// Whether a label set is one of those.
    fn admits(&self, labels: &[&str]) -> bool {
        let mut known = lock(&self.known);
        let key = labels.join("\u{1f}");
        known.contains(&key) || known.len() < self.most && known.insert(key)
    }
}

/// A metric with labels, of which there are so many sets and no more.
#[derive(Debug)]
pub struct Family<V> {
    /// Its handles are asked for with labels from [`Family::fit`].
    pub vec: V,
    budget: Budget,
    overflowed: IntCounter,
}

impl<V> Family<V> {
    /// `overflowed` counts label sets that find no room.
    pub fn new(vec: V, most: usize, overflowed: IntCounter) -> Self {
        Self { vec, budget: Budget::new(most), overflowed }
    }

    /// These labels, or those of what is beyond the budget.
    pub fn fit<'a, const N: usize>(&self, labels: [&'a str; N]) -> [&'a str; N] {
        if self.budget.admits(&labels) {
            return labels;
        }
        self.overflowed.inc();
        [OVERFLOW; N]
    }
}

/// A histogram that remembers a trace for each bucket.
#[derive(Debug)]
pub struct Timed {
    histogram: Histogram,
    exemplars: Arc<Exemplars>,
}

/// The latest traces of one histogram's buckets.
#[derive(Debug)]
pub struct Exemplars {
    /// How its lines begin in the text format: name and labels up to `le`.
    line: String,
    bounds: &'static [f64],
    latest: Mutex<Vec<Option<Exemplar>>>,
}

#[derive(Clone, Copy, Debug)]
struct Exemplar {
    trace_id: u128,
    seconds: f64,
    at: SystemTime,
}

impl Exemplars {
    /// Whether both are of the same labels of the same metric.
    pub fn same_series(&self, other: &Self) -> bool {
        self.line == other.line
    }
}

impl Timed {
    /// Of a histogram of this name and with these labels and bounds.
    pub fn new(histogram: Histogram, name: &str, labels: &[(&str, &str)], bounds: &'static [f64]) -> Self {
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        let mut line = format!("{name}_bucket{{");
        for (label, value) in sorted {
            // Writing to a String does not fail.
            let _ = write!(line, "{label}=\"{value}\",");
        }
        let latest = Mutex::new(vec![None; bounds.len() + 1]);
        Self { histogram, exemplars: Arc::new(Exemplars { line, bounds, latest }) }
    }

    /// What is remembered.
    pub fn exemplars(&self) -> &Arc<Exemplars> {
        &self.exemplars
    }

    /// Counts a request; `trace` is the one it belongs to if its span is kept.
    pub fn observe(&self, seconds: f64, trace: Option<u128>) {
        self.histogram.observe(seconds);
        if let Some(trace_id) = trace {
            let bucket = self.exemplars.bounds.partition_point(|bound| *bound < seconds);
            if let Some(place) = lock(&self.exemplars.latest).get_mut(bucket) {
                *place = Some(Exemplar { trace_id, seconds, at: SystemTime::now() });
            }
        }
    }
}

/// The text format of Prometheus as `OpenMetrics`, which has exemplars.
pub fn open_metrics(text: &str, exemplars: &[Arc<Exemplars>]) -> String {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    let mut buckets: (&str, usize) = ("", 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            // A counter's name is without its ending, but for its samples. HELP comes before TYPE says what it is.
            let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (name, what) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = name.strip_suffix("_total").unwrap_or(name);
            let _ = writeln!(out, "# {word} {name} {what}");
            continue;
        }
        out.push_str(line);
        if let Some((series, _)) = line.rsplit_once("le=\"") {
            buckets = if series == buckets.0 { (series, buckets.1 + 1) } else { (series, 0) };
            let found = exemplars.iter().find(|exemplars| exemplars.line == series);
            if let Some(found) = found.and_then(|found| lock(&found.latest).get(buckets.1).copied().flatten())
            {
                let at = found.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                let _ = write!(out, " # {{trace_id=\"{:032x}\"}} {} {at:.3}", found.trace_id, found.seconds);
            }
        }
        out.push('\n');
    }
    out.push_str("# EOF\n");
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[test]
    fn there_is_room_for_so_many() {
        let budget = Budget::new(2);
        assert!(budget.admits(&["a", "b"]) && budget.admits(&["ab", ""]));
        assert!(!budget.admits(&["a", "c"]) && budget.admits(&["a", "b"]));
    }

    #[test]
    fn an_exemplar_stands_at_its_bucket() {
        let histogram = Histogram::with_opts(HistogramOpts::new("x", "y")).expect("histogram");
        let timed = Timed::new(histogram, "x", &[("role", "/a"), ("code", "2xx")], &[0.1, 1.0]);
        timed.observe(0.05, None);
        timed.observe(0.5, Some(7));
        let text = "# HELP x Help\n# TYPE x histogram\nx_bucket{code=\"2xx\",role=\"/a\",le=\"0.1\"} 1\n\
                    x_bucket{code=\"2xx\",role=\"/a\",le=\"1\"} 2\nx_bucket{code=\"2xx\",role=\"/a\",le=\"+Inf\"} 2\n\
                    # HELP y_total Count\n# TYPE y_total counter\ny_total 3\n";
        let open = open_metrics(text, &[Arc::clone(timed.exemplars())]);
        let lines: Vec<_> = open.lines().collect();
        assert_eq!(lines[2], "x_bucket{code=\"2xx\",role=\"/a\",le=\"0.1\"} 1");
        let expected =
            format!("x_bucket{{code=\"2xx\",role=\"/a\",le=\"1\"}} 2 # {{trace_id=\"{:032x}\"}} 0.5 ", 7);
        assert!(lines[3].starts_with(&expected), "{open}");
        assert_eq!(lines[5..], ["# HELP y Count", "# TYPE y counter", "y_total 3", "# EOF"]);
    }
}
