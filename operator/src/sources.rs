//! Contents of users' ConfigMaps and Secrets, as hashes: read when a version is seen for the first time, and never kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Api, Client, core::DynamicObject};
use serde_json::Value;
use shop_crds::ShopServiceSpec;
use shop_release::{Source, SourceKind, SourceState};

pub use shop_release::inputs::content as measured;

use crate::cache::{Cache, Kind};

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
