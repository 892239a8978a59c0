//! Who speaks TLS with whom: of each service what others must know of it, so that a change here plans them anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;
use shop_crds::{
    names,
    service::auth::{Auth, MtlsMode},
};
use shop_release::{Calls, Certificate, Neighbour};

use super::{Entry, Kind, Touched, is_sidecar_config};
use crate::{key::ServiceKey, render::ANNOTATION_CERTIFICATE};

/// What a sidecar document says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether it is taken.
    takes: bool,
    /// ShopServices that are called, and whether by TLS.
    calls: Vec<(String, bool)>,
}

impl Told {
    /// From the text of a document.
    pub(super) fn read(text: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Document {
            #[serde(default)]
            auth: Value,
            #[serde(default)]
            depends_on: Vec<Dependency>,
        }
        #[derive(Deserialize)]
        struct Dependency {
            name: String,
            #[serde(default)]
            host: Option<String>,
            #[serde(default)]
            tls: Value,
        }
        let Ok(document) = serde_json::from_str::<Document>(text) else { return Self::default() };
        let mode = document.auth.pointer("/mtls/mode").and_then(Value::as_str);
        let calls = document.depends_on.into_iter().filter(|one| one.host.is_none());
        Self {
            takes: mode.is_some_and(|mode| mode != "off"),
            calls: calls.map(|one| (one.name, one.tls.get("sidecar").is_some())).collect(),
        }
    }
}

/// What others must know of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Face {
    wants: bool,
    takes: bool,
    certificate: Option<Certificate>,
    // Nothing is known of how, as long as no pods run.
    calls: BTreeMap<String, Option<Calls>>,
}

impl Face {
    fn of(name: &str, entry: &Entry) -> Self {
        let spec = entry.shop.as_ref().and_then(|shop| shop.content.as_ref().ok()).map(|(spec, _)| spec);
        let mut face = Self {
            wants: spec
                .and_then(|spec| spec.auth.as_ref())
                .is_some_and(|auth| Auth::mtls(auth) != MtlsMode::Off),
            takes: false,
            certificate: certificate(name, entry),
            calls: BTreeMap::new(),
        };
        for one in spec.iter().flat_map(|spec| &spec.depends_on).filter(|one| one.host.is_none()) {
            face.calls.insert(one.name.clone(), None);
        }
        let runs = |number: i64| entry.pods.values().any(|pod| pod.revision == number && !pod.terminating);
        let configs = entry.held.iter().filter(|((kind, _), held)| {
            *kind == Kind::ConfigMap && is_sidecar_config(&held.labels) && held.revision().is_some_and(runs)
        });
        let told: Vec<&Told> = configs.map(|(_, held)| &held.told).collect();
        face.takes = !told.is_empty() && told.iter().all(|one| one.takes);
        for (called, by_tls) in told.iter().flat_map(|one| &one.calls) {
            let now = if *by_tls { Calls::Tls } else { Calls::Plain };
            let known = face.calls.entry(called.clone()).or_default();
            *known = Some(known.filter(|known| *known != now).map_or(now, |_| Calls::Mixed));
        }
        face
    }

    fn since(&self) -> Option<jiff::Timestamp> {
        self.certificate.as_ref().filter(|_| self.wants && self.takes).map(|found| found.since)
    }
}

/// The certificate that the annotation of a service's keys tells of.
pub(super) fn certificate(name: &str, entry: &Entry) -> Option<Certificate> {
    let held = entry.held.get(&(Kind::Secret, names::sidecar_keys(name)))?;
    serde_json::from_str(held.annotations.get(ANNOTATION_CERTIFICATE)?).ok()
}

/// The faces of all services, and who calls whom.
#[derive(Debug, Default)]
pub(super) struct Faces {
    faces: HashMap<ServiceKey, Face>,
    callers: HashMap<ServiceKey, BTreeSet<String>>,
}

impl Faces {
    /// Takes a service in as it is now; says who else is touched by what is new.
    pub(super) fn refresh(&mut self, key: &ServiceKey, entry: Option<&Entry>) -> Touched {
        let new = entry.map(|entry| Face::of(&key.name, entry)).unwrap_or_default();
        let old = self.faces.get(key).cloned().unwrap_or_default();
        let mut touched = Touched::new();
        if new == old {
            return touched;
        }
        let beside = |name: &String| ServiceKey::new(key.namespace.clone(), name.clone());
        if (old.wants, old.since()) != (new.wants, new.since()) {
            touched.extend(self.callers.get(key).into_iter().flatten().map(beside));
        }
        for name in old.calls.keys().chain(new.calls.keys()) {
            let called = beside(name);
            let secure = self.faces.get(&called).is_some_and(|face| face.wants || face.certificate.is_some());
            if secure && old.calls.get(name) != new.calls.get(name) {
                touched.insert(called.clone());
            }
            let callers = self.callers.entry(called.clone()).or_default();
            if new.calls.contains_key(name) {
                callers.insert(key.name.clone());
            } else {
                callers.remove(&key.name);
            }
            if callers.is_empty() {
                self.callers.remove(&called);
            }
        }
        touched.remove(key);
        if new == Face::default() {
            self.faces.remove(key);
        } else {
            self.faces.insert(key.clone(), new);
        }
        touched
    }

    /// What a service must know of those that it calls, and that call it.
    pub(super) fn neighbours(&self, key: &ServiceKey) -> Vec<Neighbour> {
        let called = self.faces.get(key).into_iter().flat_map(|face| face.calls.keys());
        let callers = self.callers.get(key).into_iter().flatten();
        let names: BTreeSet<&String> = called.chain(callers).filter(|name| **name != key.name).collect();
        let face = |name: &String| {
            let face = self.faces.get(&ServiceKey::new(key.namespace.clone(), name.clone()))?;
            let calls = face.calls.get(&key.name).copied().flatten();
            let known =
                Neighbour { name: name.clone(), wants_tls: face.wants, takes_tls: face.since(), calls };
            (known.wants_tls || known.calls.is_some()).then_some(known)
        };
        names.into_iter().filter_map(face).collect()
    }

    /// The certificates that services have.
    pub(super) fn certificates(&self) -> Vec<(ServiceKey, Certificate)> {
        let own = |(key, face): (&ServiceKey, &Face)| Some((key.clone(), face.certificate.clone()?));
        self.faces.iter().filter_map(own).collect()
    }
}
