//! An API server inside of the test: a few kinds, scripted answers, and a record of what was written.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::stream;
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
    /// Whether somebody changes the service between read and patch.
    pub(crate) conflict: bool,
    /// Objects that were applied in a dry run.
    pub(crate) dry_runs: Vec<Value>,
    /// Why the API server refuses what is applied.
    pub(crate) invalid: Option<String>,
    /// Patches of ShopServices.
    pub(crate) patches: Vec<Value>,
    /// ShopServices that were created.
    pub(crate) created: Vec<Value>,
    /// Bodies of deletions of `shop/order`.
    pub(crate) deleted: Vec<Value>,
    /// Verbs that the user has no right to.
    pub(crate) denied: Vec<&'static str>,
    /// What `shop/order` depends on.
    pub(crate) depends_on: Vec<Value>,
    /// Whether watches are served.
    pub(crate) watches: bool,
    /// Other objects, by their path.
    pub(crate) objects: BTreeMap<String, Value>,
    /// `GET /path` of every request.
    pub(crate) requests: Vec<String>,
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

    fn routes(&self) -> Router {
        Router::new()
            .route(
                &format!("{SHOP}/namespaces/{{namespace}}/shopservices/{{name}}"),
                get(read_service).patch(patch_service).delete(delete_service),
            )
            .route(&format!("{SHOP}/shopservices"), get(list_services))
            .route(
                &format!("{SHOP}/namespaces/{{namespace}}/releasedecisions"),
                post(create).get(list_decisions),
            )
            .route(&format!("{SHOP}/namespaces/{{namespace}}/releasedecisions/{{name}}"), get(read_decision))
            .route(
                &format!("{SHOP}/namespaces/{{namespace}}/shopservices"),
                get(list_services).post(create_service),
            )
            .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(review))
            .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(access))
            .fallback(other)
            .layer(from_fn_with_state(self.clone(), log))
            .with_state(self.clone())
    }

    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.routes(), "shop")
    }

    /// Serves on a socket; a kubeconfig that leads there.
    pub(crate) async fn listen(&self) -> tempfile::NamedTempFile {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = self.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}], "users": [{"name": "ann", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "ann", "namespace": "shop"}}],
        });
        serde_json::to_writer(&file, &config).unwrap();
        file
    }

    /// Adds an object under its path.
    pub(crate) fn add(&self, path: &str, object: Value) {
        self.script().objects.insert(path.to_owned(), object);
    }

    /// How often a request was made.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.script().requests.clone()
    }
}

async fn log(State(server): State<Server>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri().path());
    server.script().requests.push(line);
    next.run(request).await
}

/// An endless row of events.
fn watch() -> Response {
    let event = json!({"type": "MODIFIED", "object": {
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "order", "namespace": "shop", "resourceVersion": "1"},
    }});
    let line = format!("{event}\n");
    let events = stream::unfold((), move |()| {
        let line = line.clone();
        async move {
            tokio::task::yield_now().await;
            Some((Ok::<_, std::convert::Infallible>(line), ()))
        }
    });
    Response::new(Body::from_stream(events))
}

