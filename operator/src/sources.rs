//! Contents of users' ConfigMaps and Secrets, as hashes: read when a version is seen for the first time, and never kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Api, Client, core::DynamicObject};
use serde_json::{Value, json};
use shop_crds::ShopServiceSpec;
use shop_release::{Source, SourceKind, SourceState};

use crate::{
    cache::{Cache, Kind},
    render::short_hash,
};

/// Longest list of hashes that is kept; beyond, they are read anew.
const KEPT: usize = 20_000;

type Place = (SourceKind, String, String);

/// Reads sources, each version once.
pub struct Sources {
    client: Client,
    known: Mutex<HashMap<Place, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    // The version that the watch had shown when the content was read.
    version: String,
    state: SourceState,
}

impl Sources {
    /// Reads with this client.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// What is found of every source that the spec names.
    pub async fn find(&self, cache: &Cache, namespace: &str, spec: &ShopServiceSpec) -> Vec<Source> {
        let mut found = Vec::new();
        for source in shop_release::sources(spec) {
            let state = match cache.source(source.kind, namespace, &source.name) {
                None => SourceState::Missing,
                Some(version) => self.state(source.kind, namespace, &source.name, version).await,
            };
            found.push(Source { kind: source.kind, name: source.name, state });
        }
        found
    }

    async fn state(&self, kind: SourceKind, namespace: &str, name: &str, version: String) -> SourceState {
        let place = (kind, namespace.to_owned(), name.to_owned());
        if let Some(known) = self.known().get(&place).filter(|known| known.version == version) {
            return known.state.clone();
        }
        let state = match self.read(kind, namespace, name).await {
            Ok(Some(object)) => measured(&object),
            Ok(None) => SourceState::Missing,
            Err(error) => {
                return SourceState::Unreadable(format!("{} {name}: {error}", Kind::from(kind).as_str()));
            }
        };
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(place, Known { version, state: state.clone() });
        state
    }

    /// The object itself, to be copied.
    pub async fn read(
        &self,
        kind: SourceKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, kube::Error> {
        let resource = Kind::from(kind).resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        Ok(api.get_opt(name).await?.map(|object| object.data))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hash and size of a ConfigMap's or Secret's content.
pub fn measured(object: &Value) -> SourceState {
    let part = |field: &str| object.get(field).filter(|value| !value.is_null()).cloned().unwrap_or(json!({}));
    let (data, binary) = (part("data"), part("binaryData"));
    // Maps are sorted by key, so that equal contents give equal bytes.
    let hash = short_hash(json!([data, binary]).to_string().as_bytes());
    let bytes = [&data, &binary].into_iter().filter_map(Value::as_object).flatten().map(|(key, value)| {
        u64::try_from(key.len() + value.as_str().map_or(0, str::len)).unwrap_or(u64::MAX)
    });
    SourceState::Found { hash, bytes: bytes.sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_content_alone() {
        let one = measured(&json!({ "data": { "a": "1", "b": "2" }, "immutable": true }));
        assert_eq!(one, measured(&json!({ "data": { "b": "2", "a": "1" } })));
        assert_ne!(one, measured(&json!({ "data": { "a": "1" }, "binaryData": { "b": "2" } })));
        let SourceState::Found { bytes, .. } = one else { panic!("not found") };
        assert_eq!(bytes, 4);
    }
}
