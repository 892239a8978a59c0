//! Gates: what a policy of the namespace, a web hook and a Job do to a release.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Json, Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    api::{Api, State},
    behaviour::{Operator, order, serves, spec, status},
    nodes::BY_HAND,
};

const JOBS: &str = "batch/v1/jobs";
const POLICIES: &str = "shopkeeper.dev/v1alpha1/shoppolicies";

fn policy(api: &Api, zone: &str) {
    api.with(|state| {
        let place = (POLICIES.to_owned(), "shop".to_owned(), "calendar".to_owned());
        let mut policy = state.objects.get(&place).cloned().unwrap_or_else(
            || json!({ "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopPolicy", "metadata": {} }),
        );
        // Every day, all day.
        policy["spec"] = json!({ "freeze": [
            { "name": "always", "start": "2026-01-01T00:00:00", "duration": "2d", "rrule": "FREQ=DAILY", "timeZone": zone, "allow": false },
        ]});
        state.put(place, policy);
    });
}

fn accepted(state: &State) -> Option<Value> {
    Some(state.get(POLICIES, "calendar")?["status"]["conditions"].as_array()?.first()?.clone())
}

fn blocked(state: &State, reason: &str) -> Option<()> {
    (status(state)["blocked"]["reason"] == reason).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_freezes_the_services_of_its_namespace_and_says_what_is_wrong_with_it() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;

    policy(&api, "Europe/Nowhere");
    let condition = api
        .until("the policy is refused", |state| accepted(state).filter(|found| found["status"] == "False"))
        .await;
    assert_eq!(condition["reason"], "FreezeInvalid");
    assert!(condition["message"].as_str().unwrap().contains("timeZone (always)"), "{condition}");
    order(&api, spec("order:2"));
    api.until("it is not promoted", |state| blocked(state, "FreezeInvalid")).await;

    policy(&api, "Europe/Berlin");
    api.until("the policy is accepted", |state| accepted(state).filter(|found| found["status"] == "True"))
        .await;
    api.until("it is frozen", |state| blocked(state, "Frozen")).await;

    api.with(|state| state.remove(&(POLICIES.to_owned(), "shop".to_owned(), "calendar".to_owned())));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    operator.stop().await;
}

/// A hook that says no until it is told to say yes; its address, and what tells it.
async fn hook() -> (String, Arc<AtomicBool>) {
    let agrees = Arc::<AtomicBool>::default();
    let told = Arc::clone(&agrees);
    let answer = move |Json(question): Json<Value>| {
        let fits =
            question["service"] == "order" && question["revision"] == 2 && question["image"] == "order:2";
        let yes = fits && told.load(Ordering::SeqCst);
        async move { if yes { StatusCode::ACCEPTED } else { StatusCode::CONFLICT } }
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}/may-release", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().route("/may-release", post(answer))).into_future());
    (address, agrees)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_must_say_yes_and_an_expand_job_must_succeed() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    let (url, agrees) = hook().await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let mut second = spec("order:2");
    second["release"]["confirm"] = json!({ "url": url, "interval": "1s" });
    second["release"]["jobs"] = json!({ "expand": { "args": [BY_HAND] } });
    order(&api, second);
    let job = api.until("the Job is there", |state| state.get(JOBS, "order-r2-expand").cloned()).await;
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["args"]), (&json!("order:2"), &json!([BY_HAND])));
    api.until("it is waited for", |state| blocked(state, "WaitingForJob")).await;
    api.with(|state| {
        assert_eq!(
            state.get("apps/v1/deployments", "order-r2").map(|one| one["spec"]["replicas"].clone()),
            Some(json!(0))
        );
        let mut job = job.clone();
        job["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
        state.put((JOBS.to_owned(), "shop".to_owned(), "order-r2-expand".to_owned()), job);
    });
    api.until("the hook said no", |state| {
        let message = status(state)["blocked"]["message"].as_str()?;
        message.contains("409").then_some(())
    })
    .await;
    agrees.store(true, Ordering::SeqCst);
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    operator.stop().await;
}
