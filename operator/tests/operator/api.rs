//! An API server in memory: enough of one that the operator cannot tell the difference.
//!
//! It keeps objects with versions, checks preconditions, shows watches what happens, allocates what the real one allocates, collects
//! what has lost its owner, and writes down every call.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::nodes;

/// Group, version and plural: `apps/v1/deployments`, `v1/pods`.
pub(crate) type Resource = String;
type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Resource, namespace, name.
pub(crate) type Place = (Resource, String, String);

/// A call that was made; shown when a test fails.
#[derive(Clone, Debug)]
#[allow(dead_code)]
pub(crate) struct Call {
    /// `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub(crate) verb: String,
    /// What it was about.
    pub(crate) resource: Resource,
    /// And by name.
    pub(crate) name: String,
}

/// The server. Copies share it.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

/// What it holds.
#[derive(Default)]
pub(crate) struct State {
    version: u64,
    number: u64,
    /// Every object.
    pub(crate) objects: BTreeMap<Place, Value>,
    history: Vec<Change>,
    /// Every call, in order.
    pub(crate) calls: Vec<Call>,
    /// Answer the next writes of these resources with a conflict.
    pub(crate) conflicts: BTreeMap<Resource, u32>,
}

#[derive(Clone)]
struct Change {
    version: u64,
    place: Place,
    before: Option<Value>,
    after: Option<Value>,
}

struct Failure(StatusCode, &'static str, String);

impl Api {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), version: watch::channel(0).0 }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Looks at, or changes, what it holds, as if nobody had called.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = look(&mut state);
        nodes::run(&mut state);
        let version = state.version;
        drop(state);
        self.version.send_replace(version);
        result
    }

    /// Waits until something is as wanted; fails with what there is when that takes too long.
    pub(crate) async fn until<T>(&self, what: &str, mut wanted: impl FnMut(&State) -> Option<T>) -> T {
        let mut versions = self.version.subscribe();
        let search = tokio::time::timeout(std::time::Duration::from_mins(5), async {
            loop {
                versions.borrow_and_update();
                if let Some(found) = wanted(&self.lock()) {
                    return found;
                }
                versions.changed().await.unwrap();
            }
        });
        if let Ok(found) = search.await {
            return found;
        }
        let state = self.lock();
        let places: Vec<_> = state.objects.keys().collect();
        let shops: Vec<_> = state
            .objects
            .iter()
            .filter(|(place, _)| place.0.ends_with("shopservices"))
            .map(|(_, shop)| shop["status"].to_string())
            .collect();
        let text =
            format!("not within five minutes: {what}\n{places:#?}\n{shops:#?}\n{:?}", state.calls.last());
        drop(state);
        panic!("{text}");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        let (resource, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            other => panic!("no such path: {other:?}"),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let query: BTreeMap<String, String> =
            parts.uri.query().unwrap_or_default().split('&').map(pair).collect();
        let (plural, name, sub) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, sub] => (*plural, *name, *sub),
            other => panic!("no such path: {other:?}"),
        };
        let resource = format!("{resource}/{plural}");
        let watches = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        self.note(&parts.method, watches, &resource, name);
        if watches {
            return self.watch(resource, &query);
        }
        let place = (resource, namespace.to_owned(), name.to_owned());
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = self.with(|state| state.call(&parts.method, &place, sub, body, &query));
        match result {
            Ok(value) => respond(StatusCode::OK, &value),
            Err(Failure(status, reason, message)) => respond(
                status,
                &json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": status.as_u16(),
                }),
            ),
        }
    }

    fn note(&self, method: &Method, watches: bool, resource: &str, name: &str) {
        let verb = match (method.as_str(), watches, name) {
            (_, true, _) => "WATCH",
            ("GET", _, "") => "LIST",
            (verb, ..) => verb,
        };
        let call = Call { verb: verb.to_owned(), resource: resource.to_owned(), name: name.to_owned() };
        self.with(|state| state.calls.push(call));
    }

    fn watch(&self, resource: Resource, query: &BTreeMap<String, String>) -> Response<Answer> {
        let since: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let selector = query.get("labelSelector").cloned().unwrap_or_default();
        let api = self.clone();
        let events =
            futures::stream::unfold((since, self.version.subscribe()), move |(since, mut versions)| {
                let (api, resource, selector) = (api.clone(), resource.clone(), selector.clone());
                async move {
                    loop {
                        let (text, now) = api.lock().events(&resource, &selector, since);
                        if !text.is_empty() {
                            return Some((
                                Ok::<_, Infallible>(Frame::data(Bytes::from(text))),
                                (now, versions),
                            ));
                        }
                        versions.changed().await.ok()?;
                    }
                }
            });
        Response::new(StreamBody::new(events).boxed_unsync())
    }
}

