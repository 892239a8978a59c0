//! A FaultPolicy from its creation to its end: what sidecars are told, and what people see.

use serde_json::{Value, json};

use crate::{
    api::{Api, State},
    behaviour::{Operator, order, serves, spec, status},
};

const FAULTS: &str = "shopkeeper.dev/v1alpha1/faultpolicies";
const POLICIES: &str = "shopkeeper.dev/v1alpha1/shoppolicies";

fn put(api: &Api, kind: &str, name: &str, spec: &Value) {
    let place = (kind.to_owned(), "shop".to_owned(), name.to_owned());
    api.with(|state| state.put(place, json!({ "metadata": {}, "spec": spec })));
}

fn drill(services: Value, duration: &str) -> Value {
    let mut spec = json!({"share": "5%", "drop": true, "duration": duration});
    let field = if services.is_array() { "services" } else { "selector" };
    spec[field] = services;
    spec
}

/// What the sidecars of revision 1 are told.
fn told(state: &State) -> Option<Value> {
    let config = state.get("v1/configmaps", "order-r1-sidecar")?;
    let document: Value = serde_json::from_str(config["data"]["document.json"].as_str()?).ok()?;
    Some(document["faults"].clone())
}

fn reason(state: &State, name: &str) -> Option<String> {
    let found = &state.get(FAULTS, name)?["status"]["conditions"][0]["reason"];
    found.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_injected_shown_and_ends() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;

    put(&api, FAULTS, "drill", &drill(json!(["order"]), "1h"));
    put(&api, FAULTS, "other", &drill(json!({"matchLabels": {"tier": "front"}}), "1h"));
    let faults = api.until("sidecars are told", |state| told(state).filter(Value::is_array)).await;
    assert_eq!((faults[0]["policy"].as_str(), &faults[0]["end"]), (Some("drill"), &json!("drop")));
    api.until("its status says so", |state| (reason(state, "drill")? == "FaultsInjected").then_some(()))
        .await;
    api.until("nobody has the label", |state| (reason(state, "other")? == "FaultsUnused").then_some(()))
        .await;
    api.with(|state| {
        let policy = state.get(FAULTS, "drill").unwrap();
        assert_eq!(policy["status"]["services"], json!(["order"]));
        assert!(policy["status"]["until"].is_string());
    });
    api.until("the service says so", |state| {
        let message = status(state)["message"].as_str()?;
        (status(state)["faults"][0]["policy"] == "drill" && message.contains("FaultPolicy drill"))
            .then_some(())
    })
    .await;

    put(&api, POLICIES, "calm", &json!({"forbidFaults": true}));
    api.until("it is forbidden", |state| (reason(state, "drill")? == "FaultsRefused").then_some(())).await;
    api.until("sidecars are told so", |state| told(state).filter(Value::is_null)).await;
    api.with(|state| state.remove(&(POLICIES.to_owned(), "shop".to_owned(), "calm".to_owned())));
    api.until("sidecars are told again", |state| told(state).filter(Value::is_array)).await;
    api.with(|state| state.remove(&(FAULTS.to_owned(), "shop".to_owned(), "drill".to_owned())));
    api.until("it is taken back", |state| told(state).filter(Value::is_null)).await;

    put(&api, FAULTS, "short", &drill(json!(["order"]), "1s"));
    api.until("it is over", |state| (reason(state, "short")? == "FaultsEnded").then_some(())).await;
    api.until("sidecars are not told of it any more", |state| told(state).filter(Value::is_null)).await;
    api.with(|state| assert_eq!(status(state)["lastRevision"], 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_says_where_spans_go() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    put(&api, POLICIES, "telemetry", &json!({"defaults": {"tracing": {"endpoint": "http://otel:4317"}}}));
    order(&api, spec("order:1"));
    let endpoint = |state: &State| {
        let config = state.get("v1/configmaps", "order-r1-sidecar")?;
        let document: Value = serde_json::from_str(config["data"]["document.json"].as_str()?).ok()?;
        document["telemetry"]["tracing"]["endpoint"].as_str().map(str::to_owned)
    };
    api.until("by default", |state| (endpoint(state)? == "http://otel:4317").then_some(())).await;
    let mut own = spec("order:1");
    own["tracing"] = json!({"endpoint": "http://own:4317"});
    order(&api, own);
    api.until("the service's own wins", |state| (endpoint(state)? == "http://own:4317").then_some(())).await;
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    api.with(|state| assert_eq!(status(state)["lastRevision"], 1));
    operator.stop().await;
}
