//! What makes a revision: the user's inputs that reach the pod, and their hash.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shop_crds::{
    Amount, ShopServiceSpec, Span, names,
    service::{ConfigSource, Probes, Protocol, Resources, pod::PodOverlay, release::defaults},
};

use crate::{
    adopt::Adopted,
    dependency::{self, Called, KeptDependency},
    observed::{Observed, SourceState},
    overlay,
};

/// Largest source that is snapshotted, in bytes: an object in etcd must stay below 1.5 MiB, metadata included.
pub const MAX_SOURCE_BYTES: u64 = 1024 * 1024;
/// Memory limit of a sidecar that the spec does not set.
const SIDECAR_MEMORY: u64 = 64 * 1024 * 1024;

/// ConfigMap or Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A ConfigMap or Secret that the spec names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRef {
    /// Which of the two.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// Whether every place that names it says `optional`.
    pub optional: bool,
    /// Whether it counts at once and in all revisions: then it is no part of one.
    pub live: bool,
}

/// A revision's immutable copy of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRef {
    /// ConfigMap or Secret.
    pub kind: SourceKind,
    /// Name of the source.
    pub source: String,
    /// Name of the copy.
    pub name: String,
    /// Hash of the content.
    pub hash: String,
}

/// Hash of one source's content, or that an optional one is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceHash {
    /// ConfigMap or Secret.
    pub kind: SourceKind,
    /// Name of the source.
    pub name: String,
    /// Hash of the content; `None`: it does not exist, and need not.
    pub hash: Option<String>,
}

/// The user's inputs that reach the pod. Two specs with equal inputs are the same revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// `spec.image`.
    pub image: String,
    /// `spec.command`.
    pub command: Vec<String>,
    /// `spec.args`.
    pub args: Vec<String>,
    /// `spec.env`.
    pub env: Vec<EnvVar>,
    /// `spec.envFrom`.
    pub env_from: Vec<EnvFromSource>,
    /// `spec.resources`.
    pub resources: Option<Resources>,
    /// `spec.port`.
    pub port: i32,
    /// `spec.protocol`.
    pub protocol: Protocol,
    /// `spec.probes`.
    pub probes: Option<Probes>,
    /// `spec.config`.
    pub config: Vec<ConfigSource>,
    /// `spec.release.drain.max`, or its default.
    pub drain_max: Span,
    /// `spec.sidecar.resources`.
    pub sidecar_resources: Option<Resources>,
    /// Names and ports of `spec.dependsOn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Called>,
    /// `spec.pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverlay>,
    /// Content of every source, in the order of [`sources`].
    pub sources: Vec<SourceHash>,
}

/// What is kept with a revision beside its template, and what its sidecars are told from: never from the live spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionFacts {
    /// [`Inputs::hash`].
    pub hash: String,
    /// The image as the spec named it.
    pub image: String,
    /// Port of the app.
    pub port: i32,
    /// What it speaks.
    pub protocol: Protocol,
    /// Path of the readiness probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_path: Option<String>,
    /// Timeout of the readiness probe, in milliseconds.
    pub readiness_timeout_ms: u64,
    /// `drain.max`.
    pub drain_max: Span,
    /// Memory limit of the sidecar, in bytes.
    pub sidecar_memory: u64,
    /// What the container calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<KeptDependency>,
    /// Copies of the sources.
    #[serde(default)]
    pub snapshots: Vec<SnapshotRef>,
    /// Of revision 0: what was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// Why there are no inputs yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoInputs {
    /// A source does not exist.
    Missing(SourceKind, String),
    /// A source is too large to be copied: name and bytes.
    TooLarge(SourceKind, String, u64),
    /// `spec.pod` holds what it must not.
    Invalid(String),
    /// A source was not read yet, or could not be: nothing is concluded.
    Unread(String),
}

