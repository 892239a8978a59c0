//! From caches and memory to what a plan looks at; while something drains, sidecars are asked about their traffic.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use shop_contract::{Document, env::DOCUMENT_FILE};
use shop_crds::{
    ShopServiceStatus,
    names::{
        ADOPTED, ANNOTATION_COLOUR, ANNOTATION_LEADER_EPOCH, ANNOTATION_RESTART, ANNOTATION_ROLE,
        ANNOTATION_WRITTEN, LABEL_REVISION,
    },
    status::{Colour, Phase},
};
use shop_release::{
    Access, Adopted, Budget, Certificate, Deployment, JobSeen, MaxUnavailable, NetworkPolicy, ObjectRef,
    Observed, Pod, RevisionFacts, Role, Service, ServiceKind, SidecarConfig, SourceKind, StoredRestart,
    StoredRevision, StoredSnapshot, Subject, Traffic,
};

use crate::{
    adoption::AS_FOUND,
    cache::{Entry, Held, Kind},
    drift,
    memory::Memory,
    render::{
        self, ANNOTATION_CERTIFICATE, ANNOTATION_KEY_ID, ANNOTATION_TOKEN_KEYS, Keys, Owner, Rendered, Site,
        Written,
    },
    sidecars::Sidecars,
};

/// What of the cluster is read for one plan, and what it is read with.
pub struct Sight<'a> {
    /// Whose.
    pub owner: &'a Owner,
    /// What is planned for.
    pub subject: &'a Subject,
    /// What the cache knows.
    pub entry: &'a Entry,
    /// The operator's public key.
    pub push_key: &'a str,
    /// What the operator is told of its surroundings.
    pub site: &'a Site,
}

