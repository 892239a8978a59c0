//! Tables of statuses and what they mean.

use serde_json::{Value, json};

use super::*;

const AT: &str = "2026-01-02T03:04:05.000000Z";
const LATER: &str = "2026-01-02T03:14:05.000000Z";

/// Revision 6 is with the users, and nothing happens.
fn calm() -> Value {
    json!({
        "observedGeneration": 4, "phase": "Stable", "message": "revision 6 serves", "ready": "3/3",
        "active": {"revision": 6, "label": "r6 blue"}, "stable": {"revision": 6, "label": "r6 blue"},
        "revisions": [revision(6, Some(("Completed", AT)))], "lastRevision": 6,
        "conditions": [condition("True")],
    })
}

fn condition(status: &str) -> Value {
    let message = "revision 6 has fewer ready pods than it needs";
    json!({"type": "Ready", "status": status, "reason": "Degraded", "message": message, "lastTransitionTime": "2026-01-02T03:04:05Z"})
}

fn revision(number: i64, outcome: Option<(&str, &str)>) -> Value {
    let mut state = json!({"number": number, "hash": format!("h{number}"), "image": "shop/order:1", "colour": "blue", "created": AT});
    if let Some((result, at)) = outcome {
        state["outcome"] = json!({"result": result, "reason": "CrashLoop", "message": "it exits", "at": at});
    }
    state
}

/// Revision 7 is being released over 6.
fn releasing(phase: &str) -> Value {
    merged(
        calm(),
        json!({
            "phase": phase, "message": "revision 7 is being released",
            "candidate": {"revision": 7, "label": "r7 green"},
            "release": {"from": 6, "to": 7, "started": AT, "phaseSince": AT},
            "revisions": [revision(6, Some(("Completed", AT))), revision(7, None)],
        }),
    )
}

fn aborting(traffic: bool, back: bool) -> Value {
    let mut abort = json!({"reason": "CrashLoop", "message": "it exits", "since": AT, "traffic": traffic});
    if back {
        abort["backSince"] = json!(AT);
    }
    merged(releasing("Aborting"), json!({"release": {"aborting": abort}}))
}

fn waiting() -> Value {
    merged(releasing("Verifying"), json!({"blocked": blocked("AwaitingPromotion")}))
}

/// It was promoted to the first step, and waits for another decision at a later one.
fn at_a_step() -> Value {
    merged(
        releasing("Shifting"),
        json!({"blocked": blocked("AwaitingPromotion"), "release": {"promotedBy": "ann", "step": 1}}),
    )
}

/// The release has ended, and a Job after it has failed.
fn after_a_job() -> Value {
    merged(calm(), json!({"blocked": blocked("ContractFailed")}))
}

fn held() -> Value {
    merged(releasing("Preparing"), json!({"release": {"held": true}, "blocked": blocked("OnHold")}))
}

fn aborted() -> Value {
    let mut seven = revision(7, Some(("Aborted", LATER)));
    seven["barred"] = json!(true);
    merged(
        calm(),
        json!({"revisions": [revision(6, Some(("Completed", AT))), seven], "blocked": blocked("NotTriedAgain")}),
    )
}

fn completed() -> Value {
    let seven = json!({"revision": 7, "label": "r7 green"});
    merged(
        calm(),
        json!({"active": seven, "stable": seven, "revisions": [revision(7, Some(("Completed", LATER)))]}),
    )
}

fn watching(succeeded: bool) -> Value {
    let more = if succeeded { json!({"succeeded": AT}) } else { json!({}) };
    merged(releasing("Watching"), json!({"active": {"revision": 7, "label": "r7 green"}, "release": more}))
}

fn degraded() -> Value {
    merged(calm(), json!({"ready": "1/3", "conditions": [condition("False")]}))
}

fn first_fails() -> Value {
    let failing = json!({"reason": "CrashLoop", "message": "it exits", "since": AT});
    let mut status = merged(releasing("Preparing"), json!({"release": {"failing": failing}}));
    status["release"].as_object_mut().unwrap().remove("from");
    status
}

fn blocked(reason: &str) -> Value {
    json!({"reason": reason, "message": "what is wrong", "since": AT, "command": "kubectl shop why order"})
}

fn merged(mut base: Value, over: Value) -> Value {
    match (&mut base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                let known = base.remove(&key).unwrap_or(Value::Null);
                base.insert(key, merged(known, value));
            }
        }
        (base, over) => *base = over,
    }
    base
}

