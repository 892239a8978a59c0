//! Whether a generated object is still what the operator wrote.
//!
//! The API server adds defaults and writes quantities its own way, so that a live object is never equal to what was sent.
//! [`contains`] asks whether everything that was sent is there, and whether anything was added where only the operator writes.

use serde_json::{Map, Value};
use shop_crds::Amount;

/// Fields that the API server adds to a pod template, with the values it gives them. `Null`: any value.
const DEFAULTS: &[(&str, &str)] = &[
    ("apiVersion", "\"v1\""),
    ("creationTimestamp", "null"),
    ("defaultMode", "420"),
    ("dnsPolicy", "\"ClusterFirst\""),
    ("failureThreshold", "3"),
    ("imagePullPolicy", "\"IfNotPresent\""),
    ("imagePullPolicy", "\"Always\""),
    ("initialDelaySeconds", "0"),
    ("periodSeconds", "10"),
    ("protocol", "\"TCP\""),
    ("resources", "{}"),
    ("restartPolicy", "\"Always\""),
    ("schedulerName", "\"default-scheduler\""),
    ("scheme", "\"HTTP\""),
    ("securityContext", "{}"),
    ("successThreshold", "1"),
    ("terminationMessagePath", "\"/dev/termination-log\""),
    ("terminationMessagePolicy", "\"File\""),
    ("timeoutSeconds", "1"),
];

/// Whether fields that were not sent may be in the live object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    /// Yes: the API server allocates and fills in much.
    Allowed,
    /// Only known defaults: the pod template.
    Defaults,
    /// No: selectors and labels of pods.
    Refused,
}

/// Whether `live` still says what `sent` says.
pub fn contains(sent: &Value, live: &Value) -> bool {
    matches_at("", sent, live, Extra::Allowed)
}

fn matches_at(field: &str, sent: &Value, live: &Value, extra: Extra) -> bool {
    match (sent, live) {
        (Value::Object(sent), Value::Object(live)) => {
            let extra = rule(field, extra);
            let there = sent.iter().all(|(name, value)| match live.get(name) {
                Some(live) if is_quantities(field) => same_quantity(value, live),
                Some(live) => matches_at(name, value, live, extra),
                None => is_empty(value),
            });
            there && nothing_added(sent, live, extra)
        }
        // Lists are written whole: order and length are the operator's.
        (Value::Array(sent), Value::Array(live)) => {
            sent.len() == live.len()
                && sent.iter().zip(live).all(|(sent, live)| matches_at(field, sent, live, extra))
        }
        _ => sent == live || (field == "sizeLimit" && same_quantity(sent, live)),
    }
}

fn rule(field: &str, above: Extra) -> Extra {
    match field {
        "template" => Extra::Defaults,
        "selector" | "matchLabels" | "podSelector" | "ingress" => Extra::Refused,
        "labels" if above == Extra::Defaults => Extra::Refused,
        _ => above,
    }
}

fn nothing_added(sent: &Map<String, Value>, live: &Map<String, Value>, extra: Extra) -> bool {
    let mut added = live.iter().filter(|(name, _)| !sent.contains_key(*name));
    match extra {
        Extra::Allowed => true,
        Extra::Refused => added.next().is_none(),
        Extra::Defaults => added.all(|(name, value)| {
            // A deprecated copy that the API server keeps of the field beside it.
            (name == "serviceAccount" && sent.get("serviceAccountName") == Some(value))
                // The request that it takes from the limit.
                || (name == "requests" && sent.contains_key("limits"))
                || DEFAULTS.iter().any(|(field, default)| name == field && default_value(default) == *value)
        }),
    }
}

fn is_quantities(field: &str) -> bool {
    matches!(field, "requests" | "limits")
}

fn default_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

// The API server writes 1000m as 1 and 1024Mi as 1Gi.
fn same_quantity(sent: &Value, live: &Value) -> bool {
    let thousandths = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match text.strip_suffix('m') {
            Some(number) => number.parse::<f64>().ok(),
            None if text.contains('.') => text.parse::<f64>().ok().map(|number| number * 1_000.0),
            None => Amount(text).units().map(|units| units as f64 * 1_000.0),
        }
    };
    match (thousandths(sent), thousandths(live)) {
        (Some(sent), Some(live)) => (sent - live).abs() < 0.5,
        _ => sent == live,
    }
}

// What the API server leaves out when it is sent.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> Value {
        json!({
            "replicas": 3,
            "selector": { "matchLabels": { "service": "order" } },
            "template": {
                "metadata": { "labels": { "service": "order" } },
                "spec": { "containers": [{
                    "name": "app",
                    "image": "order:1",
                    "env": [{ "name": "EMPTY", "value": "" }],
                    "resources": { "limits": { "cpu": "1000m", "memory": "1024Mi" } },
                }] },
            },
        })
    }

    fn live() -> Value {
        json!({
            "replicas": 3,
            "minReadySeconds": 0,
            "selector": { "matchLabels": { "service": "order" } },
            "template": {
                "metadata": { "creationTimestamp": null, "labels": { "service": "order" } },
                "spec": {
                    "dnsPolicy": "ClusterFirst",
                    "securityContext": {},
                    "containers": [{
                        "name": "app",
                        "image": "order:1",
                        "imagePullPolicy": "IfNotPresent",
                        "terminationMessagePath": "/dev/termination-log",
                        "env": [{ "name": "EMPTY" }],
                        "resources": { "limits": { "cpu": "1", "memory": "1Gi" } },
                    }],
                },
            },
        })
    }

    #[test]
    fn defaults_and_other_spellings_are_no_drift() {
        assert!(contains(&sent(), &live()));
    }

    #[test]
    fn what_others_change_add_or_take_away_is() {
        let changes: [fn(&mut Value); 8] = [
            |live| live["replicas"] = 5.into(),
            |live| live["selector"]["matchLabels"]["colour"] = "blue".into(),
            |live| live["template"]["metadata"]["annotations"] = json!({ "restartedAt": "now" }),
            |live| live["template"]["metadata"]["labels"]["colour"] = "blue".into(),
            |live| live["template"]["spec"]["hostNetwork"] = true.into(),
            |live| live["template"]["spec"]["containers"][0]["image"] = "order:2".into(),
            |live| live["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "2".into(),
            |live| {
                live["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "b" }));
            },
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut other = live();
            change(&mut other);
            assert!(!contains(&sent(), &other), "change {at} is not seen");
        }
    }

    #[test]
    fn thousandths_of_a_core_are_told_apart() {
        let requests = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        assert!(!contains(&requests("300m"), &requests("400m")));
        assert!(contains(&requests("0.5"), &requests("500m")));
    }
}