impl State {
    fn call(
        &mut self,
        method: &Method,
        place: &Place,
        sub: &str,
        body: Value,
        query: &BTreeMap<String, String>,
    ) -> Result<Value, Failure> {
        let missing = || Failure(StatusCode::NOT_FOUND, "NotFound", format!("{} not found", place.2));
        if method == Method::GET && place.2.is_empty() {
            let selector = query.get("labelSelector").cloned().unwrap_or_default();
            let items: Vec<&Value> = self
                .objects
                .iter()
                .filter(|(other, object)| {
                    other.0 == place.0
                        && (place.1.is_empty() || other.1 == place.1)
                        && selects(&selector, object)
                })
                .map(|(_, object)| object)
                .collect();
            return Ok(json!({
                "kind": "List", "apiVersion": "v1",
                "metadata": { "resourceVersion": self.version.to_string() }, "items": items,
            }));
        }
        if method == Method::GET {
            return self.objects.get(place).cloned().ok_or_else(missing);
        }
        if let Some(left) =
            self.conflicts.get_mut(&place.0).filter(|left| **left > 0 && method != Method::POST)
        {
            *left -= 1;
            return Err(Failure(StatusCode::CONFLICT, "Conflict", "the object has been modified".to_owned()));
        }
        if method == Method::POST {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let place = (place.0.clone(), place.1.clone(), name);
            if query.get("dryRun").is_some_and(|all| all == "All") {
                // One unknown field stands for all of them.
                let unknown = body.pointer("/spec/template/spec/nodeSelektor").is_some();
                let strict = query.get("fieldValidation").is_some_and(|level| level == "Strict");
                let message = "strict decoding error: unknown field \"spec.template.spec.nodeSelektor\"";
                return if unknown && strict {
                    Err(Failure(StatusCode::BAD_REQUEST, "BadRequest", message.to_owned()))
                } else {
                    Ok(body)
                };
            }
            if self.objects.contains_key(&place) {
                return Err(Failure(
                    StatusCode::CONFLICT,
                    "AlreadyExists",
                    format!("{} already exists", place.2),
                ));
            }
            return Ok(self.put(place, body));
        }
        let before = self.objects.get(place).cloned().ok_or_else(missing)?;
        let asked = if method == Method::DELETE { &body["preconditions"] } else { &body["metadata"] };
        for field in ["uid", "resourceVersion"] {
            if !asked[field].is_null() && asked[field] != before["metadata"][field] {
                return Err(Failure(StatusCode::CONFLICT, "Conflict", format!("{field} is another one")));
            }
        }
        if method == Method::DELETE {
            self.remove(place);
            return Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }));
        }
        let mut after = before.clone();
        match (method.as_str(), sub) {
            ("PUT", "status") => after["status"] = body["status"].clone(),
            ("PUT", _) => {
                after = body;
                after["status"] = before["status"].clone();
                if after["status"].is_null() {
                    after.as_object_mut().unwrap().remove("status");
                }
            }
            _ => merge(&mut after, body),
        }
        Ok(self.put(place.clone(), after))
    }

    /// Puts an object, as the API server does: with a uid, a version and a generation.
    pub(crate) fn put(&mut self, place: Place, mut object: Value) -> Value {
        let before = self.objects.get(&place).cloned();
        let metadata = &mut object["metadata"];
        metadata["name"] = place.2.clone().into();
        metadata["namespace"] = place.1.clone().into();
        let old = before.as_ref().map(|before| before["metadata"].clone()).unwrap_or_default();
        self.number += 1;
        for (field, new) in
            [("uid", json!(format!("uid-{}", self.number))), ("creationTimestamp", json!(now()))]
        {
            metadata[field] = if old[field].is_null() { new } else { old[field].clone() };
        }
        let respecced = before.as_ref().is_none_or(|before| before["spec"] != object["spec"]);
        let generation = old["generation"].as_u64().unwrap_or(0) + u64::from(respecced);
        object["metadata"]["generation"] = generation.into();
        if place.0 == "v1/services" && object["spec"]["clusterIP"].is_null() {
            let ip =
                before.as_ref().map(|before| before["spec"]["clusterIP"].clone()).filter(|ip| !ip.is_null());
            object["spec"]["clusterIP"] =
                ip.unwrap_or_else(|| json!(format!("10.96.0.{}", self.number % 250)));
        }
        if before.as_ref().is_some_and(|before| same(before, &object)) {
            return before.unwrap_or_default();
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push(Change {
            version: self.version,
            place: place.clone(),
            before,
            after: Some(object.clone()),
        });
        self.objects.insert(place, object.clone());
        object
    }

    /// Removes an object, and what it owns.
    pub(crate) fn remove(&mut self, place: &Place) {
        let Some(mut before) = self.objects.remove(place) else { return };
        self.version += 1;
        let uid = before["metadata"]["uid"].clone();
        let change =
            Change { version: self.version, place: place.clone(), before: Some(before.clone()), after: None };
        before["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push(change);
        let owned: Vec<Place> = self
            .objects
            .iter()
            .filter(|(_, object)| object["metadata"]["ownerReferences"][0]["uid"] == uid)
            .map(|(place, _)| place.clone())
            .collect();
        for place in &owned {
            self.remove(place);
        }
    }

    /// An object of a resource in the namespace `shop`.
    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(resource.to_owned(), "shop".to_owned(), name.to_owned()))
    }

    fn events(&self, resource: &str, selector: &str, since: u64) -> (String, u64) {
        let mut text = String::new();
        for change in
            self.history.iter().filter(|change| change.version > since && change.place.0 == resource)
        {
            let shown =
                |object: &Option<Value>| object.as_ref().is_some_and(|object| selects(selector, object));
            let (kind, object) = match (shown(&change.before), shown(&change.after)) {
                (false, true) => ("ADDED", change.after.clone()),
                (true, true) => ("MODIFIED", change.after.clone()),
                (true, false) => ("DELETED", change.before.clone()),
                (false, false) => continue,
            };
            let mut object = object.unwrap_or_default();
            object["metadata"]["resourceVersion"] = change.version.to_string().into();
            text.push_str(&json!({ "type": kind, "object": object }).to_string());
            text.push('\n');
        }
        (text, self.version)
    }
}

// In whole seconds, as the API server has it.
fn now() -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap().to_string()
}

fn same(before: &Value, after: &Value) -> bool {
    let mut after = after.clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    *before == after
}

fn selects(selector: &str, object: &Value) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, value)) => object["metadata"]["labels"][name] == value,
        None => !object["metadata"]["labels"][part].is_null(),
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(&name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let value = value.replace("%2F", "/").replace("%2C", ",").replace("%3D", "=");
    (name.to_owned(), value)
}

fn respond(status: StatusCode, value: &Value) -> Response<Answer> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = status;
    response
}
