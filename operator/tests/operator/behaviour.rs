//! One test per behaviour.

use std::time::Duration;

use serde_json::{Value, json};
use shop_operator::{run, settings::Settings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, State},
    nodes,
};

const SHOPS: &str = "shopkeeper.dev/v1alpha1/shopservices";
const DEPLOYMENTS: &str = "apps/v1/deployments";
const DECISIONS: &str = "shopkeeper.dev/v1alpha1/releasedecisions";
const SERVICES: &str = "v1/services";

pub(crate) struct Operator {
    stop: CancellationToken,
    task: JoinHandle<Result<(), run::RunError>>,
}

impl Operator {
    pub(crate) async fn start(api: &Api, pod: &str) -> Self {
        let settings = Settings {
            namespace: "shopkeeper".into(),
            pod_name: pod.into(),
            sidecar_image: "sidecar:1".into(),
            sidecar_pull_policy: "IfNotPresent".into(),
            log: "info".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            concurrency: 4,
            trust_domain: "cluster.local".into(),
            monitoring_namespace: "monitoring".into(),
        };
        let stop = CancellationToken::new();
        let sidecars = nodes::sidecars().await;
        let task = tokio::spawn(run::run(settings, api.client(), Some(sidecars), stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn order(api: &Api, spec: Value) {
    api.with(|state| {
        let place = (SHOPS.to_owned(), "shop".to_owned(), "order".to_owned());
        let mut shop = state.objects.get(&place).cloned().unwrap_or_else(
            || json!({ "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService", "metadata": {} }),
        );
        shop["spec"] = spec;
        state.put(place, shop);
    });
}

fn decide(api: &Api, verb: &str, revision: i64) {
    let spec = json!({ "service": "order", "verb": verb, "revision": revision, "actor": "ann" });
    let place = (DECISIONS.to_owned(), "shop".to_owned(), verb.to_owned());
    api.with(|state| state.put(place, json!({ "metadata": {}, "spec": spec })));
}

pub(crate) fn spec(image: &str) -> Value {
    json!({
        "image": image, "port": 8080, "replicas": 2,
        "release": { "settle": "10ms", "keepOld": "0s", "drain": { "max": "10s" } },
    })
}

pub(crate) fn status(state: &State) -> &Value {
    state.get(SHOPS, "order").map_or(&Value::Null, |shop| &shop["status"])
}

pub(crate) fn serves(state: &State, revision: i64) -> Option<()> {
    let selected = state.get(SERVICES, "order")?["spec"]["selector"]["shopkeeper.dev/revision"].clone();
    let stable = status(state)["phase"] == "Stable" && status(state)["active"]["revision"] == revision;
    (stable && selected.as_str() == Some(revision.to_string().as_str())).then_some(())
}

/// Waits for renewals of the lease in a row with no other call between them.
pub(crate) async fn idles(api: &Api) {
    api.until("nothing but the lease is called", |state| {
        let last: Vec<&str> = state.calls.iter().rev().take(5).map(|call| call.resource.as_str()).collect();
        (last.len() == 5 && last.iter().all(|resource| resource.ends_with("/leases"))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lines_become_a_service() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, json!({ "image": "order:1", "port": 8080 }));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    api.with(|state| {
        for (resource, name) in [
            (DEPLOYMENTS, "order-r1"),
            ("apps/v1/controllerrevisions", "order-r1"),
            ("policy/v1/poddisruptionbudgets", "order-r1"),
            ("v1/configmaps", "order-r1-sidecar"),
            ("v1/secrets", "order-sidecar-keys"),
            ("v1/serviceaccounts", "order-shop"),
            (SERVICES, "order"),
            (SERVICES, "order-pods"),
            (SERVICES, "order-preview"),
        ] {
            let object = state.get(resource, name).unwrap_or_else(|| panic!("{resource} {name} is missing"));
            assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "order", "{resource} {name}");
        }
    });
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_takes_over_and_the_old_revision_goes() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    order(&api, spec("order:2"));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    api.until("revision 1 is scaled to zero", |state| {
        (state.get(DEPLOYMENTS, "order-r1")?["spec"]["replicas"] == 0).then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_speaks_its_own_protocol_is_released_like_any_other() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    for (revision, image) in [(1, "ledger:1"), (2, "ledger:2")] {
        let mut spec = spec(image);
        spec["protocol"] = "tcp".into();
        order(&api, spec);
        api.until("the revision serves", |state| serves(state, revision)).await;
    }
    api.until("revision 1 is scaled to zero", |state| {
        (state.get(DEPLOYMENTS, "order-r1")?["spec"]["replicas"] == 0).then_some(())
    })
    .await;
    api.with(|state| {
        let config = state.get("v1/configmaps", "order-r2-sidecar").unwrap();
        let document: Value =
            serde_json::from_str(config["data"]["document.json"].as_str().unwrap()).unwrap();
        assert_eq!(document["app"]["protocol"], "tcp");
        assert_eq!(state.get(SERVICES, "order").unwrap()["spec"]["ports"][0]["appProtocol"], "tcp");
    });
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_image_never_gets_users() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    order(&api, spec("order:broken"));
    api.until("revision 2 is aborted, and revision 1 serves", |state| {
        let aborted = status(state)["revisions"]
            .as_array()?
            .iter()
            .any(|revision| revision["number"] == 2 && revision["outcome"]["result"] == "Aborted");
        if aborted { serves(state, 1) } else { None }
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_somebody_else_is_never_touched() {
    let api = Api::new();
    let place = (SERVICES.to_owned(), "shop".to_owned(), "order".to_owned());
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": { "selector": { "app": "old" } } });
    let before = api.with(|state| state.put(place.clone(), foreign));
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("it says that the name is taken", |state| {
        (status(state)["blocked"]["reason"] == "NameTaken").then_some(())
    })
    .await;
    assert_eq!(api.with(|state| state.get(SERVICES, "order").cloned()), Some(before));
    api.with(|state| state.remove(&place));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_only_delay() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    api.with(|state| {
        for resource in [SHOPS, SERVICES, DEPLOYMENTS, "v1/configmaps"] {
            state.conflicts.insert(resource.to_owned(), 3);
        }
    });
    order(&api, spec("order:2"));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_put_back() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    api.with(|state| {
        let mut deployment = state.get(DEPLOYMENTS, "order-r1").cloned().unwrap();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1".into();
        state.put((DEPLOYMENTS.to_owned(), "shop".to_owned(), "order-r1".to_owned()), deployment);
        let mut service = state.get(SERVICES, "order").cloned().unwrap();
        service["spec"]["selector"]["shopkeeper.dev/revision"] = "9".into();
        state.put((SERVICES.to_owned(), "shop".to_owned(), "order".to_owned()), service);
    });
    api.until("both are as they were", |state| {
        let image =
            &state.get(DEPLOYMENTS, "order-r1")?["spec"]["template"]["spec"]["containers"][0]["image"];
        let selected = &state.get(SERVICES, "order")?["spec"]["selector"]["shopkeeper.dev/revision"];
        (image == "order:1" && selected == "1").then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_while_nothing_happens() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    idles(&api).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_acts_and_the_other_takes_over() {
    let api = Api::new();
    let first = Operator::start(&api, "shopkeeper-0").await;
    let holder = |state: &State| -> Option<String> {
        let place =
            ("coordination.k8s.io/v1/leases".to_owned(), "shopkeeper".to_owned(), "shopkeeper".to_owned());
        Some(state.objects.get(&place)?["spec"]["holderIdentity"].as_str()?.to_owned())
    };
    let leads = |state: &State, pod: &str| holder(state)?.starts_with(pod).then_some(());
    api.until("the first leads", |state| leads(state, "shopkeeper-0")).await;
    let second = Operator::start(&api, "shopkeeper-1").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    assert!(api.with(|state| leads(state, "shopkeeper-0")).is_some());
    first.stop().await;
    api.until("the second leads", |state| leads(state, "shopkeeper-1")).await;
    order(&api, spec("order:2"));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    let epoch = api.with(|state| status(state)["leaderEpoch"].clone());
    assert_eq!(epoch, 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_on_under_another_leader() {
    let api = Api::new();
    let first = Operator::start(&api, "shopkeeper-0").await;
    let manual = |image: &str| {
        let mut spec = spec(image);
        spec["release"]["promote"] = "manual".into();
        spec
    };
    order(&api, manual("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    order(&api, manual("order:2"));
    api.until("revision 2 waits to be promoted", |state| {
        (status(state)["blocked"]["reason"] == "AwaitingPromotion").then_some(())
    })
    .await;
    first.stop().await;
    let second = Operator::start(&api, "shopkeeper-1").await;
    api.until("the second has taken the release up", |state| {
        (status(state)["leaderEpoch"] == 2).then_some(())
    })
    .await;
    idles(&api).await;
    decide(&api, "promote", 2);
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_cannot_be_read_disturbs_no_other() {
    let api = Api::new();
    let place = (SHOPS.to_owned(), "shop".to_owned(), "newer".to_owned());
    api.with(|state| {
        state.put(place, json!({ "metadata": {}, "spec": { "image": { "of": "another version" } } }))
    });
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_is_copied_and_a_change_of_it_is_a_new_revision() {
    let api = Api::new();
    let place = ("v1/secrets".to_owned(), "shop".to_owned(), "settings".to_owned());
    let secret = |value: &str| json!({ "metadata": {}, "type": "Opaque", "data": { "key": value } });
    let mut spec = spec("order:1");
    spec["config"] = json!([{ "secret": "settings", "mountPath": "/etc/order" }]);
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec);
    api.until("it says that the config is missing", |state| {
        (status(state)["blocked"]["reason"] == "ConfigMissing").then_some(())
    })
    .await;
    api.with(|state| state.put(place.clone(), secret("b25l")));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    api.with(|state| state.put(place, secret("dHdv")));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    api.with(|state| {
        for (copy, value) in [("order-r1-settings", "b25l"), ("order-r2-settings", "dHdv")] {
            let copy = state.get("v1/secrets", copy).unwrap();
            assert_eq!((&copy["data"]["key"], &copy["immutable"]), (&json!(value), &json!(true)));
        }
        let record = state.get("apps/v1/controllerrevisions", "order-r1").unwrap().to_string();
        assert!(!record.contains("b25l"), "a secret is in the record of the revision");
    });
    tokio::time::timeout(Duration::from_mins(1), operator.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_laid_over_the_pod_is_tried_out_before_it_is_cut() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    let laid_over = |field: &str| {
        let mut spec = spec("order:1");
        spec["pod"] = json!({ "spec": { field: { "disk": "ssd" } } });
        spec
    };
    order(&api, laid_over("nodeSelektor"));
    api.until("the unknown field is named", |state| {
        let blocked = &status(state)["blocked"];
        let named = blocked["message"].as_str().is_some_and(|message| message.contains("nodeSelektor"));
        (blocked["reason"] == "InvalidSpec" && named).then_some(())
    })
    .await;
    order(&api, laid_over("nodeSelector"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    let template =
        api.with(|state| state.get(DEPLOYMENTS, "order-r1").unwrap()["spec"]["template"]["spec"].clone());
    assert_eq!(template["nodeSelector"], json!({ "disk": "ssd" }));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_a_record_of_its_own_and_is_no_drift() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;
    decide(&api, "restart", 1);
    api.until("the decision is carried out", |state| {
        (state.get(DECISIONS, "restart")?["status"]["outcome"] == "Done").then_some(())
    })
    .await;
    idles(&api).await;
    api.with(|state| {
        let ordinal = |object: &Value| object["metadata"]["annotations"]["shopkeeper.dev/restart"].clone();
        let deployment = state.get(DEPLOYMENTS, "order-r1").unwrap();
        assert_eq!((ordinal(deployment), ordinal(&deployment["spec"]["template"])), ("1".into(), "1".into()));
        let record = state.get("apps/v1/controllerrevisions", "order-r1-s1").unwrap();
        assert_eq!(record["data"]["template"], deployment["spec"]["template"]);
        assert_eq!(record["metadata"]["labels"]["shopkeeper.dev/revision"], "1");
        assert_eq!(ordinal(state.get("v1/pods", "order-r1-0").unwrap()), "1");
        assert!(status(state)["restart"].is_null());
        assert_eq!(status(state)["revisions"][0]["restarts"], 1);
    });
    operator.stop().await;
}
