//! The CustomResourceDefinitions: what kube derives from the types, made fit for an API server, and the rules added.
//!
//! kube's schema alone is not enough: an object would be accepted that cannot work, and refusals would show a regular expression
//! where a person needs a sentence. Everything is done on JSON, because typed schemas write `1.0` where `1` is meant.

mod rules;
mod walk;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{FaultPolicy, Reason, ReleaseDecision, ShopPolicy, ShopService, span};

pub use rules::{Rule, rules};

/// All definitions as JSON, in the order in which they are installed.
///
/// # Panics
/// Not with the types of this crate: a test makes them.
pub fn definitions() -> Vec<Value> {
    vec![
        definition::<ShopService>("ShopService"),
        definition::<ReleaseDecision>("ReleaseDecision"),
        definition::<ShopPolicy>("ShopPolicy"),
        definition::<FaultPolicy>("FaultPolicy"),
    ]
}

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// The schema of a definition made by [`definitions`]: what an object of that kind must look like. Null for anything else.
pub fn schema(definition: &Value) -> &Value {
    definition.pointer(SCHEMA).unwrap_or(&Value::Null)
}

fn definition<K: CustomResourceExt>(kind: &str) -> Value {
    let mut definition = serde_json::to_value(K::crd()).expect("a definition has string keys only");
    if let Some(schema) = definition.pointer_mut(SCHEMA) {
        prepare_root(schema);
        clean(schema);
        match kind {
            "ShopService" => bound(schema),
            "ShopPolicy" => once_by_name(schema),
            "FaultPolicy" => lengths(
                schema,
                &[
                    ("spec.match.header{}", json!({ "maxLength": 253 })),
                    ("spec.selector.matchLabels{}", json!({ "maxLength": 63 })),
                ],
            ),
            _ => {}
        }
        for rule in rules().iter().filter(|rule| rule.kind == kind) {
            add(schema, rule);
        }
    }
    definition
}

/// kube writes a sentence of its own over the kind; the spec's is the one for users. The name is all of the metadata that a
/// definition may speak of.
fn prepare_root(schema: &mut Value) {
    if let (Some(text), Some(root)) =
        (schema.pointer("/properties/spec/description").cloned(), schema.as_object_mut())
    {
        root.insert("description".into(), text);
        root.remove("title");
    }
    if let Some(fields) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        let name = json!({ "type": "string", "description": "Name of the object.", "maxLength": 253 });
        // The API server takes no word about metadata itself.
        let metadata = json!({ "type": "object", "properties": { "name": name } });
        fields.insert("metadata".into(), metadata);
    }
}

/// Makes one level, and all below it, structural and quiet.
fn clean(schema: &mut Value) {
    let Some(level) = schema.as_object_mut() else { return };
    // A null is not an absent field for a CEL rule, so that every rule would have to tell them apart. Nobody writes one.
    level.remove("nullable");
    if level.contains_key("x-kubernetes-int-or-string") {
        // Empty alternatives are left of it, which the API server refuses.
        level.remove("anyOf");
    }
    if level.contains_key("x-kubernetes-preserve-unknown-fields") {
        // Says the same, and the API server takes only one of them.
        level.remove("additionalProperties");
    }
    if level.get("pattern").and_then(Value::as_str) == Some(span::PATTERN) {
        // Each span has a rule, whose message says what to write.
        level.remove("pattern");
    }
    if level.get("enum").and_then(Value::as_array).is_some_and(|words| words.len() == Reason::ALL.len()) {
        // A newer operator must be able to write its reasons under an older definition.
        level.remove("enum");
        level.insert("maxLength".into(), json!(64));
    }
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = level.get(bound).and_then(Value::as_f64).and_then(whole) {
            level.insert(bound.into(), json!(whole));
        }
    }
    if let Some(Value::String(text)) = level.get_mut("description") {
        // Comments are broken at the width of the source; paragraphs stay.
        *text =
            text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    walk::below(level, clean);
}

