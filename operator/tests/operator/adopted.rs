//! A Deployment and a Service that were there before become revision 0, and users leave it for a revision with sidecars.

use serde_json::{Value, json};

use crate::{
    api::{Api, State},
    behaviour::{Operator, order, serves, spec, status},
};

const DEPLOYMENTS: &str = "apps/v1/deployments";
const SERVICES: &str = "v1/services";

fn place(resource: &str, name: &str) -> (String, String, String) {
    (resource.to_owned(), "shop".to_owned(), name.to_owned())
}

fn plain(api: &Api) {
    api.with(|state| {
        let template = json!({
            "metadata": { "labels": { "app": "order" } },
            "spec": { "containers": [{ "name": "web", "image": "order:1" }] },
        });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "order" } }, "template": template },
        });
        state.put(place(DEPLOYMENTS, "plain"), deployment);
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "labels": { "team": "orders" }, "annotations": { "example.com/a": "b" } },
            "spec": {
                "type": "ClusterIP", "selector": { "app": "order" },
                "ports": [{ "name": "web", "port": 8080, "protocol": "TCP", "targetPort": 5000 }],
            },
        });
        state.put(place(SERVICES, "order"), service);
    });
}

fn adopting(image: &str) -> Value {
    let mut spec = spec(image);
    spec["adopt"] = json!({ "deployment": "plain" });
    spec["service"] = json!({ "port": 8080, "portName": "web" });
    spec
}

fn pods(state: &State) -> Vec<Value> {
    let mine = |(place, _): &(&(String, String, String), &Value)| {
        place.0 == "v1/pods" && place.2.starts_with("plain-")
    };
    state.objects.iter().filter(mine).map(|(_, pod)| pod["metadata"]["uid"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_deployment_is_adopted_left_gone_back_to_and_left_for_good() {
    let api = Api::new();
    plain(&api);
    let before = api.with(|state| (pods(state), state.get(DEPLOYMENTS, "plain").cloned().unwrap()));
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, adopting("order:1"));
    let ready = |state: &State| {
        let status = status(state);
        (status["active"]["revision"] == 0 && status["ready"] == "2/2").then_some(())
    };
    api.until("revision 0 serves", ready).await;
    api.until("the other Services lead to it", |state| state.get(SERVICES, "order-preview").map(|_| ()))
        .await;
    api.with(|state| {
        let deployment = state.get(DEPLOYMENTS, "plain").unwrap();
        assert_eq!((pods(state), &deployment["spec"]), (before.0.clone(), &before.1["spec"]));
        assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        let service = state.get(SERVICES, "order").unwrap();
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 5000);
        assert_eq!(state.get(SERVICES, "order-pods").unwrap()["spec"]["ports"][0]["targetPort"], 5000);
        assert_eq!(service["metadata"]["ownerReferences"][0]["kind"], "ShopService");
    });
    order(&api, adopting("order:broken"));
    api.until("the first release is undone", |state| {
        (status(state)["blocked"]["reason"] == "NotTriedAgain").then_some(())
    })
    .await;
    assert_eq!(api.with(|state| pods(state)), before.0);
    order(&api, adopting("order:2"));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    api.until("the adopted pods are gone", |state| pods(state).is_empty().then_some(())).await;
    api.with(|state| {
        let service = state.get(SERVICES, "order").unwrap();
        assert_eq!(
            service["spec"]["ports"],
            json!([{ "name": "web", "port": 8080, "protocol": "TCP", "targetPort": 9440 }])
        );
        assert_eq!(service["metadata"]["labels"]["team"], "orders");
        assert_eq!(service["metadata"]["annotations"]["example.com/a"], "b");
        let deployment = state.get(DEPLOYMENTS, "plain").unwrap();
        assert_eq!(deployment["spec"]["template"], before.1["spec"]["template"]);
        assert!(state.get(DEPLOYMENTS, "order-r0").is_none());
    });
    // Back to it, although its pods are gone.
    order(&api, adopting("order:1"));
    api.until("revision 0 serves again", |state| {
        let users = &state.get(SERVICES, "order")?["spec"];
        let back = status(state)["phase"] == "Stable" && users["selector"] == json!({ "app": "order" });
        (back && users["ports"][0]["targetPort"] == 5000 && pods(state).len() == 2).then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_not_touched() {
    let api = Api::new();
    plain(&api);
    let operator = Operator::start(&api, "shopkeeper-0").await;
    let mut wrong = adopting("order:1");
    wrong["service"] = json!({});
    order(&api, wrong);
    let message = api
        .until("it is refused", |state| {
            let blocked = &status(state)["blocked"];
            (blocked["reason"] == "AdoptionRefused").then(|| blocked["message"].to_string())
        })
        .await;
    assert!(message.contains("write spec.service.port: 8080"), "{message}");
    api.with(|state| {
        assert!(state.get(SERVICES, "order").unwrap()["metadata"]["ownerReferences"].is_null());
        assert!(state.get("apps/v1/controllerrevisions", "order-r0").is_none());
    });
    order(&api, adopting("order:1"));
    api.until("revision 0 serves", |state| (status(state)["active"]["revision"] == 0).then_some(())).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_serves_is_given_back_and_outlives_its_shopservice() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let before = api.with(|state| state.get(DEPLOYMENTS, "order-r1").unwrap()["spec"].clone());
    let mut eject = spec("order:1");
    eject["eject"] = json!(true);
    order(&api, eject);
    api.until("all is given back", |state| (status(state)["blocked"]["reason"] == "Ejected").then_some(()))
        .await;
    api.with(|state| state.remove(&place("shopkeeper.dev/v1alpha1/shopservices", "order")));
    api.until("the rest goes", |state| state.get(SERVICES, "order-preview").is_none().then_some(())).await;
    api.with(|state| {
        let deployment = state.get(DEPLOYMENTS, "order-r1").unwrap();
        assert_eq!(deployment["spec"], before);
        for (resource, name) in [
            (DEPLOYMENTS, "order-r1"),
            (SERVICES, "order"),
            (SERVICES, "order-pods"),
            ("v1/configmaps", "order-r1-sidecar"),
            ("v1/secrets", "order-sidecar-keys"),
            ("v1/serviceaccounts", "order-shop"),
            ("policy/v1/poddisruptionbudgets", "order-r1"),
        ] {
            let metadata = state.get(resource, name).unwrap()["metadata"].to_string();
            assert!(!metadata.contains("shopkeeper.dev/") && !metadata.contains("managed-by"), "{metadata}");
        }
        assert!(state.get("apps/v1/controllerrevisions", "order-r1").is_none());
    });
    operator.stop().await;
}
