//! The arithmetic of steps: pods for a share, places in a list that changes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Deployment, Observed, Subject};

fn subject(replicas: i32, steps: &[Value]) -> Subject {
    let canary = json!({ "strategy": "canary", "canary": { "steps": steps } });
    let spec = json!({ "image": "a:1", "port": 8080, "replicas": replicas, "release": canary });
    Subject {
        namespace: "shop".into(),
        name: "order".into(),
        uid: "u".into(),
        generation: 1,
        resource_version: "1".into(),
        deleting: false,
        spec: serde_json::from_value(spec).unwrap(),
        leader_epoch: 1,
    }
}

fn release(step: Option<i64>, weight: Option<i64>) -> ReleaseState {
    ReleaseState { step, weight, ..ReleaseState::begun(Some(1), 2, &MicroTime(Timestamp::UNIX_EPOCH)) }
}

/// Size of a candidate that has so many pods now.
fn sized(subject: &Subject, release: &ReleaseState, now: i32) -> i32 {
    let deployment = Deployment {
        revision: 2,
        uid: "d".into(),
        resource_version: "1".into(),
        leader_epoch: 1,
        replicas: now,
        role: None,
        colour: None,
        restart: 0,
        recreate: false,
        drifted: false,
        failure: None,
    };
    let observed = Observed { deployments: vec![deployment], ..Observed::default() };
    size(&View::new(subject, &observed, Timestamp::UNIX_EPOCH), release)
}

#[test]
fn a_candidate_begins_small_only_where_the_first_step_says_so() {
    let small = [json!({"replicas": "20%"}), json!({"weight": "5%"}), json!({"replicas": "60%"})];
    let large = [json!({"weight": "5%"}), json!({"replicas": "60%"})];
    for (steps, step, weight, expected) in [
        (&small[..], None, None, 2),
        (&small, Some(1), Some(0), 2),
        (&small, Some(2), Some(500), 6),
        (&small, Some(3), Some(500), 10),
        (&small, Some(99), Some(500), 10),
        (&small, Some(1), Some(4_100), 5),
        (&large, None, None, 10),
        (&large, Some(1), Some(500), 10),
    ] {
        assert_eq!(sized(&subject(10, steps), &release(step, weight), 0), expected, "{steps:?} {step:?}");
    }
}

#[test]
fn who_takes_no_steps_is_of_full_size() {
    let subject = subject(10, &[json!({"replicas": "20%"})]);
    let first = ReleaseState { from: None, ..release(None, None) };
    let straight = ReleaseState { straight: true, ..release(None, None) };
    let full = ReleaseState { full: true, ..release(None, None) };
    assert_eq!([first, straight, full].map(|release| sized(&subject, &release, 0)), [10, 10, 10]);
}

proptest! {
    #[test]
    fn a_candidate_of_its_size_can_answer_its_share(
        replicas in 0..200_i32, asked in 0..=10_000_u32, goal in 0..=10_000_u32, weight in 0..=10_000_i64, now in 0..300_i32,
    ) {
        let (asked, goal) = (Percent::parts(asked), Percent::parts(goal));
        let subject = subject(replicas, &[json!({"replicas": asked}), json!({"weight": goal}), json!({"pause": "1s"})]);
        let observed = Observed::default();
        let view = View::new(&subject, &observed, Timestamp::UNIX_EPOCH);
        for step in [1, 2] {
            let size = sized(&subject, &release(Some(step), Some(weight)), now);
            let goal = if step == 1 { i64::from(goal.per_10_000()) } else { 0 };
            prop_assert!(size >= least(&view, weight.max(goal)), "{size} pods for {weight} or {goal}");
            prop_assert!(size <= replicas && size >= now.min(replicas) && size >= replicas.min(1));
        }
    }

    #[test]
    fn a_greater_share_never_takes_fewer_pods(replicas in 0..10_000_i32, one in 0..=10_000_i64, two in 0..=10_000_i64) {
        let subject = subject(replicas, &[json!({"weight": "1%"})]);
        let observed = Observed::default();
        let view = View::new(&subject, &observed, Timestamp::UNIX_EPOCH);
        let (small, large) = (one.min(two), one.max(two));
        prop_assert!(least(&view, small) <= least(&view, large));
        prop_assert_eq!((least(&view, 0), least(&view, WHOLE)), (0, view.least()));
        prop_assert!(small == 0 || replicas == 0 || least(&view, small) >= 1);
    }

    #[test]
    fn a_place_is_within_the_steps(count in 1..50_usize, step in 0..1_000_i64) {
        let steps = vec![Step { pause: Some(Pause::Manual), ..Step::default() }; count];
        prop_assert!(place(&steps, &release(Some(step), None)) <= count);
    }
}
