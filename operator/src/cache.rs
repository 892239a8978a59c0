//! What the operator knows of the cluster: filled by watches, read without asking the API server.
//!
//! It is an index by ShopService, and a plain synchronous structure: watches call [`Cache::apply`], [`Cache::delete`] and
//! [`Cache::replaced`]; each call says which services it touched.

mod entry;
pub(crate) mod kind;
mod policy;
mod tls;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::core::{DynamicObject, ObjectMeta};
use shop_crds::{
    FaultPolicySpec, FaultPolicyStatus, ShopPolicySpec, ShopPolicyStatus,
    names::{ANNOTATION_LEADER_EPOCH, LABEL_SERVICE},
};
use shop_release::{Certificate, Decision, Neighbour, Pod, SourceKind};

use crate::{key::ServiceKey, render::LABEL_COMPONENT};
pub use entry::{Held, Shop, Slice};
pub use kind::Kind;
pub use policy::{Known, KnownFault, KnownPolicy, Policies};
use tls::Faces;
pub use tls::Told;
pub use watch::{OnChange, Watches, start};

/// Everything known of one ShopService. A copy shares its contents.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The ShopService; absent while only objects of it are known.
    pub shop: Option<Arc<Shop>>,
    /// Decisions about it, by name.
    pub decisions: BTreeMap<String, Arc<Decision>>,
    /// Objects that carry its label, by kind and name.
    pub held: BTreeMap<(Kind, String), Arc<Held>>,
    /// Its pods, by name.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// EndpointSlices of its Services, by name.
    pub slices: BTreeMap<String, Arc<Slice>>,
}

impl Entry {
    /// Uid and version of an object in the cache.
    pub fn version(&self, kind: Kind, name: &str) -> Option<(&str, &str)> {
        match kind {
            Kind::ShopService => {
                self.shop.as_ref().map(|shop| (shop.uid.as_str(), shop.resource_version.as_str()))
            }
            Kind::ReleaseDecision => {
                self.decisions.get(name).map(|one| (one.uid.as_str(), one.resource_version.as_str()))
            }
            _ => self
                .held
                .get(&(kind, name.to_owned()))
                .map(|held| (held.uid.as_str(), held.resource_version.as_str())),
        }
    }

    fn is_empty(&self) -> bool {
        self.shop.is_none()
            && self.decisions.is_empty()
            && self.held.is_empty()
            && self.pods.is_empty()
            && self.slices.is_empty()
    }
}

/// An object in a namespace.
type Place = (Kind, String, String);
/// A ConfigMap or Secret in a namespace.
type SourcePlace = (SourceKind, String, String);

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    state: RwLock<State>,
    policies: Policies<ShopPolicySpec, ShopPolicyStatus>,
    faults: Policies<FaultPolicySpec, FaultPolicyStatus>,
}

#[derive(Debug, Default)]
struct State {
    services: HashMap<ServiceKey, Entry>,
    // Where each object is kept, to find it when its label is gone.
    places: HashMap<Place, ServiceKey>,
    // Versions of every ConfigMap and Secret that is not ours.
    sources: HashMap<SourcePlace, String>,
    // Which ShopServices name a source.
    users: HashMap<SourcePlace, BTreeSet<String>>,
    faces: Faces,
}

/// Which services an arriving object touches.
pub type Touched = BTreeSet<ServiceKey>;

impl Cache {
    /// Everything known of a service.
    pub fn entry(&self, key: &ServiceKey) -> Option<Entry> {
        self.read().services.get(key).cloned()
    }

