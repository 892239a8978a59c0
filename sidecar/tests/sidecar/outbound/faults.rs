//! Faults on calls: retries, circuit breaker and fallback do what they would.

use std::time::{Duration, SystemTime};

use shop_contract::{CircuitBreaker, Delay, Dependency, Fallback, Fault, FaultEnd, FaultMatch, Push};

use super::pods::{Dns, FakePod, says};
use super::{caller, get, knows, reason};
use crate::support::Pod;

fn fault(delay: Option<Delay>, end: Option<FaultEnd>) -> Fault {
    let until = (SystemTime::now() + Duration::from_hours(1)).duration_since(SystemTime::UNIX_EPOCH);
    Fault {
        policy: "drill".into(),
        until_unix_ms: u64::try_from(until.expect("after 1970").as_millis()).expect("in range"),
        share: 10_000,
        matches: None,
        dependency: Some("inventory".into()),
        delay,
        end,
    }
}

async fn push(pod: &mut Pod, faults: Vec<Fault>) {
    pod.document.faults = faults;
    pod.document.generation += 1;
    let (status, acknowledgement) = pod.push(&Push::Document(pod.document.clone())).await;
    assert_eq!(status, 200, "{acknowledgement:?}");
}

#[tokio::test]
async fn a_call_that_is_struck_does_what_it_would() {
    let dns = Dns::start().await;
    let pod = FakePod::start(|_| async { says("fine") }).await;
    dns.pods("inventory", &[&pod]);
    dns.pods("stock", &[&pod]);
    let breaker =
        CircuitBreaker { requests: 4, error_percent: 50, window_ms: 10_000, open_ms: 60_000, trials: 1 };
    let fallback = Fallback::Answer { status: 200, content_type: "text/plain".into(), body: "soon".into() };
    let inventory = Dependency {
        timeout_ms: 300,
        retries: 1,
        fallback: Some(fallback),
        circuit_breaker: Some(breaker),
        ..Dependency::new("inventory")
    };
    let mut app = caller(&dns, vec![inventory, Dependency::new("stock")]).await;
    knows(&app, "inventory", 1).await;
    knows(&app, "stock", 1).await;

    // A connection that is lost is tried again, and then the fallback is the answer.
    let drill = Some(FaultMatch { path: Some("/drill".into()), ..FaultMatch::default() });
    push(&mut app, vec![Fault { matches: drill, ..fault(None, Some(FaultEnd::Drop)) }]).await;
    let answer = get(&app, "inventory", "/drill", "").await;
    assert_eq!((answer.status, reason(&answer), answer.body.as_str()), (200, "dependency-reset", "soon"));
    assert_eq!((get(&app, "inventory", "/", "").await.body.as_str(), pod.seen()), ("fine", 1));
    assert_eq!(get(&app, "stock", "/drill", "").await.body, "fine", "another dependency");
    let metrics = app.metrics().await;
    assert!(metrics.contains("shop_sidecar_faults_total{kind=\"drop\"} 2\n"), "{metrics}");
    assert!(
        metrics.contains("shop_sidecar_dependency_retries_total{dependency=\"inventory\"} 1\n"),
        "{metrics}"
    );

    // An answer too late is none.
    push(&mut app, vec![fault(Some(Delay { fixed_ms: 60_000, jitter_ms: 0 }), None)]).await;
    assert_eq!(reason(&get(&app, "inventory", "/", "").await), "deadline");

    // Answers that say so open the circuit.
    let end = FaultEnd::Abort { status: 500, grpc_status: None };
    push(&mut app, vec![fault(None, Some(end))]).await;
    let answer = get(&app, "inventory", "/", "").await;
    assert_eq!((answer.status, reason(&answer)), (500, "fault"));
    let answer = get(&app, "inventory", "/", "").await;
    assert_eq!((answer.status, reason(&answer), answer.body.as_str()), (200, "circuit-open", "soon"));
    assert_eq!(pod.seen(), 2, "the pod has seen what was not struck");
}
