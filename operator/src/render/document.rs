//! The sidecar's document: what a plan says, with identity, epoch and keys; and back.

use serde_json::{Value, json};
use shop_contract::{App, Document, HandoverKeys, Identity, PublicKeys, Readiness, SCHEMA};
use shop_crds::{names, service::Protocol, status::Colour};
use shop_release::{ObjectKind, Role, ServiceKind, SidecarDocument};

mod dependency;
mod faults;
mod limits;
mod mtls;
mod telemetry;
mod tokens;
mod traffic;

pub use tokens::token_keys_name;

use super::{COMPONENT_SIDECAR_CONFIG, Owner, Parts, Rendered, short_hash};

/// What the operator puts into every document beside what is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The operator's public key.
    pub push: String,
    /// Id of the service's MAC key.
    pub handover: String,
}

/// By what a config is known to be written with other keys.
pub fn keys_fingerprint(keys: &Keys) -> String {
    short_hash(format!("{} {}", keys.push, keys.handover).as_bytes())
}

/// The document that sidecars get.
pub fn contract_document(
    owner: &Owner,
    document: &SidecarDocument,
    generation: i64,
    keys: &Keys,
    address: impl Fn(ServiceKind) -> String,
) -> Document {
    Document {
        schema: SCHEMA,
        identity: Identity {
            namespace: owner.namespace.clone(),
            service: owner.service.clone(),
            service_uid: owner.uid.clone(),
            revision: document.revision,
        },
        leader_epoch: owner.epoch,
        generation,
        role: match document.role {
            Role::Candidate => shop_contract::Role::Candidate,
            Role::Active => shop_contract::Role::Active,
            Role::Retiring => shop_contract::Role::Retiring,
        },
        colour: match document.colour {
            Colour::Blue => shop_contract::Colour::Blue,
            Colour::Green => shop_contract::Colour::Green,
        },
        role_epoch: document.role_epoch,
        app: App {
            port: document.port,
            protocol: match document.protocol {
                Protocol::Http => shop_contract::Protocol::Http,
                Protocol::Grpc => shop_contract::Protocol::Grpc,
                Protocol::Tcp => shop_contract::Protocol::Tcp,
            },
            readiness: Readiness {
                path: document.readiness_path.clone(),
                timeout_ms: document.readiness_timeout_ms,
            },
        },
        max_connections: document.max_connections,
        trusted_hops: document.trusted_hops.clone(),
        drain_max_ms: document.drain_max_ms,
        hand_off: document.hand_off.as_ref().map(|hand_off| traffic::hand_off(hand_off, &address)),
        mirror: document.mirror.as_ref().map(|mirror| traffic::mirror(mirror, &address)),
        depends_on: document
            .depends_on
            .iter()
            .map(|one| dependency::dependency(one, document.peers.get(&one.name)))
            .collect(),
        limits: document.limits.as_ref().map(limits::limits),
        telemetry: telemetry::telemetry(&document.telemetry),
        auth: mtls::auth(document),
        faults: document.faults.iter().map(faults::fault).collect(),
        push_keys: PublicKeys { current: keys.push.clone(), next: None },
        handover_keys: HandoverKeys { current: keys.handover.clone(), next: None },
    }
}

/// What the plan said when a document was written, and the keys of then; `None` where that cannot be told.
pub fn stored_document(
    document: &Document,
    address: impl Fn(ServiceKind) -> String,
) -> Option<(SidecarDocument, Keys)> {
    let hand_off = match &document.hand_off {
        None => None,
        Some(hand_off) => Some(traffic::stored_hand_off(hand_off, &address)?),
    };
    let mirror = match &document.mirror {
        None => None,
        Some(mirror) => Some(traffic::stored_mirror(mirror, &address)?),
    };
    let jwt = match document.auth.as_ref().and_then(|auth| auth.jwt.as_ref()) {
        None => None,
        Some(jwt) => Some(tokens::stored_jwt(jwt)?),
    };
    let plain = SidecarDocument {
        revision: document.identity.revision,
        role: match document.role {
            shop_contract::Role::Candidate => Role::Candidate,
            shop_contract::Role::Active => Role::Active,
            shop_contract::Role::Retiring => Role::Retiring,
        },
        colour: match document.colour {
            shop_contract::Colour::Blue => Colour::Blue,
            shop_contract::Colour::Green => Colour::Green,
        },
        role_epoch: document.role_epoch,
        port: document.app.port,
        protocol: match document.app.protocol {
            shop_contract::Protocol::Http => Protocol::Http,
            shop_contract::Protocol::Grpc => Protocol::Grpc,
            shop_contract::Protocol::Tcp => Protocol::Tcp,
        },
        readiness_path: document.app.readiness.path.clone(),
        readiness_timeout_ms: document.app.readiness.timeout_ms,
        max_connections: document.max_connections,
        trusted_hops: document.trusted_hops.clone(),
        drain_max_ms: document.drain_max_ms,
        hand_off,
        mirror,
        limits: document.limits.as_ref().map(limits::stored_limits),
        depends_on: document.depends_on.iter().map(dependency::stored).collect(),
        telemetry: telemetry::stored(document.telemetry.as_ref()),
        jwt,
        mtls: mtls::stored(document),
        peers: mtls::stored_peers(document),
        faults: document.faults.iter().map(faults::stored).collect(),
    };
    let keys =
        Keys { push: document.push_keys.current.clone(), handover: document.handover_keys.current.clone() };
    Some((plain, keys))
}

/// The ConfigMap that is mounted beside the sidecar. Fails only for a document that cannot be written as JSON.
pub fn sidecar_config(owner: &Owner, document: &Document) -> Result<Rendered, serde_json::Error> {
    let text = serde_json::to_string(document)?;
    let revision = document.identity.revision;
    Ok(owner.object(
        ObjectKind::ConfigMap,
        names::sidecar_config(&owner.service, revision),
        Parts {
            revision: Some(revision),
            component: Some(COMPONENT_SIDECAR_CONFIG),
            meant: text.clone(),
            content: json!({ "data": Value::from_iter([(shop_contract::env::DOCUMENT_FILE, text)]) }),
            ..Parts::default()
        },
    ))
}
