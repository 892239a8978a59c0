//! Time is paused: it moves when every task waits.

use std::time::Duration;

use super::*;

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("shop", name)
}

async fn names(queue: &Queue, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(queue.next().await.key.name);
    }
    names
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_it_once() {
    let queue = Queue::default();
    for _ in 0..3 {
        queue.add(key("order"), Urgency::Change);
    }
    assert_eq!(queue.depth(Urgency::Change), 1);
    assert_eq!(queue.next().await.key, key("order"));
    assert!(tokio::time::timeout(Duration::from_mins(1), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_changes_during_a_pass_comes_again_after_it() {
    let queue = Queue::default();
    queue.add(key("order"), Urgency::Change);
    let due = queue.next().await;
    queue.add(key("order"), Urgency::Change);
    assert!(
        tokio::time::timeout(Duration::from_mins(1), queue.next()).await.is_err(),
        "two passes at a time"
    );
    queue.done(&due.key);
    assert_eq!(queue.next().await.key, key("order"));
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first_and_keep_their_place_when_raised() {
    let queue = Queue::default();
    queue.add(key("a"), Urgency::Routine);
    queue.add(key("b"), Urgency::Change);
    queue.add(key("c"), Urgency::Release);
    queue.add(key("a"), Urgency::Abort);
    queue.add(key("c"), Urgency::Routine);
    assert_eq!(names(&queue, 3).await, ["a", "c", "b"]);
    assert!(tokio::time::timeout(Duration::from_mins(1), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn namespaces_take_turns() {
    let queue = Queue::default();
    for name in ["a1", "a2", "a3", "a4"] {
        queue.add(ServiceKey::new("large", name), Urgency::Change);
    }
    queue.add(ServiceKey::new("small", "b1"), Urgency::Change);
    assert_eq!(names(&queue, 3).await, ["a1", "b1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn later_means_the_earliest_time_asked_for() {
    let queue = Queue::default();
    let start = Instant::now();
    queue.add_at(key("order"), Urgency::Routine, start + Duration::from_secs(30));
    queue.add_at(key("order"), Urgency::Routine, start + Duration::from_secs(5));
    queue.add_at(key("order"), Urgency::Routine, start + Duration::from_mins(1));
    let due = queue.next().await;
    assert_eq!(due.since, start + Duration::from_secs(5));
    queue.done(&due.key);
    assert!(tokio::time::timeout(Duration::from_mins(2), queue.next()).await.is_err(), "it came twice");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_does_not_come() {
    let queue = Queue::default();
    queue.add_at(key("order"), Urgency::Routine, Instant::now() + Duration::from_secs(5));
    queue.forget(&key("order"));
    assert!(tokio::time::timeout(Duration::from_mins(1), queue.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_waiting_worker_gets_something() {
    let queue = std::sync::Arc::new(Queue::default());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let queue = std::sync::Arc::clone(&queue);
            tokio::spawn(async move { queue.next().await.key.name })
        })
        .collect();
    tokio::task::yield_now().await;
    for name in ["a", "b", "c", "d"] {
        queue.add(key(name), Urgency::Change);
    }
    let mut got = Vec::new();
    for worker in workers {
        got.push(worker.await.unwrap());
    }
    got.sort();
    assert_eq!(got, ["a", "b", "c", "d"]);
}