/// Every ConfigMap and Secret that the spec names in `config`, `env`, `envFrom` and `auth`: sorted, each once.
pub fn sources(spec: &ShopServiceSpec) -> Vec<SourceRef> {
    let mut found: Vec<SourceRef> = Vec::new();
    let mut add = |kind, name: &str, optional: Option<bool>| {
        let optional = optional.unwrap_or(false);
        match found.iter_mut().find(|known| known.kind == kind && known.name == name) {
            Some(known) => known.optional &= optional,
            None => found.push(SourceRef { kind, name: name.to_owned(), optional, live: false }),
        }
    };
    for source in &spec.config {
        source.config_map.iter().for_each(|name| add(SourceKind::ConfigMap, name, None));
        source.secret.iter().for_each(|name| add(SourceKind::Secret, name, None));
    }
    for source in &spec.env_from {
        source.config_map_ref.iter().for_each(|from| add(SourceKind::ConfigMap, &from.name, from.optional));
        source.secret_ref.iter().for_each(|from| add(SourceKind::Secret, &from.name, from.optional));
    }
    for from in spec.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        from.config_map_key_ref.iter().for_each(|key| add(SourceKind::ConfigMap, &key.name, key.optional));
        from.secret_key_ref.iter().for_each(|key| add(SourceKind::Secret, &key.name, key.optional));
    }
    let tokens = token_secret(spec)
        .filter(|name| !found.iter().any(|known| known.kind == SourceKind::Secret && known.name == *name));
    let live = |name: &str| SourceRef {
        kind: SourceKind::Secret,
        name: name.to_owned(),
        optional: false,
        live: true,
    };
    found.extend(tokens.map(live));
    found.sort();
    found
}

/// The Secret with the keys that tokens are signed with.
pub fn token_secret(spec: &ShopServiceSpec) -> Option<&str> {
    let jwt = spec.auth.as_ref()?.jwt.as_ref()?;
    jwt.secret_ref.as_ref().filter(|_| jwt.jwks.is_none()).map(|secret| secret.name.as_str())
}

/// What is found of a ConfigMap or Secret, by its JSON: hash and size of its data and binary data, and of nothing else.
pub fn content(object: &serde_json::Value) -> SourceState {
    let part = |field: &str| {
        let value = object.get(field).filter(|value| !value.is_null()).cloned();
        value.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()))
    };
    let (data, binary) = (part("data"), part("binaryData"));
    let bytes = [&data, &binary].into_iter().filter_map(serde_json::Value::as_object).flatten();
    let bytes = bytes.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum::<usize>();
    // Maps are sorted by key, so that equal contents give equal bytes.
    let hash = hex(serde_json::Value::Array(vec![data, binary]).to_string().as_bytes());
    SourceState::Found { hash, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
}

/// The first eight bytes of the SHA-256, as 16 hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Inputs {
    /// The inputs that spec and sources amount to now.
    pub fn resolve(spec: &ShopServiceSpec, observed: &Observed) -> Result<Self, NoInputs> {
        if let Some(why) = spec.pod.as_ref().and_then(overlay::refusal) {
            return Err(NoInputs::Invalid(why));
        }
        let mut hashes = Vec::new();
        for wanted in sources(spec) {
            let found =
                observed.sources.iter().find(|one| one.kind == wanted.kind && one.name == wanted.name);
            let hash = match found.map(|one| &one.state) {
                Some(SourceState::Found { bytes, .. }) if *bytes > MAX_SOURCE_BYTES => {
                    return Err(NoInputs::TooLarge(wanted.kind, wanted.name, *bytes));
                }
                Some(SourceState::Found { hash, .. }) => Some(hash.clone()),
                Some(SourceState::Missing) if wanted.optional => None,
                Some(SourceState::Missing) => return Err(NoInputs::Missing(wanted.kind, wanted.name)),
                Some(SourceState::Unreadable(why)) => return Err(NoInputs::Unread(why.clone())),
                None => return Err(NoInputs::Unread(format!("{} has not been read yet", wanted.name))),
            };
            if !wanted.live {
                hashes.push(SourceHash { kind: wanted.kind, name: wanted.name, hash });
            }
        }
        let release = spec.release.as_ref();
        Ok(Self {
            image: spec.image.clone(),
            command: spec.command.clone(),
            args: spec.args.clone(),
            env: spec.env.clone(),
            env_from: spec.env_from.clone(),
            resources: spec.resources.clone(),
            port: spec.port,
            protocol: spec.protocol,
            probes: spec.probes.clone(),
            config: spec.config.clone(),
            drain_max: release.map_or(defaults::DRAIN_MAX, shop_crds::service::release::Release::drain_max),
            sidecar_resources: spec.sidecar.as_ref().and_then(|sidecar| sidecar.resources.clone()),
            depends_on: dependency::called(spec),
            pod: spec.pod.clone(),
            sources: hashes,
        })
    }

    /// The revision's identity: 16 hexadecimal digits.
    #[allow(clippy::missing_panics_doc)]
    pub fn hash(&self) -> String {
        // Structs serialise their fields in order and maps are sorted, so that equal inputs give equal bytes.
        let bytes = serde_json::to_vec(self).expect("inputs have string keys and finite numbers only");
        hex(&bytes)
    }

    /// What is kept with the revision of this number.
    pub fn facts(&self, service: &str, number: i64) -> RevisionFacts {
        let readiness = self.probes.as_ref().and_then(|probes| probes.readiness.as_ref());
        let memory = |resources: &Resources| resources.limits.get("memory").and_then(Amount::units);
        let snapshots = self.sources.iter().filter_map(|source| {
            let hash = source.hash.clone()?;
            let name = names::snapshot(service, number, &source.name);
            Some(SnapshotRef { kind: source.kind, source: source.name.clone(), name, hash })
        });
        RevisionFacts {
            hash: self.hash(),
            image: self.image.clone(),
            port: self.port,
            protocol: self.protocol,
            readiness_path: readiness.map(|probe| probe.path.clone()),
            readiness_timeout_ms: readiness
                .and_then(|probe| probe.timeout)
                .map_or(5_000, |timeout| u64::try_from(timeout.duration().as_millis()).unwrap_or(u64::MAX)),
            drain_max: self.drain_max,
            sidecar_memory: self.sidecar_resources.as_ref().and_then(memory).unwrap_or(SIDECAR_MEMORY),
            depends_on: dependency::kept(&self.depends_on),
            snapshots: snapshots.collect(),
            adopted: None,
        }
    }
}

