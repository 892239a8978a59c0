//! The examples: what is shown is accepted, what is listed as refused is refused with its words.

use kube::core::cel::Validator;
use serde_json::Value;

use crate::{FaultPolicy, ReleaseDecision, ShopPolicy, ShopService, definition, definitions};

fn read(name: &str) -> Value {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn schema(kind: &str) -> Value {
    let definitions = definitions();
    let found = definitions.iter().find(|one| one["spec"]["names"]["kind"] == kind).unwrap();
    definition::schema(found).clone()
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// Fields of the schema below one level that the object does not have.
fn missing(path: &str, schema: &Value, object: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match object.get(name) {
            None => found.push(path),
            Some(value) => missing(&path, field, value, found),
        }
    }
}

#[test]
fn what_is_shown_is_accepted() {
    for (file, kind) in [
        ("smallest.yaml", "ShopService"),
        ("full.yaml", "ShopService"),
        ("tcp.yaml", "ShopService"),
        ("decision.yaml", "ReleaseDecision"),
        ("policy.yaml", "ShopPolicy"),
        ("fault.yaml", "FaultPolicy"),
    ] {
        let object = read(file);
        Validator::new()
            .validate(&schema(kind), &object, None)
            .unwrap_or_else(|errors| panic!("{file}: {errors}"));
        let again = match kind {
            "ShopService" => {
                serde_json::to_value(serde_json::from_value::<ShopService>(object.clone()).unwrap()).unwrap()
            }
            "ShopPolicy" => {
                serde_json::to_value(serde_json::from_value::<ShopPolicy>(object.clone()).unwrap()).unwrap()
            }
            "FaultPolicy" => {
                serde_json::to_value(serde_json::from_value::<FaultPolicy>(object.clone()).unwrap()).unwrap()
            }
            _ => serde_json::to_value(serde_json::from_value::<ReleaseDecision>(object.clone()).unwrap())
                .unwrap(),
        };
        if file != "smallest.yaml" {
            assert_eq!(again["spec"], object["spec"], "{file}: what is read is what is written");
        }
    }
}

#[test]
fn the_full_example_has_every_field() {
    let mut found = Vec::new();
    missing("spec", &schema("ShopService")["properties"]["spec"], &read("full.yaml")["spec"], &mut found);
    // One of several.
    found
        .retain(|path| !path.starts_with("spec.release.canary.sticky.") && path != "spec.auth.jwt.secretRef");
    assert!(found.is_empty(), "not in full.yaml: {found:?}");
}

#[test]
fn what_is_refused_says_what_to_write() {
    let bases = [
        ("ShopService", read("smallest.yaml")),
        ("ReleaseDecision", read("decision.yaml")),
        ("ShopPolicy", read("policy.yaml")),
        ("FaultPolicy", read("fault.yaml")),
    ];
    for case in read("refused.yaml").as_array().unwrap().iter().filter(|case| case["by"] != "schema") {
        let kind = case["kind"].as_str().unwrap();
        let mut object = bases.iter().find(|(name, _)| *name == kind).unwrap().1.clone();
        merge(&mut object, &case["patch"]);
        let Err(errors) = Validator::new().validate(&schema(kind), &object, None) else {
            panic!("accepted: {case}");
        };
        let says = case["says"].as_str().unwrap();
        assert!(errors.to_string().contains(says), "{case}: {errors}");
    }
}

#[test]
fn every_rule_refuses_something() {
    let cases = read("refused.yaml");
    for rule in definition::rules() {
        if rule.rule.contains("oldSelf") {
            continue;
        }
        let hit = cases
            .as_array()
            .unwrap()
            .iter()
            .any(|case| rule.message.contains(case["says"].as_str().unwrap()));
        assert!(hit, "no case in refused.yaml for {}: {}", rule.path, rule.message);
    }
}
