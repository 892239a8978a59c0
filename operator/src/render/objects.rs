//! Everything but the pod template: Deployment, Services, budget, account, keys, revision and copies.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use shop_contract::{files, ports};
use shop_crds::{
    ShopServiceSpec,
    names::{self, ANNOTATION_COLOUR, ANNOTATION_RESTART, ANNOTATION_ROLE},
    service::{Protocol, ServiceType},
    status::Colour,
};
use shop_release::{
    Adopted, Certificate, MaxUnavailable, ObjectKind, RevisionFacts, Role, ServiceKind, SnapshotRef,
    SourceKind,
};

use super::{
    ANNOTATION_CERTIFICATE, ANNOTATION_FROM_SPEC, ANNOTATION_KEY_ID, ANNOTATION_SOURCE,
    ANNOTATION_SOURCE_HASH, ANNOTATION_TOKEN_KEYS, COMPONENT_SNAPSHOT, Owner, Parts, Rendered, short_hash,
    token_keys_name,
};

/// `spec.strategy.type` of a Deployment that has the pods of one template only.
pub const RECREATE: &str = "Recreate";

/// The record of a revision: what is known of it, and its template.
pub fn revision(owner: &Owner, number: i64, facts: &RevisionFacts, template: &Value) -> Rendered {
    owner.object(
        ObjectKind::ControllerRevision,
        names::revision(&owner.service, number),
        Parts {
            revision: Some(number),
            meant: facts.hash.clone(),
            content: json!({ "revision": number, "data": { "facts": facts, "template": template } }),
            ..Parts::default()
        },
    )
}

/// The record of a restart: the revision's facts, and its template with another sidecar.
pub fn restart(
    owner: &Owner,
    number: i64,
    ordinal: i64,
    facts: &RevisionFacts,
    template: &Value,
) -> Rendered {
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_RESTART.to_owned(), ordinal.to_string().into());
    owner.object(
        ObjectKind::ControllerRevision,
        names::restart(&owner.service, number, ordinal),
        Parts {
            revision: Some(number),
            annotations,
            meant: format!("{} {ordinal}", facts.hash),
            content: json!({ "revision": number, "data": { "facts": facts, "template": template } }),
            ..Parts::default()
        },
    )
}

/// Facts and template of a ControllerRevision's content.
pub fn template_of(content: &Value) -> Option<(RevisionFacts, Value)> {
    let data = content.get("data")?;
    let facts = serde_json::from_value(data.get("facts")?.clone()).ok()?;
    Some((facts, data.get("template")?.clone()))
}

/// The Deployment of a revision, around its stored template: that of the revision, or of one of its restarts. Where the template
/// changes, a pod goes only when another one is ready in its place; with `recreate` another one starts only when all are gone.
pub fn deployment(
    owner: &Owner,
    number: i64,
    template: &Value,
    replicas: i32,
    role: Role,
    colour: Colour,
    recreate: bool,
) -> Rendered {
    let strategy = if recreate {
        json!({ "type": RECREATE })
    } else {
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } })
    };
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_ROLE.to_owned(), role.as_str().into());
    annotations.insert(ANNOTATION_COLOUR.to_owned(), colour.as_str().into());
    let ordinal = template.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_RESTART));
    if let Some(ordinal) = ordinal {
        annotations.insert(ANNOTATION_RESTART.to_owned(), ordinal.clone());
    }
    let way = if recreate { " recreate" } else { "" };
    let template_hash = short_hash(template.to_string().as_bytes());
    owner.object(
        ObjectKind::Deployment,
        names::revision(&owner.service, number),
        Parts {
            revision: Some(number),
            annotations,
            meant: format!("{replicas} {} {} {template_hash}{way}", role.as_str(), colour.as_str()),
            content: json!({ "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": owner.selector(number) },
                "strategy": strategy,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 0,
                "template": template,
            } }),
            ..Parts::default()
        },
    )
}

