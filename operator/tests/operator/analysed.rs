//! Releases that are analysed: by the sidecars' counters, a web hook and a Job.

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use crate::{
    api::{Api, State},
    behaviour::{Operator, order, serves, spec, status},
    nodes,
};

fn analysed(image: &str, analysis: &Value) -> Value {
    let mut spec = spec(image);
    spec["release"]["analysis"] = analysis.clone();
    spec
}

fn outcome(state: &State, revision: usize) -> Option<&str> {
    status(state)["revisions"][revision - 1]["outcome"]["reason"].as_str()
}

/// Revision 2 is released well, and revision 3, which must not be, is left.
async fn tells_apart(analysis: &Value, good: &str, bad: &str) {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    order(&api, analysed(good, analysis));
    api.until("the analysis has passed", |state| {
        (status(state)["release"]["analysis"]["outcome"] == "passed").then_some(())
    })
    .await;
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    order(&api, analysed(bad, analysis));
    api.until("revision 3 was left", |state| (outcome(state, 3) == Some("AnalysisFailed")).then_some(()))
        .await;
    api.until("revision 2 serves again", |state| serves(state, 2)).await;
    api.until("no Job is left", |state| {
        let jobs = state.objects.keys().filter(|place| place.0 == "batch/v1/jobs").count();
        (jobs == 0).then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_sidecars_tell_good_from_bad() {
    let analysis = json!({
        "successRate": { "min": "99%", "maxDrop": "2%" }, "latencyP99": { "max": "300ms", "maxIncrease": "50%" },
        "duration": "1s",
    });
    tells_apart(&analysis, "order:2", &format!("order:{}", nodes::FAILING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_hook_tells_good_from_bad() {
    let hook = |Json(told): Json<Value>| async move {
        let fine = told["image"].as_str().is_some_and(|image| !image.ends_with(":3"));
        Json(json!({ "checks": [{ "verdict": if fine { "ok" } else { "no" } }] }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/judge", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/judge", post(hook))).await });
    let hook = json!({ "url": url, "jsonPath": "$.checks[0].verdict", "equals": "ok" });
    let analysis =
        json!({ "when": ["verifying"], "duration": "1s", "checks": [{ "name": "judge", "webhook": hook }] });
    tells_apart(&analysis, "order:2", "order:3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_tells_good_from_bad() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    let with_job = |image: &str, job: &str| {
        let check = json!({ "name": "smoke", "job": { "image": job } });
        analysed(image, &json!({ "when": ["verifying"], "checks": [check] }))
    };
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    order(&api, with_job("order:2", "smoke:1"));
    let job = api
        .until("a Job runs", |state| {
            let mut jobs = state.objects.iter().filter(|(place, _)| place.0 == "batch/v1/jobs");
            jobs.next().map(|(_, job)| job.clone())
        })
        .await;
    let pod = &job["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["shopkeeper.dev/service"], Value::Null, "Services would select it");
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(job["spec"]["backoffLimit"], 0);
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    order(&api, with_job("order:3", &format!("smoke:{}", nodes::BROKEN)));
    api.until("revision 3 was left", |state| (outcome(state, 3) == Some("AnalysisFailed")).then_some(()))
        .await;
    api.until("no Job is left", |state| {
        let jobs = state.objects.keys().filter(|place| place.0 == "batch/v1/jobs").count();
        (jobs == 0).then_some(())
    })
    .await;
    operator.stop().await;
}
