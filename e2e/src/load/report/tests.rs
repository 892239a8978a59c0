//! The analysis, on samples made by hand.

use super::*;

const SECOND: u64 = 1_000_000;

fn sample(version: u8, scheduled: u64, sent: u64, ended: u64) -> Sample {
    Sample {
        kind: Kind::KeepAlive,
        failure: None,
        version: VersionId(version),
        scheduled,
        begun: sent,
        sent,
        ended,
    }
}

fn report(samples: Vec<Sample>) -> Report {
    let mut kinds: BTreeMap<Kind, KindCount> = BTreeMap::new();
    let mut failures = BTreeMap::new();
    for sample in &samples {
        let count = kinds.entry(sample.kind).or_default();
        count.requests += 1;
        if let Some(failure) = sample.failure {
            count.failed += 1;
            *failures.entry(failure).or_default() += 1;
        }
    }
    let versions = ["", "v1", "v2"].map(str::to_owned).to_vec();
    let clock = Clock::start();
    Report { clock, ended: 100 * SECOND, samples, not_kept: 0, versions, kinds, failures, late: 0 }
}

#[test]
fn counts_latency_from_when_a_request_was_due() {
    let all = report((1..=100).map(|n| sample(1, n * 1_000, n * 1_000 + 400, n * 1_000 + n * 100)).collect());
    let latency = all.latency(|_| true);
    assert_eq!(latency.count, 100);
    assert!((latency.p50_ms - 5.0).abs() < 0.02, "{latency:?}");
    assert!((latency.p95_ms - 9.5).abs() < 0.02, "{latency:?}");
    assert!((latency.max_ms - 10.0).abs() < 0.02, "{latency:?}");
}

#[test]
fn tells_inside_from_outside() {
    let samples = (0..20).map(|n| {
        let slow = if (5..9).contains(&n) { 40_000 } else { 2_000 };
        sample(1, n * SECOND, n * SECOND, n * SECOND + slow)
    });
    let all = report(samples.collect());
    let windows = vec![5 * SECOND..6 * SECOND, 6 * SECOND..9 * SECOND];
    assert_eq!(all.inside(&windows).count, 4);
    assert!(all.inside(&windows).p95_ms > 39.0);
    assert_eq!(all.outside(&windows).count, 16);
    assert!(all.outside(&windows).p99_ms < 2.1);
    assert_eq!(all.inside(&[]), Latency::default());
}

#[test]
fn a_failed_request_has_no_latency() {
    let mut failed = sample(0, 0, 0, 10 * SECOND);
    failed.failure = Some(Failure::Timeout);
    let all = report(vec![failed, sample(1, 0, 0, 1_000)]);
    assert_eq!((all.requests(), all.failed(), all.latency(|_| true).count), (2, 1, 1));
    assert_eq!(all.failures.get(&Failure::Timeout), Some(&1));
}

#[test]
fn both_versions_answer_from_the_first_new_answer_to_the_last_request_begun_for_the_old() {
    let all = report(vec![
        sample(1, 0, 0, 100),
        sample(2, 1_000, 1_000, 2_000),
        // Begun before the first answer of the new version, however late it is answered.
        sample(1, 1_500, 1_500, 90_000),
        sample(1, 3_000, 3_000, 3_500),
        sample(2, 5_000, 5_000, 6_000),
        // Outside of the time looked at.
        sample(1, 50_000, 50_000, 50_500),
    ]);
    let overlap = all.overlap("v1", "v2", 0..10_000).unwrap();
    assert_eq!((overlap.first_new, overlap.last_old), (2_000, Some(3_000)));
    assert_eq!(overlap.both(), Duration::from_millis(1));
}

#[test]
fn a_stream_counts_by_its_beginning() {
    let mut echo = sample(1, 30_000, 30_000, 31_000);
    echo.kind = Kind::WebSocket;
    echo.begun = 10;
    let all = report(vec![sample(2, 1_000, 1_000, 2_000), echo]);
    let overlap = all.overlap("v1", "v2", 0..100_000).unwrap();
    assert_eq!(overlap.last_old, None);
    assert_eq!(overlap.both(), Duration::ZERO);
    assert_eq!(all.lingered("v1", 1_000, 100_000), Duration::ZERO);
}

#[test]
fn no_overlap_without_the_new_version() {
    let all = report(vec![sample(1, 0, 0, 1)]);
    assert!(all.overlap("v1", "v2", 0..10).is_none());
    assert!(all.overlap("v1", "v9", 0..10).is_none());
}

#[test]
fn a_rollback_lasts_until_the_last_request_begun_that_the_bad_version_answered() {
    let all = report(vec![
        sample(2, 0, 0, 100),
        sample(2, 10_500, 10_500, 11_000),
        sample(2, 12_000, 12_000, 15_000),
        sample(1, 13_000, 13_000, 14_000),
        sample(2, 60_000, 60_000, 60_100),
    ]);
    assert_eq!(all.lingered("v2", 10_000, 50_000), Duration::from_millis(2));
    assert_eq!(all.lingered("v9", 10_000, 50_000), Duration::ZERO);
    assert_eq!(all.answered_by("v2"), 4);
}