fn service(status: &Value) -> ShopService {
    serde_json::from_value(json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
        "metadata": {"name": "order", "namespace": "shop", "generation": 4},
        "spec": {"image": "shop/order:1", "port": 8080}, "status": status,
    }))
    .unwrap()
}

#[test]
fn what_is_so_without_a_question() {
    let unseen = merged(calm(), json!({"observedGeneration": 3}));
    let settling = merged(calm(), json!({"pending": {"hash": "h8", "since": AT}}));
    let missing = merged(calm(), json!({"blocked": blocked("ConfigMissing")}));
    for (name, status, state, shown, says) in [
        ("new", Value::Null, State::Moving, Exit::Done, "has not looked at it"),
        ("calm", calm(), State::Done, Exit::Done, "users are with r6 blue (3/3 pods ready); no release runs"),
        ("unseen spec", unseen, State::Moving, Exit::Done, "newest spec"),
        ("settling", settling, State::Moving, Exit::Done, "settled"),
        ("something is missing", missing, State::Moving, Exit::Done, "ConfigMissing: what is wrong"),
        (
            "releasing",
            releasing("Preparing"),
            State::Moving,
            Exit::Done,
            "r7 green is being released (Preparing)",
        ),
        ("waiting", waiting(), State::Waiting, Exit::Waiting, "AwaitingPromotion: what is wrong"),
        ("waiting at a step", at_a_step(), State::Waiting, Exit::Waiting, "AwaitingPromotion: what is wrong"),
        (
            "a job failed afterwards",
            after_a_job(),
            State::Waiting,
            Exit::Waiting,
            "ContractFailed: what is wrong",
        ),
        ("held", held(), State::Waiting, Exit::Waiting, "OnHold"),
        ("aborting", aborting(true, false), State::Moving, Exit::Done, "r7 green is being left: it exits"),
        (
            "aborted",
            aborted(),
            State::Aborted,
            Exit::Aborted,
            "r7 was aborted (CrashLoop: it exits); users are with r6 blue",
        ),
        (
            "degraded",
            degraded(),
            State::Degraded,
            Exit::Degraded,
            "users are with r6 blue (1/3 pods ready): revision 6 has fewer",
        ),
        (
            "first one fails",
            first_fails(),
            State::Degraded,
            Exit::Degraded,
            "the first revision does not start: it exits",
        ),
    ] {
        let now = current(&service(&status));
        assert_eq!((now.state, now.state.shown()), (state, shown), "{name}: {now:?}");
        assert!(now.message.contains(says), "{name}: {now:?}");
    }
}

#[test]
fn what_wait_makes_of_it() {
    use Goal::{PreviewReady, Promoted, Stable};
    let unseen = merged(watching(false), json!({"observedGeneration": 3}));
    for (name, goal, status, state) in [
        ("calm", Stable, calm(), State::Done),
        ("calm", Promoted, calm(), State::Done),
        ("calm", PreviewReady, calm(), State::Done),
        ("preparing", PreviewReady, releasing("Preparing"), State::Moving),
        ("verifying", PreviewReady, releasing("Verifying"), State::Done),
        ("waiting", PreviewReady, waiting(), State::Done),
        ("waiting", Promoted, waiting(), State::Waiting),
        ("waiting", Stable, waiting(), State::Waiting),
        ("held", PreviewReady, held(), State::Waiting),
        ("shifting", Promoted, releasing("Shifting"), State::Moving),
        ("watching", Promoted, watching(false), State::Done),
        ("watching", Stable, watching(false), State::Moving),
        ("succeeded", Stable, watching(true), State::Moving),
        ("unseen", Promoted, unseen, State::Moving),
        ("aborting", PreviewReady, aborting(true, true), State::Moving),
        ("aborted", Stable, aborted(), State::Aborted),
        ("aborted", Promoted, aborted(), State::Aborted),
        ("aborted", PreviewReady, aborted(), State::Aborted),
        ("degraded", Stable, degraded(), State::Degraded),
        ("first one fails", Promoted, first_fails(), State::Degraded),
    ] {
        assert_eq!(reached(goal, &service(&status), None).state, state, "{name}, {goal:?}");
    }
}

