//! Objects as JSON, from what a plan wants written: pure functions.
//!
//! A pod template is rendered once, when its revision is cut, and stored; everything else is rendered anew at each write.

mod document;
mod job;
mod network;
mod objects;
mod overlay;
mod template;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use shop_crds::names::{
    ANNOTATION_LEADER_EPOCH, ANNOTATION_WRITTEN, LABEL_MANAGED_BY, LABEL_NAME, LABEL_REVISION, LABEL_SERVICE,
};
use shop_release::ObjectKind;

pub use document::{
    Keys, contract_document, keys_fingerprint, sidecar_config, stored_document, token_keys_name,
};
pub use job::{LABEL_JOB_OF, job};
pub use network::{Site, network_policy};
pub use objects::{
    Certified, RECREATE, TokenKeys, account, budget, deployment, keys, restart, revision, service, snapshot,
    snapshot_ref, template_of,
};
pub use template::{SidecarImage, pod_template, restarted_template};

/// Label: which part of a ShopService an object is.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Component of ConfigMaps with a sidecar document.
pub const COMPONENT_SIDECAR_CONFIG: &str = "sidecar-config";
/// Component of copies of ConfigMaps and Secrets.
pub const COMPONENT_SNAPSHOT: &str = "snapshot";
/// Annotation of the Secret with MAC keys: the id of the key in use.
pub const ANNOTATION_KEY_ID: &str = "shopkeeper.dev/key-id";
/// Annotation of the same Secret: hash of the content that its keys for tokens were copied from.
pub const ANNOTATION_TOKEN_KEYS: &str = "shopkeeper.dev/token-keys";
/// Annotation of the same Secret: what is known of its certificate.
pub const ANNOTATION_CERTIFICATE: &str = "shopkeeper.dev/certificate";
/// Annotation of copies: name of the ConfigMap or Secret that was copied.
pub const ANNOTATION_SOURCE: &str = "shopkeeper.dev/source";
/// Annotation of copies: hash of the content.
pub const ANNOTATION_SOURCE_HASH: &str = "shopkeeper.dev/source-hash";
/// Annotation of Services: the annotations that came from `spec.service.annotations`, to take them away again.
pub const ANNOTATION_FROM_SPEC: &str = "shopkeeper.dev/annotations-from-spec";

/// Whose objects are rendered.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Namespace of the ShopService.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Its uid.
    pub uid: String,
    /// Epoch of the leader that writes.
    pub epoch: i64,
}

/// An object, rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// As it is sent.
    pub value: Value,
}

/// The annotation `shopkeeper.dev/written`: whose object it is, and a hash of what was meant by the last write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// Uid of the ShopService.
    pub uid: &'a str,
    /// Hash of what was meant.
    pub hash: &'a str,
    /// The revision that a Service selects; empty for others.
    pub detail: &'a str,
}

impl<'a> Written<'a> {
    /// From the annotation's value.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some(Self { uid: parts.next()?, hash: parts.next()?, detail: parts.next().unwrap_or_default() })
    }
}

/// 16 hexadecimal digits of the SHA-256.
pub fn short_hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Owner {
    /// Labels of an object.
    fn labels(&self, revision: Option<i64>, component: Option<&str>) -> Value {
        let mut labels = Map::new();
        labels.insert(LABEL_MANAGED_BY.to_owned(), "shopkeeper".into());
        labels.insert(LABEL_NAME.to_owned(), self.service.clone().into());
        labels.insert(LABEL_SERVICE.to_owned(), self.service.clone().into());
        if let Some(revision) = revision {
            labels.insert(LABEL_REVISION.to_owned(), revision.to_string().into());
        }
        if let Some(component) = component {
            labels.insert(LABEL_COMPONENT.to_owned(), component.into());
        }
        Value::Object(labels)
    }

    /// The label selector of a revision's pods, which is their labels too.
    fn selector(&self, revision: i64) -> Value {
        json!({ LABEL_SERVICE: self.service, LABEL_REVISION: revision.to_string() })
    }

    /// The owner reference of its objects.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": format!("{}/{}", shop_crds::GROUP, shop_crds::VERSION),
            "kind": "ShopService",
            "name": self.service,
            "uid": self.uid,
            "controller": true,
        })
    }

    /// Finishes an object: metadata with labels, annotations and owner. `meant` is what drift is measured against.
    fn object(&self, kind: ObjectKind, name: String, parts: Parts<'_>) -> Rendered {
        let (api_version, kind_name) = match kind {
            ObjectKind::ControllerRevision | ObjectKind::Deployment => ("apps/v1", kind.as_str()),
            ObjectKind::PodDisruptionBudget => ("policy/v1", kind.as_str()),
            ObjectKind::ReleaseDecision => ("shopkeeper.dev/v1alpha1", kind.as_str()),
            ObjectKind::NetworkPolicy => ("networking.k8s.io/v1", kind.as_str()),
            ObjectKind::Job => ("batch/v1", kind.as_str()),
            _ => ("v1", kind.as_str()),
        };
        let mut annotations = parts.annotations;
        annotations.insert(ANNOTATION_LEADER_EPOCH.to_owned(), self.epoch.to_string().into());
        let hash = short_hash(parts.meant.as_bytes());
        let written = format!("{}/{hash}/{}", self.uid, parts.detail);
        annotations.insert(ANNOTATION_WRITTEN.to_owned(), written.into());
        let mut value = json!({
            "apiVersion": api_version,
            "kind": kind_name,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": self.labels(parts.revision, parts.component),
                "annotations": annotations,
                "ownerReferences": [self.reference()],
            },
        });
        if let (Value::Object(value), Value::Object(content)) = (&mut value, parts.content) {
            value.extend(content);
        }
        Rendered { kind, name, value }
    }
}

/// What makes one object another than the next.
#[derive(Default)]
struct Parts<'a> {
    revision: Option<i64>,
    component: Option<&'a str>,
    annotations: Map<String, Value>,
    meant: String,
    detail: String,
    content: Value,
}

#[cfg(test)]
mod tests;