    /// Every service of which a ShopService is known.
    pub fn keys(&self) -> Vec<ServiceKey> {
        let state = self.read();
        state.services.iter().filter(|(_, entry)| entry.shop.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// Version of a ConfigMap or Secret of a user.
    pub fn source(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<String> {
        self.read().sources.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// What a service must know of those that it calls, and that call it.
    pub fn neighbours(&self, key: &ServiceKey) -> Vec<Neighbour> {
        self.read().faces.neighbours(key)
    }

    /// The certificates that services have.
    pub fn certificates(&self) -> Vec<(ServiceKey, Certificate)> {
        self.read().faces.certificates()
    }

    /// `ShopPolicies` of all namespaces.
    pub fn policies(&self) -> &Policies<ShopPolicySpec, ShopPolicyStatus> {
        &self.policies
    }

    /// FaultPolicies of all namespaces.
    pub fn faults(&self) -> &Policies<FaultPolicySpec, FaultPolicyStatus> {
        &self.faults
    }

    /// ShopServices of a namespace, with their labels.
    pub fn shops(&self, namespace: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let state = self.read();
        let own = state.services.iter().filter(|(key, _)| key.namespace == namespace);
        let mut shops: Vec<_> = own
            .filter_map(|(key, entry)| Some((key.name.clone(), entry.shop.as_ref()?.labels.clone())))
            .collect();
        shops.sort();
        shops
    }

    /// The highest leader epoch on anything that is known.
    pub fn highest_epoch(&self) -> i64 {
        let state = self.read();
        let epochs = state.services.values().map(|entry| {
            let status = entry.shop.as_ref().and_then(|shop| shop.content.as_ref().ok());
            let stamped = entry
                .held
                .values()
                .filter_map(|held| held.annotations.get(ANNOTATION_LEADER_EPOCH)?.parse::<i64>().ok());
            stamped.chain(status.map(|(_, status)| status.leader_epoch)).max().unwrap_or(0)
        });
        epochs.max().unwrap_or(0)
    }

    /// How many objects of each kind are kept.
    pub fn counts(&self) -> BTreeMap<Kind, i64> {
        let mut counts: BTreeMap<Kind, i64> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        let count = |all: usize| i64::try_from(all).unwrap_or(i64::MAX);
        counts.insert(Kind::ShopPolicy, count(self.policies.all().len()));
        counts.insert(Kind::FaultPolicy, count(self.faults.all().len()));
        for (kind, _, _) in self.read().places.keys() {
            *counts.entry(*kind).or_default() += 1;
        }
        counts
    }

    /// An object is as it is here.
    pub fn apply(&self, kind: Kind, object: &DynamicObject) -> Touched {
        let mut touched = Touched::new();
        let Some((namespace, name)) = namespaced(&object.metadata) else { return touched };
        let changed = match kind {
            Kind::ShopPolicy => Some(self.policies.put(&namespace, &name, object)),
            Kind::FaultPolicy => Some(self.faults.put(&namespace, &name, object)),
            _ => None,
        };
        if let Some(changed) = changed {
            return if changed { self.services_of(&namespace) } else { touched };
        }
        let mut state = self.write();
        if let Some(source) = source_kind(kind) {
            touched.extend(state.source_is(
                source,
                &namespace,
                &name,
                object.metadata.resource_version.as_deref(),
            ));
        }
        let owner = owner(kind, object).map(|service| ServiceKey::new(namespace.clone(), service));
        let place = (kind, namespace, name);
        if let Some(before) =
            state.places.get(&place).filter(|before| Some(*before) != owner.as_ref()).cloned()
        {
            state.remove(&place, &before);
            touched.insert(before);
        }
        if let Some(key) = owner
            && state.put(kind, &place.2, &key, object)
        {
            state.places.insert(place, key.clone());
            touched.insert(key);
        }
        state.with_neighbours(kind, touched)
    }

    /// An object is gone.
    pub fn delete(&self, kind: Kind, metadata: &ObjectMeta) -> Touched {
        let Some((namespace, name)) = namespaced(metadata) else { return Touched::new() };
        if matches!(kind, Kind::ShopPolicy | Kind::FaultPolicy) {
            return self.forget_policy(kind, &namespace, &name);
        }
        self.write().delete(&(kind, namespace, name))
    }

    /// A watch began anew: what it did not show this time is gone. `seen` has namespace and name of what it showed; `of` says
    /// whether an object belongs to this watch.
    pub fn replaced(
        &self,
        kind: Kind,
        seen: &HashSet<(String, String)>,
        of: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Touched {
        if matches!(kind, Kind::ShopPolicy | Kind::FaultPolicy) {
            let seen = |namespace: &String, name: &String| seen.contains(&(namespace.clone(), name.clone()));
            let gone = if kind == Kind::ShopPolicy {
                self.policies.without(seen)
            } else {
                self.faults.without(seen)
            };
            return gone
                .iter()
                .flat_map(|(namespace, name)| self.forget_policy(kind, namespace, name))
                .collect();
        }
        let mut state = self.write();
        let unseen = |namespace: &String, name: &String| !seen.contains(&(namespace.clone(), name.clone()));
        let mut gone: HashSet<Place> = HashSet::new();
        for (place, key) in &state.places {
            let held = state.services.get(key).and_then(|entry| entry.held.get(&(kind, place.2.clone())));
            let belongs = place.0 == kind && held.is_none_or(|held| of(&held.labels));
            if belongs && unseen(&place.1, &place.2) {
                gone.insert(place.clone());
            }
        }
        if let Some(source) = source_kind(kind).filter(|_| of(&BTreeMap::new())) {
            let sources =
                state.sources.keys().filter(|place| place.0 == source && unseen(&place.1, &place.2));
            gone.extend(sources.map(|place| (kind, place.1.clone(), place.2.clone())));
        }
        gone.iter().flat_map(|place| state.delete(place)).collect()
    }

    fn forget_policy(&self, kind: Kind, namespace: &str, name: &str) -> Touched {
        let was_there = match kind {
            Kind::ShopPolicy => self.policies.remove(namespace, name),
            _ => self.faults.remove(namespace, name),
        };
        if was_there { self.services_of(namespace) } else { Touched::new() }
    }

    fn services_of(&self, namespace: &str) -> Touched {
        self.read().services.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, kind: Kind, name: &str, key: &ServiceKey, object: &DynamicObject) -> bool {
        if kind == Kind::ShopService {
            let shop = Shop::of(object);
            self.uses(key, &shop);
            self.services.entry(key.clone()).or_default().shop = Some(Arc::new(shop));
            return true;
        }
        let entry = self.services.entry(key.clone()).or_default();
        let name = name.to_owned();
        match kind {
            Kind::ReleaseDecision => match entry::decision(object) {
                Some(decision) => drop(entry.decisions.insert(name, Arc::new(decision))),
                None => return false,
            },
            Kind::Pod => match entry::pod(object) {
                Some(pod) => drop(entry.pods.insert(name, Arc::new(pod))),
                None => return false,
            },
            Kind::EndpointSlice => drop(entry.slices.insert(name, Arc::new(Slice::of(object)))),
            _ => drop(entry.held.insert((kind, name), Arc::new(Held::of(object)))),
        }
        true
    }

    fn remove(&mut self, place: &Place, key: &ServiceKey) {
        self.places.remove(place);
        if place.0 == Kind::ShopService {
            self.uses_nothing(key);
        }
        let Some(entry) = self.services.get_mut(key) else { return };
        match place.0 {
            Kind::ShopService => entry.shop = None,
            Kind::ReleaseDecision => drop(entry.decisions.remove(&place.2)),
            Kind::Pod => drop(entry.pods.remove(&place.2)),
            Kind::EndpointSlice => drop(entry.slices.remove(&place.2)),
            kind => drop(entry.held.remove(&(kind, place.2.clone()))),
        }
        if entry.is_empty() {
            self.services.remove(key);
        }
    }

    fn delete(&mut self, place: &Place) -> Touched {
        let mut touched = Touched::new();
        if let Some(key) = self.places.get(place).cloned() {
            self.remove(place, &key);
            touched.insert(key);
        }
        if let Some(source) = source_kind(place.0) {
            touched.extend(self.source_is(source, &place.1, &place.2, None));
        }
        self.with_neighbours(place.0, touched)
    }

    // Those that TLS has to do with what is new of these services, too.
    fn with_neighbours(&mut self, kind: Kind, mut touched: Touched) -> Touched {
        if matches!(kind, Kind::ShopService | Kind::ConfigMap | Kind::Secret | Kind::Pod) {
            for key in touched.clone() {
                touched.extend(self.faces.refresh(&key, self.services.get(&key)));
            }
        }
        touched
    }

    // Notes the version of a source, and says whom a new one touches.
    fn source_is(&mut self, kind: SourceKind, namespace: &str, name: &str, version: Option<&str>) -> Touched {
        let place = (kind, namespace.to_owned(), name.to_owned());
        let before = match version {
            Some(version) => self.sources.insert(place.clone(), version.to_owned()),
            None => self.sources.remove(&place),
        };
        if before.as_deref() == version {
            return Touched::new();
        }
        let users = self.users.get(&place).into_iter().flatten();
        users.map(|service| ServiceKey::new(namespace, service)).collect()
    }

    fn uses(&mut self, key: &ServiceKey, shop: &Shop) {
        self.uses_nothing(key);
        let Ok((spec, _)) = &shop.content else { return };
        for source in shop_release::sources(spec) {
            let place = (source.kind, key.namespace.clone(), source.name);
            self.users.entry(place).or_default().insert(key.name.clone());
        }
    }

    fn uses_nothing(&mut self, key: &ServiceKey) {
        let Some(before) = self.services.get(key).and_then(|entry| entry.shop.clone()) else { return };
        let Ok((spec, _)) = &before.content else { return };
        for source in shop_release::sources(spec) {
            let place = (source.kind, key.namespace.clone(), source.name);
            if let Some(users) = self.users.get_mut(&place) {
                users.remove(&key.name);
                if users.is_empty() {
                    self.users.remove(&place);
                }
            }
        }
    }
}

fn namespaced(metadata: &ObjectMeta) -> Option<(String, String)> {
    Some((metadata.namespace.clone()?, metadata.name.clone()?))
}

fn source_kind(kind: Kind) -> Option<SourceKind> {
    match kind {
        Kind::ConfigMap => Some(SourceKind::ConfigMap),
        Kind::Secret => Some(SourceKind::Secret),
        _ => None,
    }
}

// Name of the ShopService that an object belongs to.
fn owner(kind: Kind, object: &DynamicObject) -> Option<String> {
    match kind {
        Kind::ShopService => object.metadata.name.clone(),
        Kind::ReleaseDecision => object.data.pointer("/spec/service")?.as_str().map(str::to_owned),
        _ => kind::label(&object.metadata, LABEL_SERVICE).map(str::to_owned),
    }
}

/// Whether labels are those of a ConfigMap with a sidecar document, the one kind of ConfigMap whose content is kept.
pub(crate) fn is_sidecar_config(labels: &BTreeMap<String, String>) -> bool {
    labels.get(LABEL_COMPONENT).is_some_and(|component| component == crate::render::COMPONENT_SIDECAR_CONFIG)
}

#[cfg(test)]
mod tests;