/// Revision 8 took the place of 7, and is being released.
fn superseded(reason: &str) -> Value {
    let mut seven = revision(7, Some(("Superseded", LATER)));
    seven["outcome"]["reason"] = json!(reason);
    merged(
        releasing("Preparing"),
        json!({
            "candidate": {"revision": 8, "label": "r8 green"}, "release": {"to": 8}, "lastRevision": 8,
            "revisions": [revision(6, Some(("Completed", AT))), seven, revision(8, None)],
        }),
    )
}

#[test]
fn a_wait_for_a_revision_is_for_no_other() {
    let last = |status, number: i64| merged(status, json!({"lastRevision": number}));
    let yielding = merged(aborting(false, false), json!({"release": {"aborting": {"reason": "Superseded"}}}));
    let newer = merged(watching(false), json!({"release": {"from": 7, "to": 8}, "lastRevision": 8}));
    for (name, goal, status, state) in [
        ("not cut", Goal::Stable, calm(), State::Moving),
        ("runs", Goal::Stable, releasing("Scaling"), State::Moving),
        ("ready", Goal::PreviewReady, waiting(), State::Done),
        ("waits", Goal::Promoted, waiting(), State::Waiting),
        ("switched", Goal::Promoted, watching(false), State::Done),
        ("stable", Goal::Stable, last(completed(), 7), State::Done),
        ("degraded", Goal::Stable, merged(last(completed(), 7), degraded_only()), State::Degraded),
        ("aborted", Goal::Stable, last(aborted(), 7), State::Aborted),
        ("being replaced", Goal::Stable, yielding, State::Superseded),
        ("replaced", Goal::Stable, superseded("Superseded"), State::Superseded),
        ("the spec went back", Goal::Stable, superseded("InputsRestored"), State::Aborted),
        ("a newer one follows", Goal::Stable, newer, State::Done),
        ("forgotten", Goal::Stable, last(calm(), 9), State::Superseded),
    ] {
        let now = reached(goal, &service(&last_at_least(status)), Some(7));
        assert_eq!(now.state, state, "{name}, {goal:?}: {now:?}");
    }
}

/// With the highest number that a status names, where it does not say so.
fn last_at_least(status: Value) -> Value {
    let to = status.pointer("/release/to").and_then(Value::as_i64).unwrap_or(0);
    let last = status["lastRevision"].as_i64().unwrap_or(0);
    merged(status, json!({"lastRevision": last.max(to)}))
}

#[test]
fn a_wait_is_for_what_runs_when_all_was_seen() {
    let unseen = merged(releasing("Scaling"), json!({"observedGeneration": 3}));
    let pending = merged(releasing("Scaling"), json!({"pending": {"hash": "h8", "since": AT}}));
    for (status, expected) in [
        (releasing("Scaling"), Some(7)),
        (calm(), None),
        (unseen, None),
        (pending, None),
        (aborting(true, false), None),
    ] {
        assert_eq!(released(&service(&status)), expected, "{status}");
    }
}