/// One of the three Services. Its port, 80 unless the users' Service has another one, leads to the sidecars, of what was adopted to
/// the pods themselves.
pub fn service(
    owner: &Owner,
    kind: ServiceKind,
    selects: i64,
    spec: &ShopServiceSpec,
    adopted: Option<&Adopted>,
) -> Rendered {
    let users = spec.service.clone().unwrap_or_default();
    let (name, port) = match kind {
        ServiceKind::Users => (users.port_name.as_str(), users.port),
        ServiceKind::Pods | ServiceKind::Preview => ("http", 80),
    };
    let target = adopted.map_or_else(|| json!(ports::INBOUND), |adopted| json!(adopted.target_port));
    let mut users_port = Map::from_iter([
        ("port".to_owned(), json!(port)),
        ("protocol".to_owned(), "TCP".into()),
        ("targetPort".to_owned(), target),
    ]);
    // Others guess by the name what is spoken there, unless they are told.
    let is_tcp = spec.protocol == Protocol::Tcp;
    if !name.is_empty() {
        let name = if is_tcp && name == "http" { "tcp" } else { name };
        users_port.insert("name".to_owned(), name.into());
    }
    if is_tcp {
        users_port.insert("appProtocol".to_owned(), "tcp".into());
    }
    let mut content = Map::new();
    let mut set = |field: &str, value: Value| drop(content.insert(field.to_owned(), value));
    set("type", "ClusterIP".into());
    set("selector", adopted.map_or_else(|| owner.selector(selects), |adopted| json!(adopted.selector)));
    set("publishNotReadyAddresses", false.into());
    set("ports", json!([users_port]));
    let mut annotations = Map::new();
    match kind {
        ServiceKind::Users => {
            set("type", users.kind.as_str().into());
            if users.kind != ServiceType::ClusterIP {
                set("externalTrafficPolicy", "Cluster".into());
            }
            let given: Vec<&String> = users.annotations.keys().collect();
            if !given.is_empty() {
                annotations.insert(ANNOTATION_FROM_SPEC.to_owned(), json!(given).to_string().into());
            }
            annotations
                .extend(users.annotations.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        }
        ServiceKind::Pods => set("clusterIP", "None".into()),
        ServiceKind::Preview => {}
    }
    owner.object(
        ObjectKind::Service,
        kind.name(&owner.service),
        Parts {
            meant: format!("{} {}", Value::Object(content.clone()), Value::Object(annotations.clone())),
            detail: selects.to_string(),
            annotations,
            content: json!({ "spec": content }),
            ..Parts::default()
        },
    )
}

/// The PodDisruptionBudget of a revision.
pub fn budget(owner: &Owner, number: i64, max_unavailable: MaxUnavailable) -> Rendered {
    let max_unavailable = match max_unavailable {
        MaxUnavailable::One => json!(1),
        MaxUnavailable::TenPercent => json!("10%"),
    };
    owner.object(
        ObjectKind::PodDisruptionBudget,
        names::revision(&owner.service, number),
        Parts {
            revision: Some(number),
            meant: max_unavailable.to_string(),
            content: json!({ "spec": {
                "maxUnavailable": max_unavailable,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": { "matchLabels": owner.selector(number) },
            } }),
            ..Parts::default()
        },
    )
}

/// The ServiceAccount of the pods: without rights, and without a token in them.
pub fn account(owner: &Owner) -> Rendered {
    owner.object(
        ObjectKind::ServiceAccount,
        names::service_account(&owner.service),
        Parts { content: json!({ "automountServiceAccountToken": false }), ..Parts::default() },
    )
}

/// Keys for tokens, as they lie beside the MAC key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKeys {
    /// Hash of the content that they were copied from.
    pub hash: String,
    /// The JWK Set.
    pub set: Vec<u8>,
}

/// A certificate, as it lies beside the MAC key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certified {
    /// What is known of it.
    pub note: Certificate,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// PEM.
    pub roots: String,
}

impl Certified {
    /// The files in the Secret, and what is in them.
    pub fn files(&self) -> [(&'static str, &str); 3] {
        [
            (files::CERTIFICATE, &self.certificate),
            (files::PRIVATE_KEY, &self.key),
            (files::ROOTS, &self.roots),
        ]
    }
}

/// The Secret with one MAC key, under its id, with keys for tokens, and with a certificate.
pub fn keys(
    owner: &Owner,
    id: &str,
    key: &[u8],
    tokens: Option<&TokenKeys>,
    certified: Option<&Certified>,
) -> Rendered {
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_KEY_ID.to_owned(), id.into());
    let mut data = Map::new();
    data.insert(id.to_owned(), STANDARD.encode(key).into());
    if let Some(tokens) = tokens {
        annotations.insert(ANNOTATION_TOKEN_KEYS.to_owned(), tokens.hash.clone().into());
        data.insert(token_keys_name(&tokens.hash), STANDARD.encode(&tokens.set).into());
    }
    if let Some(certified) = certified {
        annotations.insert(ANNOTATION_CERTIFICATE.to_owned(), json!(certified.note).to_string().into());
        data.extend(certified.files().map(|(name, text)| (name.to_owned(), STANDARD.encode(text).into())));
    }
    owner.object(
        ObjectKind::Secret,
        names::sidecar_keys(&owner.service),
        Parts {
            annotations,
            meant: id.to_owned(),
            content: json!({ "type": "Opaque", "data": data }),
            ..Parts::default()
        },
    )
}

/// A revision's immutable copy of a ConfigMap or Secret: `source` is the object that is copied.
pub fn snapshot(owner: &Owner, number: i64, reference: &SnapshotRef, source: &Value) -> Rendered {
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_SOURCE.to_owned(), reference.source.clone().into());
    annotations.insert(ANNOTATION_SOURCE_HASH.to_owned(), reference.hash.clone().into());
    let mut content = Map::new();
    content.insert("immutable".into(), true.into());
    for field in ["type", "data", "binaryData"] {
        if let Some(value) = source.get(field).filter(|value| !value.is_null()) {
            content.insert(field.into(), value.clone());
        }
    }
    owner.object(
        reference.kind.into(),
        reference.name.clone(),
        Parts {
            revision: Some(number),
            component: Some(COMPONENT_SNAPSHOT),
            annotations,
            meant: reference.hash.clone(),
            content: Value::Object(content),
            ..Parts::default()
        },
    )
}

/// Which copy an object is, by its annotations.
pub fn snapshot_ref(
    kind: SourceKind,
    name: &str,
    annotations: &BTreeMap<String, String>,
) -> Option<SnapshotRef> {
    Some(SnapshotRef {
        kind,
        source: annotations.get(ANNOTATION_SOURCE)?.clone(),
        name: name.to_owned(),
        hash: annotations.get(ANNOTATION_SOURCE_HASH)?.clone(),
    })
}
