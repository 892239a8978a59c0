//! Policies, by namespace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde::{Deserialize, de::DeserializeOwned};
use shop_crds::{FaultPolicySpec, FaultPolicyStatus, ShopPolicySpec, ShopPolicyStatus};
use shop_release::{FaultPolicy, Policy};
use tokio::sync::Notify;

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<S, T> {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `spec`; an error where it cannot be read.
    pub spec: Result<S, String>,
    /// `status`.
    pub status: T,
}

/// A `ShopPolicy`.
pub type KnownPolicy = Known<ShopPolicySpec, ShopPolicyStatus>;
/// A `FaultPolicy`.
pub type KnownFault = Known<FaultPolicySpec, FaultPolicyStatus>;

impl KnownPolicy {
    /// As a plan sees it.
    pub fn seen(&self) -> Policy {
        Policy { name: self.name.clone(), spec: self.spec.clone() }
    }
}

impl KnownFault {
    /// As a plan sees it.
    pub fn seen(&self) -> FaultPolicy {
        FaultPolicy { name: self.name.clone(), created: self.created, spec: self.spec.clone() }
    }
}

/// By namespace and name.
type ByName<S, T> = BTreeMap<(String, String), Arc<Known<S, T>>>;

/// All of a kind.
#[derive(Debug)]
pub struct Policies<S, T> {
    known: Mutex<ByName<S, T>>,
    changed: Notify,
}

impl<S, T> Default for Policies<S, T> {
    fn default() -> Self {
        Self { known: Mutex::default(), changed: Notify::new() }
    }
}

impl<S: DeserializeOwned + PartialEq, T: DeserializeOwned + Default> Policies<S, T> {
    /// Those of a namespace, by name.
    pub fn of(&self, namespace: &str) -> Vec<Arc<Known<S, T>>> {
        self.lock().values().filter(|known| known.namespace == namespace).cloned().collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Known<S, T>>> {
        self.lock().values().cloned().collect()
    }

    /// Returns when one has changed since the last call returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether it says something else than before.
    pub(super) fn put(&self, namespace: &str, name: &str, object: &DynamicObject) -> bool {
        let known = Arc::new(read(namespace, name, object));
        let before = self.lock().insert((namespace.to_owned(), name.to_owned()), Arc::clone(&known));
        self.changed.notify_one();
        // One that was made anew has another age.
        before.is_none_or(|before| before.spec != known.spec || before.uid != known.uid)
    }

    /// Whether it was there.
    pub(super) fn remove(&self, namespace: &str, name: &str) -> bool {
        self.changed.notify_one();
        self.lock().remove(&(namespace.to_owned(), name.to_owned())).is_some()
    }

    /// Namespaces and names of those for which this does not hold.
    pub(super) fn without(&self, seen: impl Fn(&String, &String) -> bool) -> Vec<(String, String)> {
        let known = self.lock();
        known.keys().filter(|(namespace, name)| !seen(namespace, name)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, ByName<S, T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<S: DeserializeOwned, T: DeserializeOwned + Default>(
    namespace: &str,
    name: &str,
    object: &DynamicObject,
) -> Known<S, T> {
    #[derive(Deserialize)]
    struct Content<S> {
        spec: S,
    }
    let metadata = &object.metadata;
    let spec =
        Content::deserialize(&object.data).map(|content| content.spec).map_err(|error| error.to_string());
    let status = object.data.get("status").and_then(|status| T::deserialize(status).ok());
    Known {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
        spec,
        status: status.unwrap_or_default(),
    }
}
