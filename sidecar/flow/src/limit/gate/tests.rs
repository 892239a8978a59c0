use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A gate with one place, which is taken, and a service time of 10 ms.
fn busy_gate(most_waiting: usize) -> Gate<&'static str> {
    let mut gate = Gate::new(1, most_waiting);
    assert!(matches!(gate.offer(ms(0), Class::Normal, None, "first"), Offer::Go(_)));
    gate.release(ms(10), Some(ms(10)));
    assert!(matches!(gate.offer(ms(10), Class::Normal, None, "busy"), Offer::Go(_)));
    gate
}

fn wait(gate: &mut Gate<&'static str>, now: Duration, class: Class, who: &'static str) -> Ticket {
    match gate.offer(now, class, None, who) {
        Offer::Wait { ticket, displaced: None } => ticket,
        other => panic!("{who} does not wait: {other:?}"),
    }
}

#[test]
fn first_come_first_served_and_the_important_before() {
    let mut gate = busy_gate(10);
    wait(&mut gate, ms(11), Class::Low, "low");
    wait(&mut gate, ms(12), Class::Normal, "one");
    wait(&mut gate, ms(13), Class::Normal, "two");
    wait(&mut gate, ms(14), Class::High, "high");
    let order: Vec<_> = (0..5).flat_map(|turn| gate.release(ms(20 + turn * 10), Some(ms(10))).go).collect();
    assert_eq!(order, ["high", "one", "two", "low"]);
    assert_eq!((gate.busy(), gate.waiting()), (0, 0));
}

#[test]
fn under_overload_the_newest_comes_first() {
    let mut gate = busy_gate(10);
    wait(&mut gate, ms(20), Class::Normal, "old");
    wait(&mut gate, ms(21), Class::Normal, "older than some");
    wait(&mut gate, ms(119), Class::Normal, "new");
    assert_eq!(gate.release(ms(120), None).go, ["new"]);
    assert_eq!(gate.release(ms(121), None).go, ["older than some"]);
    assert_eq!(gate.release(ms(122), None).go, ["old"]);
}

#[test]
fn what_cannot_end_in_time_is_refused_at_once() {
    let mut gate = busy_gate(10);
    // One turn to wait, one of its own: 20 ms.
    let offer = gate.offer(ms(11), Class::Normal, Some(ms(30)), "late");
    assert!(matches!(offer, Offer::Refused("late", Why::WouldMissDeadline)), "{offer:?}");
    assert!(matches!(gate.offer(ms(11), Class::Normal, Some(ms(31)), "in time"), Offer::Wait { .. }));
    // More wait, but not before who is more important.
    assert!(matches!(gate.offer(ms(11), Class::Normal, Some(ms(40)), "late"), Offer::Refused(..)));
    assert!(matches!(gate.offer(ms(11), Class::High, Some(ms(31)), "in time"), Offer::Wait { .. }));
    // The place comes too late for the first: it is told when it would have been its turn.
    let next = gate.release(ms(25), Some(ms(10)));
    assert_eq!((next.go, next.missed), (vec![], vec!["in time", "in time"]));
}

#[test]
fn with_a_free_place_a_request_is_tried_whatever_was_observed() {
    let mut gate = Gate::new(1, 1);
    gate.release(ms(0), Some(Duration::from_mins(1)));
    assert!(matches!(gate.offer(ms(1), Class::Low, Some(ms(2)), ()), Offer::Go(())));
}

#[test]
fn a_full_queue_makes_room_for_the_important_and_the_newer() {
    let mut gate = busy_gate(2);
    wait(&mut gate, ms(11), Class::Low, "low");
    wait(&mut gate, ms(12), Class::Normal, "normal");
    assert!(matches!(gate.offer(ms(13), Class::Low, None, "late"), Offer::Refused("late", Why::QueueFull)));
    let offer = gate.offer(ms(14), Class::Normal, None, "newer");
    assert!(matches!(offer, Offer::Wait { displaced: Some("low"), .. }), "{offer:?}");
    assert!(matches!(gate.offer(ms(15), Class::Normal, None, "late"), Offer::Refused(..)));
    let offer = gate.offer(ms(112), Class::Normal, None, "newest");
    assert!(matches!(offer, Offer::Wait { displaced: Some("normal"), .. }), "{offer:?}");
    assert_eq!(gate.waiting(), 2);
}

#[test]
fn who_leaves_is_not_let_in() {
    let mut gate = busy_gate(10);
    let ticket = wait(&mut gate, ms(11), Class::Normal, "gone");
    wait(&mut gate, ms(12), Class::Normal, "stays");
    assert_eq!((gate.leave(ticket), gate.leave(ticket)), (Some("gone"), None));
    assert_eq!(gate.release(ms(20), None).go, ["stays"]);
}