impl Sight<'_> {
    /// Everything but sources and traffic, which take requests.
    pub fn observed(&self, memory: &mut Memory) -> Observed {
        memory.keep_pods(self.entry);
        let mut observed = Observed {
            keys: self.owned(Kind::Secret, &shop_crds::names::sidecar_keys(&self.owner.service)).is_some(),
            account: self
                .owned(Kind::ServiceAccount, &shop_crds::names::service_account(&self.owner.service))
                .is_some(),
            token_keys: self.token_keys(),
            certificate: self.certificate(),
            trust_domain: self.site.trust_domain.clone(),
            network_policy: self.network_policy(memory),
            keys_fingerprint: render::keys_fingerprint(&self.keys()),
            decisions: self.entry.decisions.values().map(|decision| (**decision).clone()).collect(),
            refused: memory.refused(self.subject.generation),
            taken: memory.taken.keys().cloned().collect(),
            checked: memory.checked.clone(),
            ..Observed::default()
        };
        self.objects(&mut observed, memory);
        observed.endpoints = self.endpoints();
        for pod in self.entry.pods.values() {
            observed.pods.push(Pod { sidecar: memory.sidecar(pod), ..(**pod).clone() });
        }
        observed.pods.extend(self.adopted_pods());
        observed
    }

    fn objects(&self, observed: &mut Observed, memory: &mut Memory) {
        let mut restarts = Vec::new();
        for ((kind, name), held) in &self.entry.held {
            if !is_owned(held, &self.owner.uid) {
                continue;
            }
            let revision = held.revision();
            match (kind, revision) {
                (Kind::ControllerRevision, Some(number)) if ordinal(held) > 0 => {
                    restarts.push((number, restart(held)));
                }
                (Kind::ControllerRevision, Some(number)) => observed.revisions.extend(stored(number, held)),
                (Kind::Deployment, Some(number)) => {
                    observed.deployments.push(self.deployment(number, held, memory));
                }
                (Kind::PodDisruptionBudget, Some(number)) => {
                    observed.budgets.push(self.budget(number, name, held, memory));
                }
                (Kind::Job, Some(number)) => observed.jobs.push(job(number, name, held)),
                (Kind::ConfigMap, Some(number)) if crate::cache::is_sidecar_config(&held.labels) => {
                    observed.configs.push(self.config(number, held));
                }
                (Kind::ConfigMap, Some(number)) => {
                    observed.snapshots.extend(copied(SourceKind::ConfigMap, number, name, held));
                }
                (Kind::Secret, Some(number)) => {
                    observed.snapshots.extend(copied(SourceKind::Secret, number, name, held));
                }
                (Kind::Service, _) => {
                    if let Some(which) =
                        ServiceKind::ALL.into_iter().find(|one| one.name(&self.owner.service) == *name)
                    {
                        observed.services.insert(which, self.service(which, name, held, memory));
                    }
                }
                _ => {}
            }
        }
        for (number, restart) in restarts {
            if let Some(one) = observed.revisions.iter_mut().find(|one| one.number == number) {
                one.restarts.push(restart.clone());
            }
        }
    }

    /// An object in the cache that belongs to this ShopService.
    pub fn owned(&self, kind: Kind, name: &str) -> Option<&Arc<Held>> {
        self.entry.held.get(&(kind, name.to_owned())).filter(|held| is_owned(held, &self.owner.uid))
    }

    /// What every document holds beside what is planned; the id of the MAC key is empty while there is none.
    pub fn keys(&self) -> Keys {
        let secret = self.owned(Kind::Secret, &shop_crds::names::sidecar_keys(&self.owner.service));
        let id = secret.and_then(|secret| secret.annotations.get(ANNOTATION_KEY_ID));
        Keys { push: self.push_key.to_owned(), handover: id.cloned().unwrap_or_default() }
    }

    fn token_keys(&self) -> Option<String> {
        let secret = self.owned(Kind::Secret, &shop_crds::names::sidecar_keys(&self.owner.service))?;
        secret.annotations.get(ANNOTATION_TOKEN_KEYS).cloned()
    }

    fn certificate(&self) -> Option<Certificate> {
        let secret = self.owned(Kind::Secret, &shop_crds::names::sidecar_keys(&self.owner.service))?;
        serde_json::from_str(secret.annotations.get(ANNOTATION_CERTIFICATE)?).ok()
    }

    fn network_policy(&self, memory: &mut Memory) -> Option<NetworkPolicy> {
        let name = shop_crds::names::network_policy(&self.owner.service);
        let held = self.owned(Kind::NetworkPolicy, &name)?;
        let written = held.annotations.get(ANNOTATION_WRITTEN).and_then(|text| Written::read(text));
        let access = written.and_then(|written| Access::from_words(written.detail));
        let sent = access.as_ref().map(|access| render::network_policy(self.owner, access, self.site));
        let outdated = sent.as_ref().is_some_and(|sent| !is_meant(sent, held));
        let drifted =
            sent.is_none_or(|sent| !outdated && Self::drifted(Kind::NetworkPolicy, &sent, held, memory));
        Some(NetworkPolicy {
            uid: held.uid.clone(),
            resource_version: held.resource_version.clone(),
            access,
            drifted,
            outdated,
        })
    }

    /// Where one of the Services is reached: its ClusterIP, which needs no DNS, or its name.
    pub fn address(&self, kind: ServiceKind) -> String {
        let name = kind.name(&self.owner.service);
        let ip = self.owned(Kind::Service, &name).and_then(|held| {
            let content = held.content();
            content.pointer("/spec/clusterIP")?.as_str().map(str::to_owned)
        });
        ip.filter(|ip| ip.parse::<IpAddr>().is_ok()).map_or_else(
            || format!("{name}.{}.svc", self.owner.namespace),
            |ip| if ip.contains(':') { format!("[{ip}]") } else { ip },
        )
    }

    /// Facts and template of a revision; of one of its restarts where `restart` is not 0.
    pub fn record(&self, revision: i64, restart: i64) -> Option<(RevisionFacts, serde_json::Value)> {
        let service = &self.owner.service;
        let name = match restart {
            0 => shop_crds::names::revision(service, revision),
            ordinal => shop_crds::names::restart(service, revision, ordinal),
        };
        self.owned(Kind::ControllerRevision, &name).and_then(|held| render::template_of(&held.content()))
    }

    /// The document in a revision's ConfigMap.
    pub fn document(&self, revision: i64) -> Option<Document> {
        let name = shop_crds::names::sidecar_config(&self.owner.service, revision);
        self.owned(Kind::ConfigMap, &name).and_then(|held| document(held))
    }

    fn deployment(&self, number: i64, held: &Held, memory: &mut Memory) -> Deployment {
        let replicas = held.content().pointer("/spec/replicas").and_then(serde_json::Value::as_i64);
        let replicas = replicas.and_then(|replicas| i32::try_from(replicas).ok()).unwrap_or(1);
        let role = held.annotations.get(ANNOTATION_ROLE).and_then(|word| Role::from_word(word));
        let colour = held.annotations.get(ANNOTATION_COLOUR).and_then(|word| {
            [Colour::Blue, Colour::Green].into_iter().find(|colour| colour.as_str() == word)
        });
        let restart = ordinal(held);
        let recreate =
            held.content().pointer("/spec/strategy/type").is_some_and(|kind| *kind == render::RECREATE);
        let template = self.record(number, restart);
        let drifted = match (role, colour, template) {
            (Some(role), Some(colour), Some((_, template))) => {
                let sent =
                    render::deployment(self.owner, number, &template, replicas, role, colour, recreate);
                Self::drifted(Kind::Deployment, &sent, held, memory)
            }
            // What was adopted stays as it is, and without its record nothing can be put back.
            (..) if number == ADOPTED => false,
            (_, _, None) => false,
            _ => true,
        };
        Deployment {
            revision: number,
            uid: held.uid.clone(),
            resource_version: held.resource_version.clone(),
            leader_epoch: epoch(held),
            replicas,
            role,
            colour,
            restart,
            recreate,
            drifted,
            failure: held.failure.clone(),
        }
    }

    fn budget(&self, number: i64, _name: &str, held: &Held, memory: &mut Memory) -> Budget {
        let max_unavailable = match held.content().pointer("/spec/maxUnavailable") {
            Some(value) if *value == 1 => Some(MaxUnavailable::One),
            Some(value) if *value == "10%" => Some(MaxUnavailable::TenPercent),
            _ => None,
        };
        let drifted = max_unavailable.is_none_or(|max_unavailable| {
            let sent = render::budget(self.owner, number, max_unavailable);
            Self::drifted(Kind::PodDisruptionBudget, &sent, held, memory)
        });
        Budget {
            revision: number,
            uid: held.uid.clone(),
            resource_version: held.resource_version.clone(),
            max_unavailable,
            drifted,
        }
    }

    fn service(&self, which: ServiceKind, _name: &str, held: &Held, memory: &mut Memory) -> Service {
        let content = held.content();
        let selector = content.pointer("/spec/selector");
        let label = selector.and_then(|selector| selector.get(LABEL_REVISION));
        let selects = label.and_then(serde_json::Value::as_str).and_then(|number| number.parse().ok());
        let adopted = self.adopted();
        let like = |adopted: &Adopted| selector == Some(&serde_json::json!(adopted.selector));
        let selects = selects.or_else(|| adopted.as_ref().filter(|one| like(one)).map(|_| ADOPTED));
        let written = held.annotations.get(ANNOTATION_WRITTEN).and_then(|text| Written::read(text));
        let meant = written.as_ref().and_then(|written| written.detail.parse::<i64>().ok());
        let (drifted, outdated) = match meant {
            None => (true, false),
            // Until the first release it is what its owner made of it, as long as it leads to the same pods.
            Some(ADOPTED) if written.as_ref().is_some_and(|written| written.hash == AS_FOUND) => {
                (selects != Some(ADOPTED), false)
            }
            Some(meant) => {
                let adopted = adopted.as_ref().filter(|_| meant == ADOPTED);
                let sent = render::service(self.owner, which, meant, &self.subject.spec, adopted);
                if is_meant(&sent, held) {
                    (Self::drifted(Kind::Service, &sent, held, memory), false)
                } else {
                    (selects != Some(meant), true)
                }
            }
        };
        Service {
            uid: held.uid.clone(),
            resource_version: held.resource_version.clone(),
            leader_epoch: epoch(held),
            selects,
            drifted,
            outdated,
        }
    }

    fn config(&self, number: i64, held: &Held) -> SidecarConfig {
        let document = document(held);
        let text = text(held).unwrap_or_default();
        let stored = document
            .as_ref()
            .and_then(|document| render::stored_document(document, |kind| self.address(kind)));
        let written = held.annotations.get(ANNOTATION_WRITTEN).and_then(|written| Written::read(written));
        let drifted = written.is_none_or(|written| written.hash != render::short_hash(text.as_bytes()))
            || document.as_ref().is_some_and(|document| document.identity.revision != number);
        SidecarConfig {
            revision: number,
            uid: held.uid.clone(),
            resource_version: held.resource_version.clone(),
            // A stamp raises the annotation and leaves the document.
            leader_epoch: document.as_ref().map_or(0, |document| document.leader_epoch).max(epoch(held)),
            generation: document.as_ref().map_or(0, |document| document.generation),
            hash: document.as_ref().map(shop_contract::document_hash).unwrap_or_default(),
            keys_fingerprint: stored
                .as_ref()
                .map(|(_, keys)| render::keys_fingerprint(keys))
                .unwrap_or_default(),
            document: stored.map(|(plain, _)| plain),
            drifted,
        }
    }

    // Whether an object says something else than what was meant by the last write, which `sent` is.
    fn drifted(kind: Kind, sent: &Rendered, held: &Held, memory: &mut Memory) -> bool {
        if !is_meant(sent, held) || !metadata_is_ours(sent, held) {
            return true;
        }
        let place = (kind, sent.name.clone());
        let content = held.content();
        let hash = render::short_hash(content.to_string().as_bytes());
        if memory.in_order.get(&place) == Some(&hash) {
            return false;
        }
        let mut wanted = sent.value.clone();
        if let Some(wanted) = wanted.as_object_mut() {
            wanted.retain(|field, _| field == "spec" || field == "data");
        }
        let in_order = drift::contains(&wanted, &content);
        if in_order {
            memory.in_order.insert(place, hash);
        }
        !in_order
    }

    fn endpoints(&self) -> BTreeSet<String> {
        let users = ServiceKind::Users.name(&self.owner.service);
        let slices = self.entry.slices.values().filter(|slice| slice.service == users);
        slices.flat_map(|slice| slice.ready.iter().cloned()).collect()
    }
}

