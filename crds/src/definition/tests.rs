mod examples;
mod generated;

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Value, json};

use super::*;

fn each_field(path: &str, level: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, level);
    for (name, field) in level["properties"].as_object().into_iter().flatten() {
        each_field(&format!("{path}.{name}"), field, visit);
    }
    for (mark, inner) in [("[]", "items"), ("{}", "additionalProperties")] {
        if level.get(inner).is_some_and(Value::is_object) {
            each_field(&format!("{path}{mark}"), &level[inner], visit);
        }
    }
}

#[test]
fn every_field_is_described_in_sentences() {
    for definition in definitions() {
        each_field("", schema(&definition), &mut |path, level| {
            if path.ends_with("[]") || path.ends_with("{}") || path == ".metadata" {
                return;
            }
            let text = level["description"].as_str().unwrap_or_default();
            assert!(text.len() > 3 && !text.contains("Auto-generated"), "{path}: {text:?}");
        });
    }
}

#[test]
fn schemas_hold_nothing_that_an_api_server_warns_about() {
    for definition in definitions() {
        each_field("", schema(&definition), &mut |path, level| {
            let format = level["format"].as_str();
            assert!(
                matches!(format, None | Some("int32" | "int64" | "date-time" | "double")),
                "{path}: {format:?}"
            );
            for key in ["$ref", "oneOf", "anyOf", "allOf", "not", "nullable", "title", "const"] {
                assert!(level.get(key).is_none(), "{path}: {key}");
            }
            let typed = level["type"].is_string() || level["x-kubernetes-int-or-string"] == json!(true);
            assert!(typed, "{path} has no type");
        });
    }
}

#[test]
fn every_list_and_map_of_a_spec_is_bounded() {
    for definition in definitions() {
        each_field("spec", &schema(&definition)["properties"]["spec"], &mut |path, level| {
            assert!(level["type"] != "array" || level["maxItems"].is_u64(), "{path} has no maxItems");
            assert!(
                level.get("additionalProperties").is_none() || level["maxProperties"].is_u64(),
                "{path} has no maxProperties"
            );
        });
    }
}

#[test]
fn every_span_has_a_rule() {
    for definition in definitions() {
        each_field("", schema(&definition), &mut |path, level| {
            let is_span =
                level["maxLength"] == 40 && level["type"] == "string" && !path.ends_with(".service");
            assert!(!is_span || level["x-kubernetes-validations"].is_array(), "{path} has no rule");
        });
    }
}

#[test]
fn two_lines_get_the_defaults() {
    let shop = definitions().remove(0);
    let object = json!({ "metadata": { "name": "order" }, "spec": { "image": "order:1", "port": 8080, "release": {}, "service": {} } });
    let spec = apply_defaults(schema(&shop), &object)["spec"].take();
    assert_eq!(
        spec,
        json!({
            "image": "order:1", "port": 8080, "replicas": 1, "protocol": "http", "service": { "type": "ClusterIP", "port": 80, "portName": "http" },
            "release": { "strategy": "blueGreen", "promote": "automatic", "onFailure": "abort" },
        })
    );
}

#[test]
fn a_decision_cannot_be_changed() {
    let decision = definitions().remove(1);
    let old = json!({ "metadata": { "name": "d" }, "spec": { "service": "order", "verb": "abort", "revision": 7, "actor": "jane" } });
    let mut new = old.clone();
    assert!(Validator::new().validate(schema(&decision), &new, Some(&old)).is_ok());
    new["spec"]["revision"] = json!(8);
    let errors = Validator::new().validate(schema(&decision), &new, Some(&old)).unwrap_err();
    assert!(errors.to_string().contains("create another one"), "{errors}");
}
