//! Jobs that are run for a release.

use serde_json::{Map, Value, json};
use shop_crds::names::{self, LABEL_MANAGED_BY};
use shop_release::{JobTemplate, ObjectKind};

use super::{Owner, Parts, Rendered, short_hash};

/// Label of a Job's pods: the ShopService. Not the label by which Services and Deployments select.
pub const LABEL_JOB_OF: &str = "shopkeeper.dev/job-of";

/// A Job for a revision. Its pods have no token, and are not restarted in place.
pub fn job(owner: &Owner, name: &str, revision: i64, job: &JobTemplate) -> Rendered {
    let mut container = Map::new();
    container.insert("name".to_owned(), "job".into());
    container.insert("image".to_owned(), job.image.clone().into());
    let lists = [
        ("command", json!(job.command), job.command.is_empty()),
        ("args", json!(job.args), job.args.is_empty()),
        ("env", json!(job.env), job.env.is_empty()),
        ("envFrom", json!(job.env_from), job.env_from.is_empty()),
    ];
    for (field, value, empty) in lists {
        if !empty {
            container.insert(field.to_owned(), value);
        }
    }
    let spec = json!({
        "backoffLimit": job.retries.max(0),
        "activeDeadlineSeconds": job.timeout.as_secs().max(1),
        "template": {
            "metadata": { "labels": { LABEL_JOB_OF: owner.service, LABEL_MANAGED_BY: "shopkeeper" } },
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": names::service_account(&owner.service),
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [Value::Object(container)],
            },
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
