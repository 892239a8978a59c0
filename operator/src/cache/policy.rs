//! Policies, by namespace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::core::DynamicObject;
use serde::Deserialize;
use shop_crds::{ShopPolicySpec, ShopPolicyStatus};
use shop_release::Policy;
use tokio::sync::Notify;

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Name and content.
    pub policy: Policy,
    /// `status`.
    pub status: ShopPolicyStatus,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Policies {
    known: Mutex<BTreeMap<(String, String), Arc<Known>>>,
    changed: Notify,
}

impl Policies {
    /// Those of a namespace, by name.
    pub fn of(&self, namespace: &str) -> Vec<Policy> {
        let known = self.lock();
        let own = known.values().filter(|known| known.namespace == namespace);
        own.map(|known| known.policy.clone()).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.lock().values().cloned().collect()
    }

    /// Returns when one has changed since the last call returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether it says something else than before.
    pub(super) fn put(&self, namespace: &str, name: &str, object: &DynamicObject) -> bool {
        let known = Arc::new(read(namespace, name, object));
        let policy = known.policy.clone();
        let before = self.lock().insert((namespace.to_owned(), name.to_owned()), known);
        self.changed.notify_one();
        before.is_none_or(|before| before.policy != policy)
    }

    /// Whether it was there.
    pub(super) fn remove(&self, namespace: &str, name: &str) -> bool {
        self.lock().remove(&(namespace.to_owned(), name.to_owned())).is_some()
    }

    /// Namespaces and names of those for which this does not hold.
    pub(super) fn without(&self, seen: impl Fn(&String, &String) -> bool) -> Vec<(String, String)> {
        let known = self.lock();
        known.keys().filter(|(namespace, name)| !seen(namespace, name)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(namespace: &str, name: &str, object: &DynamicObject) -> Known {
    #[derive(Deserialize)]
    struct Spec {
        spec: ShopPolicySpec,
    }
    let spec = Spec::deserialize(&object.data).map(|content| content.spec).map_err(|error| error.to_string());
    let status = object.data.get("status").and_then(|status| ShopPolicyStatus::deserialize(status).ok());
    Known {
        namespace: namespace.to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        policy: Policy { name: name.to_owned(), spec },
        status: status.unwrap_or_default(),
    }
}