/// Asks the sidecars of revisions that are being given up about their traffic.
pub async fn ask_traffic(
    sidecars: &Sidecars,
    observed: &mut Observed,
    status: &ShopServiceStatus,
    memory: &mut Memory,
) {
    let drains = matches!(status.phase, Some(Phase::Draining | Phase::Aborting));
    let active = status.active.as_ref().map(|active| active.revision);
    let asked: Vec<(usize, IpAddr)> = observed
        .pods
        .iter()
        .enumerate()
        .filter(|(_, pod)| drains && Some(pod.revision) != active)
        .filter_map(|(at, pod)| Some((at, pod.ip?)))
        .collect();
    let addresses: Vec<IpAddr> = asked.iter().map(|(_, ip)| *ip).collect();
    let answers = sidecars.stats(&addresses).await;
    let at = Timestamp::now();
    for ((index, _), answer) in asked.into_iter().zip(answers) {
        let (Ok(told), Some(pod)) = (answer, observed.pods.get_mut(index)) else { continue };
        let traffic = Traffic {
            at,
            connections: told.connections,
            upgraded: told.upgraded,
            in_flight: told.in_flight,
            idle_ms: told.idle_ms,
        };
        memory.learn(pod, |view| view.traffic = Some(traffic.clone()));
        pod.sidecar.traffic = Some(traffic);
    }
}