fn whole(number: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
}

/// Lengths where Kubernetes' own types have none: the API server accepts a rule only where it can tell the most it may cost.
fn bound(schema: &mut Value) {
    let fields = [
        ("spec.command[]", json!({ "maxLength": 4096 })),
        ("spec.args[]", json!({ "maxLength": 32_768 })),
        ("spec.env", json!({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] })),
        ("spec.env[].name", json!({ "minLength": 1, "maxLength": 256 })),
        ("spec.env[].value", json!({ "maxLength": 131_072 })),
        ("spec.env[].valueFrom.configMapKeyRef.name", json!({ "minLength": 1, "maxLength": 253 })),
        ("spec.env[].valueFrom.configMapKeyRef.key", json!({ "minLength": 1, "maxLength": 253 })),
        ("spec.env[].valueFrom.secretKeyRef.name", json!({ "minLength": 1, "maxLength": 253 })),
        ("spec.env[].valueFrom.secretKeyRef.key", json!({ "minLength": 1, "maxLength": 253 })),
        ("spec.env[].valueFrom.fieldRef.fieldPath", json!({ "minLength": 1, "maxLength": 512 })),
        ("spec.env[].valueFrom.resourceFieldRef.resource", json!({ "minLength": 1, "maxLength": 64 })),
        ("spec.envFrom[].prefix", json!({ "maxLength": 256 })),
        ("spec.envFrom[].configMapRef.name", json!({ "minLength": 1, "maxLength": 253 })),
        ("spec.envFrom[].secretRef.name", json!({ "minLength": 1, "maxLength": 253 })),
        (
            "spec.config",
            json!({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"] }),
        ),
        ("spec.resources.requests{}", json!({ "maxLength": 32 })),
        ("spec.resources.limits{}", json!({ "maxLength": 32 })),
        ("spec.sidecar.resources.requests{}", json!({ "maxLength": 32 })),
        ("spec.sidecar.resources.limits{}", json!({ "maxLength": 32 })),
        ("spec.limits.maxBodyBytes", json!({ "maxLength": 32 })),
        ("spec.release.canary.match[].header{}", json!({ "maxLength": 253 })),
        ("spec.release.canary.match[].cookie{}", json!({ "maxLength": 253 })),
        ("spec.service.annotations{}", json!({ "maxLength": 16_384 })),
    ];
    lengths(schema, &fields);
    for job in ["spec.release.jobs.expand", "spec.release.jobs.contract"] {
        let path = format!("{job}.env[].name");
        let level = walk::at(schema, &path).and_then(Value::as_object_mut).expect("a field of the type");
        level.insert("minLength".into(), json!(1));
        level.insert("maxLength".into(), json!(256));
    }
}

fn lengths(schema: &mut Value, fields: &[(&'static str, Value)]) {
    for (path, keys) in fields {
        let level = walk::at(schema, path).and_then(Value::as_object_mut).expect("a field of the type");
        level.extend(keys.as_object().cloned().unwrap_or_default());
    }
}

/// Windows are told apart by their names.
fn once_by_name(schema: &mut Value) {
    let level = walk::at(schema, "spec.freeze").and_then(Value::as_object_mut).expect("a field of the type");
    level.insert("x-kubernetes-list-type".into(), json!("map"));
    level.insert("x-kubernetes-list-map-keys".into(), json!(["name"]));
}

fn add(schema: &mut Value, rule: &Rule) {
    let level = walk::at(schema, rule.path).and_then(Value::as_object_mut).expect("a field of the type");
    // The rule says the same, in words.
    level.remove("pattern");
    if let Some(list) = level.entry("x-kubernetes-validations").or_insert_with(|| json!([])).as_array_mut() {
        list.push(json!({ "rule": rule.rule, "message": rule.message }));
    }
}

#[cfg(test)]
mod tests;
