use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn admits(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Admitted { .. })
}

#[test]
fn a_window_admits_its_number_and_says_when_the_next_may_come() {
    let (rule, mut state) = (Rule::window(3, Duration::from_secs(7)), State::default());
    let at = |secs: u64| Duration::from_secs(100 + secs);
    for left in [2, 1, 0] {
        assert!(matches!(state.take(&rule, at(0)), Verdict::Admitted { left: found, .. } if found == left));
    }
    // Slots are a second long here; what came in second 0 counts until the end of second 7.
    assert_eq!(state.take(&rule, at(5)), Verdict::Refused { retry_after: Duration::from_secs(3) });
    assert!(!admits(state.take(&rule, at(7))));
    assert!(admits(state.take(&rule, at(8))));
}

#[test]
fn a_bucket_admits_its_burst_at_once_and_then_its_pace() {
    let (rule, mut state) = (Rule::bucket(100, Duration::from_secs(1), 20), State::default());
    let now = Duration::from_secs(50);
    let admitted = (0..30).filter(|_| admits(state.take(&rule, now))).count();
    assert_eq!(admitted, 20);
    assert_eq!(state.take(&rule, now), Verdict::Refused { retry_after: Duration::from_millis(10) });
    assert!(admits(state.take(&rule, now + Duration::from_millis(10))));
    assert!(!admits(state.take(&rule, now + Duration::from_millis(19))));
}

#[test]
fn who_asks_more_often_is_suspended_and_comes_back() {
    let suspend = Duration::from_mins(5);
    let (rule, mut state) = (Rule::window(60, MINUTE).suspending(suspend), State::default());
    let now = Duration::from_secs(9);
    assert_eq!((0..60).filter(|_| admits(state.take(&rule, now))).count(), 60);
    assert_eq!(state.take(&rule, now), Verdict::Suspends { retry_after: suspend });
    // Asking on makes it no longer.
    for minute in 1..5 {
        let (later, left) = (now + MINUTE * minute, MINUTE * (5 - minute));
        assert_eq!(state.take(&rule, later), Verdict::Suspended { retry_after: left });
    }
    assert_eq!(state.fresh_at(), now + suspend);
    let after = now + suspend;
    assert!(matches!(state.take(&rule, after), Verdict::Admitted { left: 59, .. }));
}

#[test]
fn a_pod_told_by_another_suspends_too_and_never_for_less() {
    let (rule, mut state) = (Rule::window(60, MINUTE), State::default());
    state.suspend(MINUTE * 5, MINUTE);
    state.suspend(MINUTE, MINUTE);
    assert_eq!(state.take(&rule, MINUTE * 2), Verdict::Suspended { retry_after: MINUTE * 4 });
    assert!(admits(state.take(&rule, MINUTE * 6)));
}

#[test]
fn a_share_is_rounded_up_and_never_nothing() {
    assert_eq!(Rule::window(10, MINUTE).shared(3), Rule::window(4, MINUTE));
    assert_eq!(Rule::window(2, MINUTE).shared(5).most(), 1);
    let bucket = Rule::bucket(60, MINUTE, 20).shared(3);
    assert_eq!(bucket, Rule::bucket(20, MINUTE, 7));
}

fn rules() -> impl Strategy<Value = (Rule, u64, u64, u64)> {
    let numbers = (1_u32..40, 1_u64..5_000, 1_u32..30);
    (any::<bool>(), numbers).prop_map(|(is_window, (requests, window, burst))| {
        let span = Duration::from_millis(window);
        let (requests_wide, window_ns) = (u64::from(requests), window * 1_000_000);
        if is_window {
            (Rule::window(requests, span), window_ns, requests_wide, 0)
        } else {
            (Rule::bucket(requests, span, burst), window_ns, requests_wide, u64::from(burst))
        }
    })
}

proptest! {
    /// The bound that the module promises, over every span that begins with an admitted request.
    #[test]
    fn never_more_than_the_limit_in_any_window(
        (rule, window, requests, burst) in rules(),
        start in 0_u64..u64::from(u32::MAX),
        gaps in prop::collection::vec(prop_oneof![Just(0_u64), 0..3_000_000_u64, 0..900_000_000_u64], 1..300),
    ) {
        let (mut state, mut now, mut admitted) = (State::default(), start, Vec::new());
        for gap in gaps {
            now += gap;
            if admits(state.take(&rule, Duration::from_nanos(now))) {
                admitted.push(now);
            }
        }
        for (first, begin) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let (count, span) = ((last - first + 1) as u64, end - begin);
                if burst == 0 {
                    prop_assert!(span >= window || count <= requests);
                } else {
                    prop_assert!(u128::from(count) <= u128::from(burst) + u128::from(span) * u128::from(requests) / u128::from(window));
                }
            }
        }
    }

    /// What is said of the next one holds: then it is admitted, and a moment before it is not.
    #[test]
    fn retry_after_is_exact(
        (rule, ..) in rules(),
        gaps in prop::collection::vec(0..50_000_000_u64, 1..200),
    ) {
        let (mut state, mut now) = (State::default(), 0);
        for gap in gaps {
            now += gap;
            if let Verdict::Refused { retry_after } = state.take(&rule, Duration::from_nanos(now)) {
                let at = Duration::from_nanos(now) + retry_after;
                let (mut then, mut before) = (state, state);
                prop_assert!(admits(then.take(&rule, at)));
                prop_assert!(!admits(before.take(&rule, at.saturating_sub(Duration::from_nanos(1)))));
            }
        }
    }

    /// From `fresh_at` on a key decides as one that was never seen: forgetting it changes nothing.
    #[test]
    fn full_again_is_as_never_seen(
        (rule, ..) in rules(),
        gaps in prop::collection::vec(0..50_000_000_u64, 1..100),
        later in prop::collection::vec(0..50_000_000_u64, 1..100),
        suspends in any::<bool>(),
    ) {
        let rule = if suspends { rule.suspending(Duration::from_secs(3)) } else { rule };
        let (mut seen, mut now) = (State::default(), 0);
        for gap in gaps {
            now += gap;
            seen.take(&rule, Duration::from_nanos(now));
        }
        let mut now = seen.fresh_at().max(Duration::from_nanos(now));
        let mut new = State::default();
        for gap in later {
            now += Duration::from_nanos(gap);
            let (one, other) = (seen.take(&rule, now), new.take(&rule, now));
            prop_assert_eq!(admits(one), admits(other));
        }
    }
}
