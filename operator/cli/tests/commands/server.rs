//! An API server inside of the test: a few kinds, scripted answers, and a record of what was written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

const SHOP: &str = "/apis/shopkeeper.dev/v1alpha1";

/// What the cluster holds and will say.
#[derive(Default)]
pub(crate) struct Script {
    /// Statuses of `shop/order`, one for each time that it is read; the last one stays.
    pub(crate) statuses: VecDeque<Value>,
    /// Answers of the operator to a decision, one for each time that it is read; the last one stays.
    pub(crate) answers: VecDeque<Value>,
    /// Codes that reads of `shop/order` fail with once a decision was made, before they work again.
    pub(crate) failures: VecDeque<u16>,
    /// Message with which creating a decision is forbidden.
    pub(crate) forbidden: Option<String>,
    /// Decisions that were created.
    pub(crate) decisions: Vec<Value>,
    /// Whether the kinds exist.
    pub(crate) installed: bool,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<Script>>);

impl Server {
    pub(crate) fn new(statuses: impl IntoIterator<Item = Value>) -> Self {
        let script =
            Script { statuses: statuses.into_iter().collect(), installed: true, ..Script::default() };
        Self(Arc::new(Mutex::new(script)))
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    pub(crate) fn client(&self) -> kube::Client {
        let routes = Router::new()
            .route(&format!("{SHOP}/namespaces/{{namespace}}/shopservices/{{name}}"), get(read_service))
            .route(&format!("{SHOP}/shopservices"), get(list_services))
            .route(
                &format!("{SHOP}/namespaces/{{namespace}}/releasedecisions"),
                post(create).get(list_decisions),
            )
            .route(&format!("{SHOP}/namespaces/{{namespace}}/releasedecisions/{{name}}"), get(read_decision))
            .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(review))
            .with_state(self.clone());
        kube::Client::new(routes, "shop")
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": {"kind": "shopservices"},
    });
    (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
}

/// The front one, which stays when it is the last.
fn next(queue: &mut VecDeque<Value>) -> Value {
    let front = queue.front().cloned().unwrap_or(Value::Null);
    if queue.len() > 1 {
        queue.pop_front();
    }
    front
}

async fn read_service(
    State(server): State<Server>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let mut script = server.script();
    if !script.installed {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    if (namespace.as_str(), name.as_str()) != ("shop", "order") {
        return failure(404, "NotFound", &format!("shopservices.shopkeeper.dev {name:?} not found"));
    }
    if !script.decisions.is_empty()
        && let Some(code) = script.failures.pop_front()
    {
        return failure(code, "InternalError", "etcd is away");
    }
    Json(json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
        "metadata": {"name": name, "namespace": namespace, "generation": 4},
        "spec": {"image": "shop/order:2", "port": 8080}, "status": next(&mut script.statuses),
    }))
    .into_response()
}

async fn list_services(Query(query): Query<std::collections::BTreeMap<String, String>>) -> Response {
    let found = query.get("fieldSelector").is_some_and(|selector| selector == "metadata.name=order");
    let order = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "order", "namespace": "shop"}});
    let items = if found { vec![order] } else { vec![] };
    Json(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items}))
        .into_response()
}

async fn create(
    State(server): State<Server>,
    Path(namespace): Path<String>,
    Json(mut decision): Json<Value>,
) -> Response {
    let mut script = server.script();
    if let Some(message) = &script.forbidden {
        return failure(403, "Forbidden", message);
    }
    decision["metadata"]["namespace"] = json!(namespace);
    decision["metadata"]["creationTimestamp"] = json!("2026-01-02T03:04:05Z");
    script.decisions.push(decision.clone());
    (StatusCode::CREATED, Json(decision)).into_response()
}

async fn read_decision(State(server): State<Server>, Path((_, name)): Path<(String, String)>) -> Response {
    let mut script = server.script();
    let found =
        script.decisions.iter().find(|decision| decision["metadata"]["name"] == name.as_str()).cloned();
    let Some(mut decision) = found else { return failure(404, "NotFound", "no such decision") };
    let answer = next(&mut script.answers);
    if !answer.is_null() {
        decision["status"] = answer;
    }
    Json(decision).into_response()
}

async fn list_decisions(State(server): State<Server>) -> Response {
    let items = server.script().decisions.clone();
    let list = json!({"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ReleaseDecisionList", "metadata": {}, "items": items});
    Json(list).into_response()
}

async fn review(Json(mut review): Json<Value>) -> Response {
    review["status"] =
        json!({"userInfo": {"username": "ann@shop.example", "groups": ["system:authenticated"]}});
    (StatusCode::CREATED, Json(review)).into_response()
}
