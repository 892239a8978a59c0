use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn counters(requests: u64, failures: u64) -> Counters {
    Counters {
        requests,
        failures,
        bounds_us: vec![1_000, 2_000],
        counts: vec![requests - failures, failures, 0],
    }
}

fn reading(requests: u64, failures: u64) -> Reading {
    Reading { users: counters(requests, failures), ..Reading::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn counted(ledger: &Ledger) -> (u64, u64) {
    let tally = ledger.tallies().remove(0);
    (tally.counted.users.requests, tally.counted.users.failures)
}

#[test]
fn only_what_comes_after_the_beginning_counts() {
    let mut ledger = Ledger::new(at(1));
    ledger.round(2, &[("a".into(), Some(reading(100, 50))), ("b".into(), None)], at(2));
    assert_eq!(counted(&ledger), (0, 0));
    assert_eq!(ledger.tallies()[0].silent, 1);
    ledger.round(2, &[("a".into(), Some(reading(110, 51))), ("b".into(), Some(reading(70, 0)))], at(3));
    assert_eq!(counted(&ledger), (10, 1));
    assert_eq!(ledger.tallies()[0].before.users.requests, 170);
    // A pod that came later began at zero within the analysis.
    let later = [
        ("a".into(), Some(reading(110, 51))),
        ("b".into(), Some(reading(71, 1))),
        ("c".into(), Some(reading(5, 5))),
    ];
    ledger.round(2, &later, at(4));
    assert_eq!(counted(&ledger), (16, 7));
    assert_eq!(ledger.tallies()[0].lost, None);
}

#[test]
fn a_pod_that_dies_takes_nothing_with_it() {
    let mut ledger = Ledger::new(at(1));
    ledger.round(2, &[("a".into(), Some(reading(0, 0)))], at(2));
    ledger.round(2, &[("a".into(), Some(reading(10, 9)))], at(3));
    ledger.round(2, &[], at(4));
    assert_eq!((counted(&ledger), ledger.tallies()[0].lost), ((10, 9), Some(at(4))));
    // It is back, with a sidecar that began anew.
    ledger.round(2, &[("a".into(), Some(reading(3, 1)))], at(5));
    assert_eq!((counted(&ledger), ledger.tallies()[0].lost), ((13, 10), Some(at(5))));
}

#[test]
fn a_pod_that_only_was_not_ready_for_a_while_has_lost_nothing() {
    let mut ledger = Ledger::new(at(1));
    let lost = |ledger: &Ledger| ledger.tallies()[0].lost;
    ledger.round(2, &[("a".into(), Some(reading(0, 0))), ("b".into(), Some(reading(0, 0)))], at(2));
    ledger.round(2, &[("b".into(), Some(reading(5, 0)))], at(3));
    assert_eq!(lost(&ledger), Some(at(3)));
    ledger.round(2, &[("a".into(), None), ("b".into(), Some(reading(6, 0)))], at(4));
    assert_eq!(lost(&ledger), Some(at(3)), "it has not told yet");
    ledger.round(2, &[("a".into(), Some(reading(8, 2))), ("b".into(), Some(reading(7, 0)))], at(5));
    assert_eq!((lost(&ledger), counted(&ledger)), (None, (15, 2)));
    // More than are remembered: then it is not known any more who may come back.
    let names: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let all: Vec<_> = names.iter().map(|uid| (uid.clone(), Some(reading(1, 0)))).collect();
    ledger.round(2, &all, at(6));
    ledger.round(2, &[], at(7));
    ledger.round(2, &all, at(8));
    assert_eq!(lost(&ledger), Some(at(7)));
}

#[test]
fn what_nobody_answered_is_counted_since_the_beginning() {
    let mut ledger = Ledger::new(at(1));
    let told = |unanswered| vec![("a".to_owned(), Some(Reading { unanswered, ..reading(1, 0) }))];
    ledger.round(1, &told(7), at(2));
    ledger.round(1, &told(9), at(3));
    assert_eq!((ledger.tallies()[0].counted.unanswered, ledger.tallies()[0].before.unanswered), (2, 7));
    // A sidecar that started anew.
    ledger.round(1, &told(3), at(4));
    assert_eq!((ledger.tallies()[0].counted.unanswered, ledger.tallies()[0].lost), (5, Some(at(4))));
}

#[test]
fn buckets_tell_shares() {
    let counters =
        Counters { requests: 200, failures: 0, bounds_us: vec![10, 20, 40], counts: vec![150, 47, 2, 1] };
    assert_eq!(
        (counters.timed(), counters.beyond(10), counters.beyond(20), counters.beyond(40)),
        (200, 50, 3, 1)
    );
    assert_eq!(
        (counters.bound_at(15), counters.bound_at(20), counters.bound_at(41)),
        (Some(20), Some(20), None)
    );
    assert_eq!(counters.p99_bound_us(), Some(40));
    assert_eq!(Counters::default().p99_bound_us(), None);
}

proptest! {
    /// Whatever pods come, go, restart and fall silent: what is counted only rises, and is never more than what happened.
    #[test]
    fn sums_only_rise(rounds in prop::collection::vec(
        prop::collection::btree_map(0_u8..4, (0_u64..50, 0_u64..50, prop::bool::weighted(0.2), prop::bool::weighted(0.2)), 0..4),
        1..12,
    )) {
        let mut ledger = Ledger::new(at(0));
        let mut lives: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let (mut happened, mut before) = ((0, 0), (0, 0));
        for (number, round) in (1_i64..).zip(&rounds) {
            let mut readings = Vec::new();
            for (pod, (good, bad, restarts, silent)) in round {
                let life = lives.entry(*pod).or_default();
                if *restarts {
                    *life = (0, 0);
                }
                *life = (life.0 + good + bad, life.1 + bad);
                happened = (happened.0 + good + bad, happened.1 + bad);
                readings.push((pod.to_string(), (!silent).then(|| reading(life.0, life.1))));
            }
            ledger.round(7, &readings, at(number));
            let now = counted(&ledger);
            prop_assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} {now:?}");
            prop_assert!(now.0 <= happened.0 && now.1 <= happened.1, "{happened:?} {now:?}");
            before = now;
        }
    }
}
