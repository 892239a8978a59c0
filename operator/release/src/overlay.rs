//! What `spec.pod` must leave alone: what the ShopService has a field for, and what the sidecar needs.

use serde_json::{Map, Value};
use shop_crds::{
    names::{APP_CONTAINER, SIDECAR_CONTAINER},
    service::pod::PodOverlay,
};

/// Largest overlay, in bytes of JSON: it is kept with every revision.
const MAX_BYTES: usize = 32 * 1024;
/// Prefix of the operator's own labels and annotations.
const OURS: &str = "shopkeeper.dev/";
/// Fields of the app's container that the ShopService has, and what is written instead.
const APP_FIELDS: [(&str, &str); 10] = [
    ("image", "spec.image"),
    ("command", "spec.command"),
    ("args", "spec.args"),
    ("env", "spec.env"),
    ("envFrom", "spec.envFrom"),
    ("resources", "spec.resources"),
    ("readinessProbe", "spec.probes.readiness"),
    ("livenessProbe", "spec.probes.liveness"),
    ("startupProbe", "spec.probes.startup"),
    ("lifecycle", "spec.release.drain"),
];
/// Directories of the sidecar.
const DIRECTORIES: [&str; 2] = ["/etc/shop", "/var/lib/shop"];

/// Why the overlay cannot be used, with the field and what to write instead.
pub(crate) fn refusal(overlay: &PodOverlay) -> Option<String> {
    let bytes = serde_json::to_vec(overlay).map_or(0, |bytes| bytes.len());
    if bytes > MAX_BYTES {
        return Some(format!("spec.pod has {bytes} bytes of JSON; write at most {MAX_BYTES}"));
    }
    metadata(overlay).or_else(|| pod(&overlay.spec)).or_else(|| containers(&overlay.spec))
}

fn metadata(overlay: &PodOverlay) -> Option<String> {
    let metadata = overlay.metadata.as_ref()?;
    for (field, keys) in [
        ("labels", metadata.labels.keys().collect::<Vec<_>>()),
        ("annotations", metadata.annotations.keys().collect()),
    ] {
        if let Some(key) = keys.into_iter().find(|key| key.starts_with(OURS)) {
            return Some(format!(
                "spec.pod.metadata.{field} has {key}; those of {OURS} are the operator's, leave it out"
            ));
        }
    }
    None
}

fn pod(spec: &Map<String, Value>) -> Option<String> {
    if spec.contains_key("terminationGracePeriodSeconds") {
        return Some(
            "spec.pod.spec.terminationGracePeriodSeconds follows from spec.release.drain.max; write that"
                .into(),
        );
    }
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Some(
            "spec.pod.spec.hostNetwork: two revisions would need the sidecar's ports on one node; leave it out".into(),
        );
    }
    let volumes = named(spec, "volumes");
    let ours = |name: &str| {
        name.starts_with("shop-")
            || name.strip_prefix("config-").is_some_and(|rest| rest.parse::<u16>().is_ok())
    };
    let name = volumes.filter_map(|(name, _)| name).find(|name| ours(name))?;
    Some(format!("spec.pod.spec.volumes has {name}, a name that the operator uses; write another one"))
}

fn containers(spec: &Map<String, Value>) -> Option<String> {
    for list in ["containers", "initContainers"] {
        for (name, container) in named(spec, list) {
            let Some(name) = name else {
                return Some(format!(
                    "spec.pod.spec.{list} has one without a name; the app's is `{APP_CONTAINER}`"
                ));
            };
            if name == SIDECAR_CONTAINER {
                return Some(format!("spec.pod.spec.{list} has {name}; write spec.sidecar instead"));
            }
            if name == APP_CONTAINER {
                if list == "initContainers" {
                    return Some(format!(
                        "spec.pod.spec.{list} has {name}, which is the app's; write another name"
                    ));
                }
                let field = APP_FIELDS.iter().find(|(field, _)| container.get(*field).is_some());
                if let Some((field, instead)) = field {
                    return Some(format!(
                        "spec.pod.spec.containers[{name}].{field}: write {instead} instead"
                    ));
                }
            }
            let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
            let paths = mounts.filter_map(|mount| mount.get("mountPath")?.as_str());
            let within = |path: &&str| {
                DIRECTORIES.iter().any(|own| format!("{path}/").starts_with(&format!("{own}/")))
            };
            if let Some(path) = paths.into_iter().find(within) {
                return Some(format!(
                    "spec.pod.spec.{list}[{name}] mounts {path}, which is the sidecar's; write another path"
                ));
            }
        }
    }
    None
}

fn named<'a>(spec: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = (Option<&'a str>, &'a Value)> {
    let entries = spec.get(list).and_then(Value::as_array).into_iter().flatten();
    entries.map(|entry| (entry.get("name").and_then(Value::as_str), entry))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(overlay: &Value) -> Option<String> {
        refusal(&serde_json::from_value(overlay.clone()).unwrap())
    }

    #[test]
    fn what_has_a_field_of_its_own_is_refused_with_its_name() {
        for (overlay, says) in [
            (
                json!({"metadata": {"labels": {"shopkeeper.dev/revision": "9"}}}),
                "labels has shopkeeper.dev/revision",
            ),
            (
                json!({"metadata": {"annotations": {"shopkeeper.dev/x": "9"}}}),
                "annotations has shopkeeper.dev/x",
            ),
            (json!({"spec": {"terminationGracePeriodSeconds": 5}}), "spec.release.drain.max"),
            (json!({"spec": {"hostNetwork": true}}), "hostNetwork"),
            (json!({"spec": {"volumes": [{"name": "shop-keys"}]}}), "volumes has shop-keys"),
            (json!({"spec": {"volumes": [{"name": "config-0"}]}}), "volumes has config-0"),
            (json!({"spec": {"containers": [{"image": "a"}]}}), "without a name"),
            (json!({"spec": {"containers": [{"name": "app", "image": "a"}]}}), "write spec.image"),
            (json!({"spec": {"initContainers": [{"name": "app"}]}}), "write another name"),
            (json!({"spec": {"initContainers": [{"name": "shop-sidecar"}]}}), "write spec.sidecar"),
            (
                json!({"spec": {"containers": [{"name": "a", "volumeMounts": [{"name": "x", "mountPath": "/etc/shop/keys"}]}]}}),
                "mounts /etc/shop/keys",
            ),
            (json!({"metadata": {"annotations": {"a": "x".repeat(40_000)}}}), "at most 32768"),
        ] {
            let message = refused(&overlay).unwrap_or_default();
            assert!(message.contains(says), "{overlay}: {message}");
        }
    }

    #[test]
    fn everything_else_passes() {
        assert_eq!(refused(&json!({})), None);
        let overlay = json!({
            "metadata": {"labels": {"team": "orders"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "volumes": [{"name": "config-extra", "emptyDir": {}}],
                "containers": [
                    {"name": "app", "securityContext": {"runAsNonRoot": true}, "volumeMounts": [{"name": "config-extra", "mountPath": "/etc/shopping"}]},
                    {"name": "exporter", "image": "x:1"},
                ],
            },
        });
        assert_eq!(refused(&overlay), None);
    }
}
