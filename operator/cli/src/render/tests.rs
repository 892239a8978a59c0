//! Pages as people see them.

use serde_json::json;
use shop_crds::{ReleaseDecision, ShopService};

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    time("2026-01-02T03:14:35Z")
}

fn waiting() -> ShopService {
    serde_json::from_value(json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
        "metadata": {"name": "order", "namespace": "shop", "generation": 4},
        "spec": {"image": "shop/order:2", "port": 8080},
        "status": {
            "observedGeneration": 4, "phase": "Verifying", "ready": "3/3", "message": "revision 7 is ready",
            "active": {"revision": 6, "label": "r6 blue"}, "stable": {"revision": 6, "label": "r6 blue"},
            "candidate": {"revision": 7, "label": "r7 green"},
            "release": {"from": 6, "to": 7, "started": "2026-01-02T03:04:05Z", "phaseSince": "2026-01-02T03:12:05Z"},
            "blocked": {
                "reason": "AwaitingPromotion", "message": "revision 7 is ready; promote or abort it",
                "since": "2026-01-02T03:12:05Z", "nextCheck": "2026-01-02T03:15:00Z",
                "command": "kubectl shop promote order --revision 7 -n shop"
            },
            "revisions": [
                {"number": 6, "hash": "a", "image": "shop/order:1", "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaa", "colour": "blue", "created": "2026-01-01T03:04:05Z",
                 "outcome": {"result": "Completed", "reason": "ReleaseCompleted", "message": "users are with it", "at": "2026-01-01T03:05:05Z"}},
                {"number": 7, "hash": "b", "image": "shop/order:2", "colour": "green", "created": "2026-01-02T03:04:05Z"}
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Stable", "message": "revision 6 is ready",
                            "lastTransitionTime": "2026-01-02T03:04:35Z"}]
        }
    }))
    .unwrap()
}

#[test]
fn status_page() {
    let expected = "\
Service     shop/order
State       AwaitingPromotion: revision 7 is ready; promote or abort it
Phase       Verifying, for 2m30s
Pods ready  3/3
Active      r6 blue, shop/order:1
Stable      r6 blue, shop/order:1
Candidate   r7 green, shop/order:2
Waits for   AwaitingPromotion, for 2m30s
            revision 7 is ready; promote or abort it
            next check: in 25s
            run: kubectl shop promote order --revision 7 -n shop

CONDITION  STATUS  REASON  FOR  MESSAGE
Ready      True    Stable  10m  revision 6 is ready
";
    assert_eq!(status(&Overview::of(&waiting()), now()), expected);
}

#[test]
fn why_names_the_command() {
    let expected = "\
order: waits for AwaitingPromotion, for 2m30s
  revision 7 is ready; promote or abort it
  next check: in 25s
  run: kubectl shop promote order --revision 7 -n shop
";
    assert_eq!(why(&Why::of(&waiting()), now()), expected);
    let mut calm = waiting();
    let status = calm.status.as_mut().unwrap();
    (status.blocked, status.release, status.candidate) = (None, None, None);
    status.phase = Some(shop_crds::status::Phase::Stable);
    let expected = "order: nothing is waiting: users are with r6 blue (3/3 pods ready); no release runs\n";
    assert_eq!(why(&Why::of(&calm), now()), expected);
}

#[test]
fn why_tells_what_each_gate_says() {
    let mut service = waiting();
    service.spec.release = serde_json::from_value(json!({"approvals": 2})).unwrap();
    let status = service.status.as_mut().unwrap();
    let also = json!([{"reason": "Frozen", "message": "freeze window x/y is open"}, {"reason": "Paused", "message": "x"}]);
    status.blocked.as_mut().unwrap().also = serde_json::from_value(also).unwrap();
    let release = status.release.as_mut().unwrap();
    let at = "2026-01-02T03:12:05.000000Z";
    release.paused = serde_json::from_value(json!({"by": "bob", "since": at})).unwrap();
    release.approvals = serde_json::from_value(json!([{"by": "ann", "at": at}])).unwrap();
    release.analysis = serde_json::from_value(json!({
        "stage": "verifying", "since": at, "checks": [{"name": "successRate", "measured": 3, "failed": 1}],
    }))
    .unwrap();
    let text = why(&Why::of(&service), now());
    let gates: Vec<&str> = text.lines().skip(4).collect();
    let expected = [
        "  also Frozen: freeze window x/y is open",
        "  pause: paused by bob",
        "  approvals: 1 of 2: ann",
        "  analysis (verifying): open",
        "  check successRate: open, measured 3, 1 failed",
    ];
    assert_eq!(gates, expected, "{text}");
}

#[test]
fn history_lists_revisions_and_decisions() {
    let decision: ReleaseDecision = serde_json::from_value(json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ReleaseDecision",
        "metadata": {"name": "order-promote-r6-x", "creationTimestamp": "2026-01-01T03:04:35Z"},
        "spec": {"service": "order", "verb": "promote", "revision": 6, "actor": "ann", "reason": "tested"},
        "status": {"outcome": "Done", "message": "users are with\u{1b}[31m revision 6"}
    }))
    .unwrap();
    let expected = "\
REVISION     COLOUR  AGE     OUTCOME    REASON            IMAGE         DIGEST               MESSAGE
r6 (active)  blue    1d      Completed  ReleaseCompleted  shop/order:1  sha256:aaaaaaaaaaaa  users are with it
r7           green   10m30s  -          -                 shop/order:2  -

AGE  DECISION  REVISION  ACTOR  OUTCOME  WHY     MESSAGE
1d   promote   r6        ann    Done     tested  users are with [31m revision 6
";
    assert_eq!(history(&History::of(&waiting(), vec![decision.clone()]), now()), expected);
    let many = history(&History::of(&waiting(), vec![decision; 25]), now());
    assert!(many.ends_with("(5 older decisions: -o json)\n"), "{many}");
    assert!(history(&History::of(&waiting(), vec![]), now()).ends_with("\nNo decisions are kept.\n"));
}

#[test]
fn ages_have_two_units_at_most() {
    for (from, text) in [
        ("2026-01-02T03:14:35Z", "0s"),
        ("2026-01-02T03:14:36Z", "0s"),
        ("2026-01-02T03:13:50Z", "45s"),
        ("2026-01-02T03:11:23Z", "3m12s"),
        ("2026-01-02T02:14:30Z", "1h"),
        ("2026-01-02T01:09:30Z", "2h5m"),
        ("2025-12-29T02:00:00Z", "4d1h"),
    ] {
        assert_eq!(age(time(from), now()), text, "{from}");
    }
}

#[test]
fn faults_are_seen_at_once() {
    let mut service = waiting();
    let fault = json!([{"policy": "drill", "until": "2026-01-02T04:00:00Z", "what": "status 503, for 5% of requests"}]);
    service.status.as_mut().unwrap().faults = serde_json::from_value(fault).unwrap();
    let line = "FaultPolicy drill injects status 503, for 5% of requests, until 2026-01-02T04:00:00Z";
    let page = status(&Overview::of(&service), now());
    assert!(page.contains(&format!("\nFaults      {line}\n")), "{page}");
    assert!(page.contains("promote or abort it; faults are injected (FaultPolicy drill)"), "{page}");
    assert!(why(&Why::of(&service), now()).contains(&format!("warning: {line}")));
    let found = crate::doctor::faults(&[service]);
    assert_eq!((found[0].level, found[0].message.as_str()), (Level::Warn, line));
    assert_eq!(
        found[0].remedy.as_deref(),
        Some("if it is not wanted: kubectl delete faultpolicy drill -n shop")
    );
}
