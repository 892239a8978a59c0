//! Lays `spec.pod` over the template: objects field by field, lists of named things by name, every other list as a whole.
//!
//! The keys are those of Kubernetes' strategic merge (the `patchMergeKey` of its API types).

use serde_json::{Map, Value, json};
use shop_crds::service::pod::PodOverlay;

/// The field by which the entries of a list are told apart; `None`: the list is replaced.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        _ => None,
    }
}

/// Lays the overlay over a template.
pub(super) fn lay(template: &mut Value, overlay: &PodOverlay) {
    let Some(template) = template.as_object_mut() else { return };
    let overlay = json!(overlay);
    if let Some(overlay) = overlay.as_object() {
        merge(template, overlay);
    }
}

fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (field, value) in over {
        let Some(known) = base.get_mut(field) else {
            base.insert(field.clone(), value.clone());
            continue;
        };
        match (known, value) {
            (Value::Object(known), Value::Object(value)) => merge(known, value),
            (Value::Array(known), Value::Array(value)) => match merge_key(field) {
                Some(key) => merge_lists(known, value, key),
                None => known.clone_from(value),
            },
            (known, value) => *known = value.clone(),
        }
    }
}

fn merge_lists(base: &mut Vec<Value>, over: &[Value], key: &str) {
    for entry in over {
        let same = |known: &&mut Value| known.get(key).is_some() && known.get(key) == entry.get(key);
        match (base.iter_mut().find(same), entry) {
            (Some(Value::Object(known)), Value::Object(entry)) => merge(known, entry),
            (Some(known), _) => *known = entry.clone(),
            (None, _) => base.push(entry.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(base: &Value, over: &Value) -> Value {
        let mut template = base.clone();
        lay(&mut template, &serde_json::from_value(over.clone()).unwrap());
        template
    }

    #[test]
    fn containers_are_merged_by_name_and_the_sidecar_stays_first() {
        let base = json!({"spec": {
            "initContainers": [{"name": "shop-sidecar"}],
            "containers": [{"name": "app", "image": "a", "volumeMounts": [{"mountPath": "/etc/order", "name": "config-0"}]}],
            "volumes": [{"name": "config-0"}],
        }});
        let over = json!({"spec": {
            "initContainers": [{"name": "wait"}],
            "containers": [
                {"name": "exporter", "image": "x"},
                {"name": "app", "securityContext": {"runAsUser": 1}, "volumeMounts": [{"mountPath": "/tmp", "name": "tmp"}]},
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }});
        assert_eq!(
            laid(&base, &over),
            json!({"spec": {
                "initContainers": [{"name": "shop-sidecar"}, {"name": "wait"}],
                "containers": [
                    {
                        "name": "app",
                        "image": "a",
                        "securityContext": {"runAsUser": 1},
                        "volumeMounts": [{"mountPath": "/etc/order", "name": "config-0"}, {"mountPath": "/tmp", "name": "tmp"}],
                    },
                    {"name": "exporter", "image": "x"},
                ],
                "volumes": [{"name": "config-0"}, {"name": "tmp", "emptyDir": {}}],
            }})
        );
    }

    #[test]
    fn other_lists_are_replaced_and_other_fields_win() {
        let base = json!({
            "metadata": {"labels": {"shopkeeper.dev/service": "order"}},
            "spec": {"topologySpreadConstraints": [{"maxSkew": 1}], "enableServiceLinks": false},
        });
        let over = json!({
            "metadata": {"labels": {"team": "orders"}},
            "spec": {"topologySpreadConstraints": [], "enableServiceLinks": true, "nodeSelector": {"disk": "ssd"}},
        });
        assert_eq!(
            laid(&base, &over),
            json!({
                "metadata": {"labels": {"shopkeeper.dev/service": "order", "team": "orders"}},
                "spec": {"topologySpreadConstraints": [], "enableServiceLinks": true, "nodeSelector": {"disk": "ssd"}},
            })
        );
    }

    #[test]
    fn nothing_changes_nothing() {
        let base = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
        assert_eq!(laid(&base, &json!({})), base);
    }
}
