//! What is different between two revisions: pure, from what is kept of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{ConfigMap, Secret},
};
use serde::Serialize;
use serde_json::{Value, json};
use shop_crds::names::{APP_CONTAINER, SIDECAR_CONTAINER};
use shop_release::{RevisionFacts, SourceKind};
use similar::TextDiff;

#[cfg(test)]
mod tests;

/// Lines around a changed one that are shown.
const CONTEXT: usize = 2;
/// What stands where the number of a revision stood.
const ANY: &str = "N";

/// What is kept of a revision.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number.
    pub number: i64,
    /// What is known of it.
    pub facts: RevisionFacts,
    /// Its pod template.
    pub template: Value,
}

impl Record {
    /// From the object that holds it.
    pub fn read(stored: &ControllerRevision) -> Option<Self> {
        let data = &stored.data.as_ref()?.0;
        let facts = serde_json::from_value(data.get("facts")?.clone()).ok()?;
        Some(Self { number: stored.revision, facts, template: data.get("template")?.clone() })
    }
}

/// Two revisions, compared.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// One revision.
    pub from: i64,
    /// The other one.
    pub to: i64,
    /// What reaches the pod.
    pub inputs: Vec<Changed>,
    /// `ConfigMaps` and `Secrets` that reach it.
    pub config: Vec<Source>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Where it is.
    pub field: String,
    /// What it was; absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is; absent: it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A `ConfigMap` or `Secret` that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Which of the two.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// Keys that differ; empty where the content cannot be read.
    pub keys: Vec<Key>,
    /// Why keys are missing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The key.
    pub key: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// Line by line; absent: the content is not for eyes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What the content of a source is compared by.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Values that may be shown, by key.
    pub shown: BTreeMap<String, String>,
    /// Values that are compared and never shown, by key.
    pub hidden: BTreeMap<String, Vec<u8>>,
}

impl From<ConfigMap> for Content {
    fn from(map: ConfigMap) -> Self {
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Self { shown: map.data.unwrap_or_default(), hidden: binary.collect() }
    }
}

impl From<Secret> for Content {
    fn from(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Self { shown: BTreeMap::new(), hidden: data.collect() }
    }
}

/// The fields that differ, of what reaches the pod.
pub fn inputs(service: &str, from: &Record, to: &Record) -> Vec<Changed> {
    let (from, to) = (fields(service, from), fields(service, to));
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let changed = names.into_iter().filter(|name| from.get(*name) != to.get(*name));
    changed
        .map(|name| Changed { field: name.clone(), from: from.get(name).cloned(), to: to.get(name).cloned() })
        .collect()
}

/// The sources that differ: kind, name of the source, and the names of the two copies.
pub fn sources(from: &Record, to: &Record) -> Vec<(SourceKind, String, Option<String>, Option<String>)> {
    let of = |record: &Record| -> BTreeMap<(SourceKind, String), (String, String)> {
        let snapshots = record.facts.snapshots.iter();
        snapshots.map(|one| ((one.kind, one.source.clone()), (one.name.clone(), one.hash.clone()))).collect()
    };
    let (from, to) = (of(from), of(to));
    let places: BTreeSet<&(SourceKind, String)> = from.keys().chain(to.keys()).collect();
    let differs = places
        .into_iter()
        .filter(|place| from.get(*place).map(|(_, hash)| hash) != to.get(*place).map(|(_, hash)| hash));
    let copy = |of: &BTreeMap<_, (String, String)>, place| of.get(place).map(|(name, _)| name.clone());
    differs.map(|place| (place.0, place.1.clone(), copy(&from, place), copy(&to, place))).collect()
}

/// The keys that differ.
pub fn keys(from: &Content, to: &Content) -> Vec<Key> {
    let all = |content: &Content| -> BTreeSet<String> {
        content.shown.keys().chain(content.hidden.keys()).cloned().collect()
    };
    let (before, after) = (all(from), all(to));
    let mut found = Vec::new();
    for key in before.union(&after) {
        let change = match (before.contains(key), after.contains(key)) {
            (true, false) => "removed",
            (false, true) => "added",
            _ => "changed",
        };
        let (old, new) = (from.shown.get(key), to.shown.get(key));
        let same = old == new && from.hidden.get(key) == to.hidden.get(key);
        if same && change == "changed" {
            continue;
        }
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let diff = (old.is_some() || new.is_some()).then(|| lines(&text(old), &text(new)));
        found.push(Key { key: key.clone(), change, diff });
    }
    found
}

fn lines(old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(CONTEXT)
        .missing_newline_hint(false)
        .to_string()
}

/// Everything of a revision that reaches its pods, by path, with the number of the revision taken out.
fn fields(service: &str, record: &Record) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let number = record.number.to_string();
    let own = format!("{service}-r{number}");
    let without = |text: &str| text.replace(&format!("{own}-"), &format!("{service}-r{ANY}-"));
    flatten("", &record.template, &mut |path, value| {
        let told = path.ends_with("shopkeeper.dev/revision") || path.ends_with("env[SHOP_REVISION].value");
        let text = if told && value == number { ANY.to_owned() } else { without(&value) };
        found.insert(short(path), text);
    });
    let protocol = json!(record.facts.protocol);
    found.insert("protocol".to_owned(), protocol.as_str().unwrap_or_default().to_owned());
    found
}

/// `spec.containers[app].image` is what a user knows as `image`.
fn short(path: &str) -> String {
    let app = format!("spec.containers[{APP_CONTAINER}].");
    let sidecar = format!("spec.initContainers[{SIDECAR_CONTAINER}].");
    if let Some(rest) = path.strip_prefix(&app) {
        return rest.to_owned();
    }
    if let Some(rest) = path.strip_prefix(&sidecar) {
        return format!("sidecar.{rest}");
    }
    path.strip_prefix("spec.").map_or_else(|| path.to_owned(), |rest| format!("pod.{rest}"))
}

fn flatten(path: &str, value: &Value, tell: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, tell);
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                let key = ["mountPath", "name", "containerPort", "topologyKey"]
                    .into_iter()
                    .find_map(|field| item.get(field))
                    .map_or_else(|| index.to_string(), plain);
                flatten(&format!("{path}[{key}]"), item, tell);
            }
        }
        other => tell(path, plain(other)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