/// Objects of the test, one by one or as a list.
async fn other(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let script = server.script();
    if method != Method::GET {
        return failure(405, "MethodNotAllowed", "only read here");
    }
    if let Some(object) = script.objects.get(uri.path()) {
        return Json(object).into_response();
    }
    let (parent, kind) = uri.path().rsplit_once('/').unwrap_or_default();
    let inside = |path: &str| {
        let (collection, _) = path.rsplit_once('/').unwrap_or_default();
        collection == uri.path()
            || collection
                .strip_prefix(&format!("{parent}/namespaces/"))
                .is_some_and(|rest| rest.split_once('/').is_some_and(|(_, named)| named == kind))
    };
    let labels = query.get("labelSelector").map(String::as_str).unwrap_or_default();
    let fits = |object: &Value| {
        labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .all(|(name, value)| object["metadata"]["labels"][name] == value)
    };
    let listed: Vec<&Value> = script
        .objects
        .iter()
        .filter(|(path, object)| inside(path) && fits(object))
        .map(|(_, object)| object)
        .collect();
    let lists = [
        "pods",
        "deployments",
        "controllerrevisions",
        "resourcequotas",
        "poddisruptionbudgets",
        "horizontalpodautoscalers",
        "shoppolicies",
    ];
    if listed.is_empty() && !lists.contains(&kind) {
        return failure(404, "NotFound", &format!("{kind} not found"));
    }
    Json(json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": listed})).into_response()
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
    let mut found = service(&name, &namespace, &next(&mut script.statuses));
    found["spec"]["dependsOn"] = script.depends_on.clone().into();
    Json(found).into_response()
}

async fn list_services(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut script = server.script();
    if query.contains_key("watch") {
        return if script.watches { watch() } else { failure(403, "Forbidden", "may not watch") };
    }
    if query.contains_key("fieldSelector") {
        let found = query.get("fieldSelector").is_some_and(|selector| selector == "metadata.name=order");
        let order = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "order", "namespace": "shop"}});
        let items = if found { vec![order] } else { vec![] };
        return Json(json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items}))
            .into_response();
    }
    let mut order = service("order", "shop", &next(&mut script.statuses));
    order["spec"]["dependsOn"] = script.depends_on.clone().into();
    let cart = service("cart", "shop", &Value::Null);
    Json(json!({"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopServiceList", "metadata": {}, "items": [order, cart]}))
        .into_response()
}

fn service(name: &str, namespace: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
        "metadata": {"name": name, "namespace": namespace, "generation": 4, "resourceVersion": "41",
                     "creationTimestamp": "2026-01-01T03:04:05Z"},
        "spec": {"image": "shop/order:2", "port": 8080}, "status": status,
    })
}

async fn create_service(State(server): State<Server>, Json(made): Json<Value>) -> Response {
    server.script().created.push(made.clone());
    (StatusCode::CREATED, Json(made)).into_response()
}

async fn delete_service(State(server): State<Server>, body: axum::body::Bytes) -> Response {
    server.script().deleted.push(serde_json::from_slice(&body).unwrap_or_default());
    Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})).into_response()
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

async fn list_decisions(
    State(server): State<Server>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    if query.contains_key("watch") {
        let watches = server.script().watches;
        return if watches { watch() } else { failure(403, "Forbidden", "may not watch") };
    }
    let items = server.script().decisions.clone();
    let list = json!({"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ReleaseDecisionList", "metadata": {}, "items": items});
    Json(list).into_response()
}

async fn review(Json(mut review): Json<Value>) -> Response {
    review["status"] =
        json!({"userInfo": {"username": "ann@shop.example", "groups": ["system:authenticated"]}});
    (StatusCode::CREATED, Json(review)).into_response()
}

async fn access(State(server): State<Server>, Json(mut review): Json<Value>) -> Response {
    let denied = server.script().denied.clone();
    let verb = review["spec"]["resourceAttributes"]["verb"].as_str().unwrap_or_default().to_owned();
    review["status"] = json!({"allowed": !denied.contains(&verb.as_str())});
    (StatusCode::CREATED, Json(review)).into_response()
}

async fn patch_service(
    State(server): State<Server>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    body: axum::body::Bytes,
) -> Response {
    let mut script = server.script();
    let patch: Value = serde_json::from_slice(&body).unwrap();
    if query.contains_key("dryRun") {
        script.dry_runs.push(patch.clone());
        if let Some(message) = &script.invalid {
            return failure(422, "Invalid", message);
        }
        let mut applied = service(&name, &namespace, &Value::Null);
        applied["spec"] = patch["spec"].clone();
        return Json(applied).into_response();
    }
    let version = patch["metadata"]["resourceVersion"].as_str();
    if version.is_some_and(|version| version != "41") || script.conflict {
        return failure(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version",
        );
    }
    script.patches.push(json!({"patch": patch, "query": query}));
    let mut changed = service(&name, &namespace, &Value::Null);
    if !patch["spec"]["image"].is_null() {
        changed["spec"]["image"] = patch["spec"]["image"].clone();
    }
    Json(changed).into_response()
}