impl RevisionFacts {
    /// `spec.sidecar.maxConnections`, or what the sidecar's memory carries: 24 MiB for itself, 12 KiB per connection.
    pub fn max_connections(&self, spec: &ShopServiceSpec) -> u32 {
        let set = spec.sidecar.as_ref().and_then(|sidecar| sidecar.max_connections);
        set.and_then(|set| u32::try_from(set).ok()).filter(|set| *set > 0).unwrap_or_else(|| {
            let carried = self.sidecar_memory.saturating_sub(24 * 1024 * 1024) / (12 * 1024);
            u32::try_from(carried.clamp(100, 1_000_000)).unwrap_or(1_000_000)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observed::Source;

    fn spec(extra: &serde_json::Value) -> ShopServiceSpec {
        let mut spec = serde_json::json!({"image": "a:1", "port": 8080});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn hash(spec: &ShopServiceSpec) -> String {
        Inputs::resolve(spec, &Observed::default()).unwrap().hash()
    }

    #[test]
    fn what_reaches_the_pod_makes_a_revision() {
        let plain = hash(&spec(&serde_json::json!({})));
        for change in [
            serde_json::json!({"image": "a:2"}),
            serde_json::json!({"port": 8081}),
            serde_json::json!({"protocol": "grpc"}),
            serde_json::json!({"command": ["x"]}),
            serde_json::json!({"args": ["x"]}),
            serde_json::json!({"env": [{"name": "A", "value": "b"}]}),
            serde_json::json!({"resources": {"limits": {"cpu": "300m"}}}),
            serde_json::json!({"probes": {"readiness": {"path": "/readyz"}}}),
            serde_json::json!({"release": {"drain": {"max": "5m"}}}),
            serde_json::json!({"sidecar": {"resources": {"limits": {"memory": "160Mi"}}}}),
            serde_json::json!({"dependsOn": [{"name": "inventory"}]}),
            serde_json::json!({"pod": {"spec": {"nodeSelector": {"disk": "ssd"}}}}),
        ] {
            assert_ne!(hash(&spec(&change)), plain, "{change}");
        }
    }

    #[test]
    fn what_changes_live_makes_none() {
        let plain = hash(&spec(&serde_json::json!({})));
        for change in [
            serde_json::json!({"replicas": 7}),
            serde_json::json!({"release": {"promote": "manual", "keepOld": "1h", "drain": {"max": "10m"}}}),
            serde_json::json!({"service": {"annotations": {"a": "b"}}}),
            serde_json::json!({"sidecar": {"maxConnections": 5}}),
            serde_json::json!({"auth": {"jwt": {"issuer": "a", "audience": "b", "jwks": "http://user"}}}),
        ] {
            assert_eq!(hash(&spec(&change)), plain, "{change}");
        }
    }

    #[test]
    fn sources_are_found_wherever_they_are_named() {
        let spec = spec(&serde_json::json!({
            "config": [{"secret": "keys", "mountPath": "/k"}, {"configMap": "b", "mountPath": "/b"}],
            "envFrom": [{"configMapRef": {"name": "b", "optional": true}}, {"configMapRef": {"name": "c", "optional": true}}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]
        }));
        let found = sources(&spec);
        let named: Vec<(SourceKind, &str, bool)> =
            found.iter().map(|one| (one.kind, one.name.as_str(), one.optional)).collect();
        let (map, secret) = (SourceKind::ConfigMap, SourceKind::Secret);
        assert_eq!(named, [(map, "b", false), (map, "c", true), (secret, "keys", false)]);
        let state = |state: SourceState| Observed {
            sources: vec![
                Source { kind: map, name: "b".into(), state },
                Source { kind: map, name: "c".into(), state: SourceState::Missing },
                Source {
                    kind: secret,
                    name: "keys".into(),
                    state: SourceState::Found { hash: "k".into(), bytes: 1 },
                },
            ],
            ..Observed::default()
        };
        let found = |hash: &str, bytes| SourceState::Found { hash: hash.into(), bytes };
        let resolved = Inputs::resolve(&spec, &state(found("1", 9))).unwrap();
        assert_ne!(resolved.hash(), Inputs::resolve(&spec, &state(found("2", 9))).unwrap().hash());
        let snapshots: Vec<String> =
            resolved.facts("order", 7).snapshots.into_iter().map(|one| one.name).collect();
        assert_eq!(snapshots, ["order-r7-b", "order-r7-keys"]);
        let refused = |given| Inputs::resolve(&spec, &state(given)).unwrap_err();
        assert_eq!(refused(SourceState::Missing), NoInputs::Missing(map, "b".into()));
        assert_eq!(
            refused(found("1", MAX_SOURCE_BYTES + 1)),
            NoInputs::TooLarge(map, "b".into(), MAX_SOURCE_BYTES + 1)
        );
        assert_eq!(
            refused(SourceState::Unreadable("forbidden".into())),
            NoInputs::Unread("forbidden".into())
        );
    }

    #[test]
    fn the_hash_of_a_source_is_that_of_its_content_alone() {
        use serde_json::json;
        let one = content(&json!({ "data": { "a": "1", "b": "2" }, "immutable": true }));
        assert_eq!(one, content(&json!({ "data": { "b": "2", "a": "1" } })));
        assert_ne!(one, content(&json!({ "data": { "a": "1" }, "binaryData": { "b": "2" } })));
        // Known to every revision that is kept: it must not change.
        assert_eq!(one, SourceState::Found { hash: "8774c78bfd7d355c".into(), bytes: 4 });
    }

    #[test]
    fn connections_follow_the_sidecars_memory() {
        let of = |extra: serde_json::Value| {
            let spec = spec(&extra);
            Inputs::resolve(&spec, &Observed::default()).unwrap().facts("order", 1).max_connections(&spec)
        };
        assert_eq!(of(serde_json::json!({})), 3413);
        assert_eq!(
            of(serde_json::json!({"sidecar": {"resources": {"limits": {"memory": "160Mi"}}}})),
            11_605
        );
        assert_eq!(of(serde_json::json!({"sidecar": {"maxConnections": 10}})), 10);
        assert_eq!(of(serde_json::json!({"sidecar": {"resources": {"limits": {"memory": "1Mi"}}}})), 100);
    }

    proptest! {
        #[test]
        fn equal_inputs_have_equal_hashes_and_others_do_not(
            left in proptest::collection::vec("[a-z]{0,3}", 0..3),
            right in proptest::collection::vec("[a-z]{0,3}", 0..3),
        ) {
            let of = |command: &[String], args: &[String]| hash(&spec(&serde_json::json!({"command": command, "args": args})));
            prop_assert_eq!(of(&left, &right), of(&left.clone(), &right.clone()));
            prop_assert_eq!(of(&left, &right) == of(&right, &left), left == right);
        }

        #[test]
        fn inputs_survive_their_storage(image in "[a-z:/.]{1,20}", port in 1..65535_i32) {
            let inputs = Inputs::resolve(&spec(&serde_json::json!({"image": image, "port": port})), &Observed::default()).unwrap();
            let text = serde_json::to_string(&inputs).unwrap();
            prop_assert_eq!(serde_json::from_str::<Inputs>(&text).unwrap().hash(), inputs.hash());
            let facts = inputs.facts("order", 3);
            let text = serde_json::to_string(&facts).unwrap();
            prop_assert_eq!(serde_json::from_str::<RevisionFacts>(&text).unwrap(), facts);
        }
    }
}
