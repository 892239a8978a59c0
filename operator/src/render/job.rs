//! Jobs that are run for a release.

use serde_json::{Map, Value, json};
use shop_crds::names::{self, APP_CONTAINER, LABEL_MANAGED_BY};
use shop_release::{JobTemplate, ObjectKind};

use super::{Owner, Parts, Rendered, short_hash};

/// Label of a Job's pods: the ShopService. Not the label by which Services and Deployments select.
pub const LABEL_JOB_OF: &str = "shopkeeper.dev/job-of";

/// Fields of the app's container that a Job of the revision gets as they are.
const LIKE_THE_APP: [&str; 6] =
    ["image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext"];
/// Fields of the pod that a Job of the revision gets as they are.
const LIKE_THE_POD: [&str; 5] =
    ["imagePullSecrets", "securityContext", "nodeSelector", "tolerations", "affinity"];

/// A Job for a revision. Its pods have no token, and are not restarted in place. `like` is the pod template of the revision, where
/// the Job shall have its image, environment and files; the sidecar is left out.
pub fn job(owner: &Owner, name: &str, revision: i64, job: &JobTemplate, like: Option<&Value>) -> Rendered {
    let mut container = app_of(like);
    container.insert("name".to_owned(), "job".into());
    if !job.image.is_empty() {
        container.insert("image".to_owned(), job.image.clone().into());
    }
    let set = |name: &Value| job.env.iter().any(|one| *name == one.name.as_str());
    let mut env = list(&mut container, "env");
    env.retain(|one| one.get("name").is_none_or(|name| !set(name)));
    env.extend(job.env.iter().map(|one| json!(one)));
    let mut env_from = list(&mut container, "envFrom");
    env_from.extend(job.env_from.iter().map(|one| json!(one)));
    let lists = [
        ("command", json!(job.command), job.command.is_empty()),
        ("args", json!(job.args), job.args.is_empty()),
        ("env", json!(env), env.is_empty()),
        ("envFrom", json!(env_from), env_from.is_empty()),
    ];
    for (field, value, empty) in lists {
        if !empty {
            container.insert(field.to_owned(), value);
        }
    }
    let mut pod = pod_of(like, &container);
    for (field, value) in [
        ("restartPolicy", json!("Never")),
        ("serviceAccountName", json!(names::service_account(&owner.service))),
        ("automountServiceAccountToken", json!(false)),
        ("enableServiceLinks", json!(false)),
        ("containers", json!([container])),
    ] {
        pod.insert(field.to_owned(), value);
    }
    let spec = json!({
        "backoffLimit": job.retries.max(0),
        "activeDeadlineSeconds": job.timeout.as_secs().max(1),
        "template": {
            "metadata": { "labels": { LABEL_JOB_OF: owner.service, LABEL_MANAGED_BY: "shopkeeper" } },
            "spec": pod,
        },
    });
    owner.object(
        ObjectKind::Job,
        name.to_owned(),
        Parts {
            revision: Some(revision),
            meant: short_hash(spec.to_string().as_bytes()),
            content: json!({ "spec": spec }),
            ..Parts::default()
        },
    )
}

/// What a Job takes over of the app's container.
fn app_of(like: Option<&Value>) -> Map<String, Value> {
    let containers = like.and_then(|template| template.pointer("/spec/containers")?.as_array());
    let app = containers
        .into_iter()
        .flatten()
        .find(|one| one.get("name").is_some_and(|name| name == APP_CONTAINER));
    let fields =
        LIKE_THE_APP.into_iter().filter_map(|field| Some((field.to_owned(), app?.get(field)?.clone())));
    fields.collect()
}

/// What it takes over of the pod: of the volumes those that its container mounts.
fn pod_of(like: Option<&Value>, container: &Map<String, Value>) -> Map<String, Value> {
    let spec = like.and_then(|template| template.get("spec"));
    let fields =
        LIKE_THE_POD.into_iter().filter_map(|field| Some((field.to_owned(), spec?.get(field)?.clone())));
    let mut pod: Map<String, Value> = fields.collect();
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    let mounted =
        |volume: &&Value| mounts.into_iter().flatten().any(|mount| mount.get("name") == volume.get("name"));
    let volumes = spec.and_then(|spec| spec.get("volumes")?.as_array());
    let volumes: Vec<Value> = volumes.into_iter().flatten().filter(mounted).cloned().collect();
    if !volumes.is_empty() {
        pod.insert("volumes".to_owned(), volumes.into());
    }
    pod
}

fn list(container: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match container.remove(field) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_revision_has_its_environment_and_files_and_no_sidecar() {
        let owner = Owner { namespace: "shop".into(), service: "order".into(), uid: "u".into(), epoch: 1 };
        let template = json!({ "spec": {
            "initContainers": [{ "name": "shop-sidecar" }],
            "containers": [{
                "name": "app", "image": "order:7", "command": ["/order"], "livenessProbe": {},
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                "envFrom": [{ "secretRef": { "name": "order-r7-keys" } }],
                "volumeMounts": [{ "name": "config-0", "mountPath": "/etc/order" }],
            }],
            "volumes": [{ "name": "config-0", "configMap": { "name": "order-r7-settings" } }, { "name": "shop-keys" }],
        } });
        let migrate = JobTemplate {
            args: vec!["migrate".into()],
            env: vec![serde_json::from_value(json!({ "name": "B", "value": "3" })).unwrap()],
            ..JobTemplate::default()
        };
        let rendered = job(&owner, "order-r7-expand", 7, &migrate, Some(&template));
        let spec = &rendered.value["spec"]["template"]["spec"];
        assert_eq!(spec["initContainers"], Value::Null);
        assert_eq!(
            spec["volumes"],
            json!([{ "name": "config-0", "configMap": { "name": "order-r7-settings" } }])
        );
        assert_eq!(
            spec["containers"],
            json!([{
                "name": "job", "image": "order:7", "args": ["migrate"],
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "3" }],
                "envFrom": [{ "secretRef": { "name": "order-r7-keys" } }],
                "volumeMounts": [{ "name": "config-0", "mountPath": "/etc/order" }],
            }])
        );
        let labels = &rendered.value["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["shopkeeper.dev/service"], Value::Null, "no Service selects it: {labels}");
        let other = JobTemplate { image: "check:1".into(), ..JobTemplate::default() };
        let rendered = job(&owner, "order-r7-check", 7, &other, None);
        assert_eq!(
            rendered.value["spec"]["template"]["spec"]["containers"],
            json!([{ "name": "job", "image": "check:1" }])
        );
    }
}