#[test]
fn one_long_stream_does_not_refuse_everybody() {
    let mut gate = busy_gate(10);
    gate.release(ms(20), Some(ms(3_600_000)));
    assert!(gate.service() < ms(20), "{:?}", gate.service());
}

#[test]
fn limits_change_while_some_wait() {
    let mut gate = busy_gate(10);
    for who in ["a", "b", "c", "d"] {
        wait(&mut gate, ms(11), Class::Normal, who);
    }
    let next = gate.resize(ms(12), 3, 1);
    assert_eq!((next.go, next.missed), (vec!["a", "b"], vec!["c"]));
    let next = gate.resize(ms(13), 1, 1);
    assert!(next.go.is_empty() && gate.busy() == 3);
    assert!(gate.release(ms(14), None).go.is_empty() && gate.release(ms(15), None).go.is_empty());
    assert_eq!(gate.release(ms(16), None).go, ["d"]);
}

#[derive(Clone, Debug)]
enum Act {
    Come { class: usize, deadline: Option<u64> },
    End { took: u64 },
    Leave { which: usize },
    Resize { max: usize, queue: usize },
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        6 => (0_usize..3, prop::option::of(0_u64..300)).prop_map(|(class, deadline)| Act::Come { class, deadline }),
        5 => (0_u64..80).prop_map(|took| Act::End { took }),
        1 => (0_usize..8).prop_map(|which| Act::Leave { which }),
        1 => (1_usize..5, 0_usize..6).prop_map(|(max, queue)| Act::Resize { max, queue }),
    ];
    prop::collection::vec((0_u64..40, act), 1..200)
}

proptest! {
    /// Everybody who comes gets exactly one answer or waits; never more work or wait than may, and nobody waits beside a free place.
    #[test]
    fn nobody_is_forgotten_and_no_bound_is_passed(max in 1_usize..5, queue in 0_usize..6, acts in acts()) {
        let (mut gate, mut now, mut comes) = (Gate::new(max, queue), 0, 0_u32);
        let (mut limits, mut most_busy) = ((max, queue), max);
        let (mut inside, mut waiting): (HashSet<u32>, Vec<(u32, Ticket)>) = (HashSet::new(), Vec::new());
        for (gap, act) in acts {
            now += gap;
            let at = ms(now);
            let (mut go, mut out) = (Vec::new(), Vec::new());
            match act {
                Act::Come { class, deadline } => {
                    comes += 1;
                    match gate.offer(at, Class::ALL[class], deadline.map(|span| at + ms(span)), comes) {
                        Offer::Go(who) => { prop_assert_eq!(who, comes); prop_assert!(inside.insert(who)); }
                        Offer::Wait { ticket, displaced } => { waiting.push((comes, ticket)); out.extend(displaced); }
                        Offer::Refused(who, _) => prop_assert_eq!(who, comes),
                    }
                }
                Act::End { took } => {
                    if let Some(who) = inside.iter().next().copied() {
                        inside.remove(&who);
                        let next = gate.release(at, Some(ms(took)));
                        (go, out) = (next.go, next.missed);
                    }
                }
                Act::Leave { which } => {
                    if which < waiting.len() {
                        let (who, ticket) = waiting.remove(which);
                        prop_assert_eq!(gate.leave(ticket), Some(who));
                    }
                }
                Act::Resize { max, queue } => {
                    limits = (max, queue);
                    let next = gate.resize(at, max, queue);
                    (go, out) = (next.go, next.missed);
                }
            }
            for who in go {
                let place = waiting.iter().position(|(waiter, _)| *waiter == who);
                prop_assert!(place.is_some(), "{} was let in twice, or never came", who);
                waiting.remove(place.unwrap_or(0));
                prop_assert!(inside.insert(who));
            }
            for who in out {
                let place = waiting.iter().position(|(waiter, _)| *waiter == who);
                prop_assert!(place.is_some(), "{} was refused twice", who);
                waiting.remove(place.unwrap_or(0));
            }
            most_busy = limits.0.max(inside.len().min(most_busy));
            prop_assert_eq!((gate.busy(), gate.waiting()), (inside.len(), waiting.len()));
            prop_assert!(gate.busy() <= most_busy && gate.waiting() <= limits.1);
            prop_assert!(gate.waiting() == 0 || gate.busy() >= limits.0, "somebody waits beside a free place");
        }
        // Those who are inside end: then everybody who waits gets an answer.
        while !inside.is_empty() || !waiting.is_empty() {
            prop_assert!(!inside.is_empty(), "forgotten: {:?}", waiting);
            let who = inside.iter().next().copied().unwrap_or(0);
            inside.remove(&who);
            now += 1;
            let next = gate.release(ms(now), None);
            waiting.retain(|(waiter, _)| !next.go.contains(waiter) && !next.missed.contains(waiter));
            inside.extend(next.go);
        }
        prop_assert_eq!((gate.busy(), gate.waiting()), (0, 0));
    }
}