/// Whether an object belongs to the ShopService: by its owner, or, where somebody's replace dropped that, by our annotation.
pub fn is_owned(held: &Held, uid: &str) -> bool {
    match &held.owner {
        Some(owner) => owner == uid,
        None => held
            .annotations
            .get(ANNOTATION_WRITTEN)
            .and_then(|written| Written::read(written))
            .is_some_and(|written| written.uid == uid),
    }
}

/// The object that a taken name stands for, as a watched kind.
pub fn watched(object: &ObjectRef) -> Kind {
    Kind::from(object.kind)
}

fn is_meant(sent: &Rendered, held: &Held) -> bool {
    let wanted = sent.value.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_WRITTEN));
    wanted.and_then(serde_json::Value::as_str) == held.annotations.get(ANNOTATION_WRITTEN).map(String::as_str)
}

// Labels, annotations and owner, apart from the epoch, which other writes stamp.
fn metadata_is_ours(sent: &Rendered, held: &Held) -> bool {
    let part =
        |field: &str| sent.value.pointer(&format!("/metadata/{field}")).and_then(|value| value.as_object());
    let labels = part("labels").into_iter().flatten();
    let annotations =
        part("annotations").into_iter().flatten().filter(|(name, _)| *name != ANNOTATION_LEADER_EPOCH);
    held.owner.is_some()
        && labels.into_iter().all(|(name, value)| value.as_str() == held.labels.get(name).map(String::as_str))
        && annotations
            .into_iter()
            .all(|(name, value)| value.as_str() == held.annotations.get(name).map(String::as_str))
}

fn epoch(held: &Held) -> i64 {
    held.annotations.get(ANNOTATION_LEADER_EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

fn text(held: &Held) -> Option<String> {
    let content = held.content();
    content.get("data")?.get(DOCUMENT_FILE)?.as_str().map(str::to_owned)
}

fn document(held: &Held) -> Option<Document> {
    serde_json::from_str(&text(held)?).ok()
}

fn stored(number: i64, held: &Held) -> Option<StoredRevision> {
    let (facts, _) = render::template_of(&held.content())?;
    Some(StoredRevision {
        number,
        uid: held.uid.clone(),
        resource_version: held.resource_version.clone(),
        created: held.created,
        facts,
        restarts: Vec::new(),
    })
}

fn job(revision: i64, name: &str, held: &Held) -> JobSeen {
    JobSeen {
        name: name.to_owned(),
        uid: held.uid.clone(),
        resource_version: held.resource_version.clone(),
        revision,
        state: held.job.clone(),
    }
}

// Which restart a ControllerRevision or a Deployment is of; 0: none.
fn ordinal(held: &Held) -> i64 {
    held.annotations.get(ANNOTATION_RESTART).and_then(|ordinal| ordinal.parse().ok()).unwrap_or(0)
}

fn restart(held: &Held) -> StoredRestart {
    StoredRestart {
        ordinal: ordinal(held),
        uid: held.uid.clone(),
        resource_version: held.resource_version.clone(),
    }
}

fn copied(kind: SourceKind, revision: i64, name: &str, held: &Held) -> Option<StoredSnapshot> {
    Some(StoredSnapshot {
        revision,
        snapshot: render::snapshot_ref(kind, name, &held.annotations)?,
        uid: held.uid.clone(),
        resource_version: held.resource_version.clone(),
    })
}