#[test]
fn where_a_decision_has_got_to() {
    let accepted = Some(DecisionOutcome::Accepted);
    let (done, refused) = (Some(DecisionOutcome::Done), Some(DecisionOutcome::Refused));
    let promoted = |status: Value| merged(status, json!({"release": {"promotedBy": "ann"}}));
    let replaced = superseded("Superseded");
    let restored = superseded("InputsRestored");
    let yielding = merged(aborting(true, false), json!({"release": {"aborting": {"reason": "Superseded"}}}));
    let returning = merged(
        releasing("Preparing"),
        json!({"active": {"revision": 7, "label": "r7 green"}, "release": {"from": 7, "to": 6, "returning": true}}),
    );
    let gone_back = merged(returning.clone(), json!({"phase": "Draining", "release": {"succeeded": AT}}));
    for (name, verb, outcome, status, state) in [
        ("not taken up", Verb::Promote, None, waiting(), State::Moving),
        ("promoted", Verb::Promote, accepted, promoted(waiting()), State::Moving),
        ("old and new", Verb::Promote, accepted, promoted(watching(false)), State::Moving),
        ("only draining is left", Verb::Promote, done, watching(true), State::Settling),
        ("stable", Verb::Promote, done, completed(), State::Done),
        (
            "stable, but pods are missing",
            Verb::Promote,
            done,
            merged(completed(), degraded_only()),
            State::Degraded,
        ),
        ("fails", Verb::Promote, accepted, aborting(true, false), State::Moving),
        ("failed", Verb::Promote, refused, aborted(), State::Aborted),
        ("replaced", Verb::Promote, refused, replaced, State::Superseded),
        ("being replaced", Verb::Promote, accepted, yielding, State::Superseded),
        ("the spec went back", Verb::Promote, refused, restored, State::Aborted),
        ("held", Verb::Promote, accepted, promoted(held()), State::Waiting),
        ("another one's digest", Verb::Promote, refused, waiting(), State::Failed),
        ("tried again, by hand", Verb::Retry, done, waiting(), State::Waiting),
        ("does not abort yet", Verb::Abort, accepted, releasing("Shifting"), State::Moving),
        ("aborts", Verb::Abort, accepted, aborting(true, false), State::Moving),
        ("only draining is left", Verb::Abort, accepted, aborting(true, true), State::Settling),
        ("users never came", Verb::Abort, accepted, aborting(false, false), State::Settling),
        ("aborted", Verb::Abort, done, aborted(), State::Done),
        ("no way back", Verb::Abort, refused, watching(false), State::Failed),
        ("still there", Verb::Rollback, done, completed(), State::Failed),
        ("rolls back", Verb::Rollback, accepted, aborting(true, false), State::Moving),
        ("comes up again", Verb::Rollback, accepted, returning, State::Moving),
        ("only draining is left", Verb::Rollback, accepted, gone_back, State::Settling),
        ("rolled back", Verb::Rollback, done, calm(), State::Done),
        ("stale", Verb::Rollback, refused, calm(), State::Failed),
    ] {
        let answer = ReleaseDecisionStatus { outcome, message: Some("no".into()), ..Default::default() };
        let decision = Followed { verb, revision: 7, before: None };
        let now = followed(&decision, Some(&answer), &service(&status));
        assert_eq!(now.state, state, "{name}, {verb:?}: {now:?}");
        assert!(state != State::Failed || outcome != refused || now.message == "no", "{name}: {now:?}");
    }
}

fn degraded_only() -> Value {
    json!({"conditions": [condition("False")]})
}

#[test]
fn outcome_of_an_earlier_try_does_not_count() {
    let status = aborted();
    let known: ShopServiceStatus = serde_json::from_value(status.clone()).unwrap();
    let before = known.revisions.iter().find(|state| state.number == 7).unwrap().outcome.clone();
    let answer = ReleaseDecisionStatus { outcome: Some(DecisionOutcome::Accepted), ..Default::default() };
    let state = |before| {
        let decision = Followed { verb: Verb::Retry, revision: 7, before };
        followed(&decision, Some(&answer), &service(&status)).state
    };
    assert_eq!(state(before), State::Moving);
    assert_eq!(state(None), State::Aborted);
}

#[test]
fn a_revision_is_offered_only_where_it_is_clear() {
    let offers = |verb, status: Value| {
        offered(verb, &serde_json::from_value(status).unwrap()).map(|(revision, _)| revision)
    };
    for (name, verb, status, revision) in [
        ("never", Verb::Promote, waiting(), None),
        ("candidate", Verb::Abort, waiting(), Some(7)),
        ("no candidate", Verb::Abort, calm(), None),
        ("active", Verb::Rollback, watching(false), Some(7)),
        ("active", Verb::Rollback, calm(), Some(6)),
        ("left", Verb::Retry, aborted(), Some(7)),
        ("held", Verb::Retry, held(), Some(7)),
        ("runs", Verb::Retry, releasing("Preparing"), None),
        ("nothing was left", Verb::Retry, calm(), None),
    ] {
        assert_eq!(offers(verb, status), revision, "{name}, {verb:?}");
    }
}

#[test]
fn states_end_a_wait_or_do_not() {
    for (state, last, exit) in [
        (State::Done, true, Exit::Done),
        (State::Settling, false, Exit::Done),
        (State::Moving, false, Exit::TimedOut),
        (State::Waiting, true, Exit::Waiting),
        (State::Aborted, true, Exit::Aborted),
        (State::Degraded, false, Exit::Degraded),
        (State::Superseded, true, Exit::Superseded),
        (State::Failed, true, Exit::Error),
    ] {
        assert_eq!((state.is_final(), state.waited()), (last, exit), "{state:?}");
    }
}
