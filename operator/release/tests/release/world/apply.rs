//! The API server: writes with their preconditions.

use jiff::Timestamp;
use shop_crds::{names::ADOPTED, status::Colour};
use shop_release::{
    Acknowledged, Budget, Certificate, CheckedTemplate, Deployment, EndpointsAcknowledged, JobSeen, JobState,
    NetworkPolicy, ObjectKind, Precondition, PushFailed, RevisionFacts, Role, Service, ServiceKind,
    SidecarConfig, SourceState, StoredRestart, StoredRevision, StoredSnapshot, Write,
};

use super::World;

fn meets(precondition: Option<&Precondition>, found: Option<(&str, &str)>) -> Result<(), String> {
    match (precondition, found) {
        (None, None) => Ok(()),
        (Some(wanted), Some((uid, version))) if wanted.uid == uid && wanted.resource_version == version => {
            Ok(())
        }
        (wanted, found) => Err(format!("conflict: wanted {wanted:?}, found {found:?}")),
    }
}

fn ids<'a>(uid: &'a str, version: &'a str) -> (&'a str, &'a str) {
    (uid, version)
}

impl World {
    /// One arm per kind of write.
    #[allow(clippy::too_many_lines)]
    pub(crate) fn write(&mut self, write: &Write) -> Result<(), String> {
        let version = self.bump();
        let uid = self.uid();
        let epoch = self.subject.leader_epoch;
        match write {
            Write::CreateRevision { revision, inputs, facts } => {
                meets(
                    None,
                    self.observed
                        .revisions
                        .iter()
                        .find(|one| one.number == *revision)
                        .map(|one| ids(&one.uid, &one.resource_version)),
                )?;
                assert!(
                    inputs.hash() == facts.hash || *revision == ADOPTED,
                    "a revision is stored under its own inputs"
                );
                let facts: RevisionFacts = (**facts).clone();
                let created = self.now;
                self.observed.revisions.push(StoredRevision {
                    number: *revision,
                    uid,
                    resource_version: version,
                    created,
                    facts,
                    restarts: Vec::new(),
                });
            }
            Write::CheckTemplate { inputs, .. } => {
                let (hash, refused) = (inputs.hash(), self.against.clone());
                self.observed.checked = Some(CheckedTemplate { hash, at: self.now, refused });
            }
            Write::CreateRestart { revision, ordinal } => {
                let stored = self.observed.revisions.iter_mut().find(|one| one.number == *revision);
                let stored = stored.ok_or("nothing is stored of the revision")?;
                let found = stored.restarts.iter().find(|one| one.ordinal == *ordinal);
                meets(None, found.map(|one| ids(&one.uid, &one.resource_version)))?;
                let ordinal = *ordinal;
                stored.restarts.push(StoredRestart { ordinal, uid, resource_version: version });
            }
            Write::CreateSnapshot { revision, snapshot } => {
                let source = self
                    .observed
                    .sources
                    .iter()
                    .find(|one| one.name == snapshot.source && one.kind == snapshot.kind);
                match source.map(|source| &source.state) {
                    Some(SourceState::Found { hash, .. }) if *hash == snapshot.hash => {}
                    other => return Err(format!("the source of {snapshot:?} is {other:?} now")),
                }
                let snapshot = snapshot.clone();
                self.observed.snapshots.push(StoredSnapshot {
                    revision: *revision,
                    snapshot,
                    uid,
                    resource_version: version,
                });
            }
            Write::CreateAccount => self.observed.account = true,
            Write::CreateKeys { certificate } => {
                self.observed.keys = true;
                self.certify(*certificate, Timestamp::MIN);
            }
            Write::IssueCertificate => {
                let since = self.observed.certificate.as_ref().map_or(self.now, |found| found.since);
                self.certify(true, since);
            }
            Write::CopyRoots { roots } => {
                let found = self.observed.certificate.as_mut().ok_or("no certificate")?;
                found.roots.clone_from(roots);
            }
            Write::RemoveCertificate => self.observed.certificate = None,
            Write::WriteNetworkPolicy { access, replaces } => {
                let found = self.observed.network_policy.as_ref();
                meets(replaces.as_ref(), found.map(|one| ids(&one.uid, &one.resource_version)))?;
                let access = Some(access.clone());
                self.observed.network_policy = Some(NetworkPolicy {
                    uid,
                    resource_version: version,
                    access,
                    drifted: false,
                    outdated: false,
                });
            }
            Write::CopyTokenKeys { hash } => self.observed.token_keys = Some(hash.clone()),
            Write::WriteConfig { document, generation, replaces } => {
                let at = self.observed.configs.iter().position(|one| one.revision == document.revision);
                let found = at.map(|at| &self.observed.configs[at]);
                meets(replaces.as_ref(), found.map(|one| ids(&one.uid, &one.resource_version)))?;
                assert!(found.is_none_or(|one| one.generation < *generation), "generations rise");
                let written = SidecarConfig {
                    revision: document.revision,
                    uid: found.map_or(uid, |one| one.uid.clone()),
                    resource_version: version,
                    leader_epoch: epoch,
                    generation: *generation,
                    hash: format!("{generation}/{document:?}"),
                    document: Some((**document).clone()),
                    keys_fingerprint: self.observed.keys_fingerprint.clone(),
                    drifted: false,
                };
                match at {
                    Some(at) => self.observed.configs[at] = written,
                    None => self.observed.configs.push(written),
                }
            }
            Write::PushDocument { revision, generation, pods } => {
                let config = self.observed.configs.iter().find(|one| one.revision == *revision).cloned();
                for target in pods {
                    self.push(&target.uid, |pod| {
                        let Some(config) = config.as_ref().filter(|config| config.generation == *generation)
                        else {
                            return;
                        };
                        let role_epoch = config.document.as_ref().map_or(0, |document| document.role_epoch);
                        let (generation, hash) = (config.generation, config.hash.clone());
                        pod.sidecar.acknowledged = Some(Acknowledged { generation, hash, role_epoch });
                    });
                }
            }
            Write::Ask(question) => {
                let known = self.observed.answers.iter().any(|answer| answer.id == question.id)
                    || self.asked.iter().any(|asked| asked.id == question.id);
                if !known {
                    self.asked.push(question.clone());
                }
            }
            Write::CreateJob { name, revision, .. } => {
                let found = self.observed.jobs.iter().find(|one| one.name == *name);
                meets(None, found.map(|one| ids(&one.uid, &one.resource_version)))?;
                self.observed.jobs.push(JobSeen {
                    name: name.clone(),
                    uid,
                    resource_version: version,
                    revision: *revision,
                    state: JobState::Running,
                });
            }
            Write::PushEndpoints { to_revision, addresses, pods, .. } => {
                for target in pods {
                    self.push(&target.uid, |pod| {
                        let addresses = addresses.iter().copied().collect();
                        let told = EndpointsAcknowledged { to_revision: *to_revision, addresses };
                        pod.sidecar.told(pod.revision, told);
                    });
                }
            }
            Write::WriteDeployment { revision, restart, recreate, replicas, role, colour, replaces } => {
                let at = self.observed.deployments.iter().position(|one| one.revision == *revision);
                let found = at.map(|at| &self.observed.deployments[at]);
                meets(replaces.as_ref(), found.map(|one| ids(&one.uid, &one.resource_version)))?;
                let written = Deployment {
                    revision: *revision,
                    uid: found.map_or(uid, |one| one.uid.clone()),
                    resource_version: version,
                    leader_epoch: epoch,
                    replicas: *replicas,
                    role: Some(*role),
                    colour: Some(*colour),
                    restart: *restart,
                    recreate: *recreate,
                    drifted: false,
                    failure: None,
                };
                let lowers = found.is_some_and(|found| *replicas < found.replicas);
                match at {
                    Some(at) => self.observed.deployments[at] = written,
                    None => self.observed.deployments.push(written),
                }
                if lowers {
                    self.doom(*revision, *replicas);
                }
            }
            Write::WriteService { service, selects, replaces } => {
                let found = self.observed.services.get(service);
                meets(replaces.as_ref(), found.map(|one| ids(&one.uid, &one.resource_version)))?;
                let uid = found.map_or(uid, |one| one.uid.clone());
                let selects = Some(*selects);
                let written = Service {
                    uid,
                    resource_version: version,
                    leader_epoch: epoch,
                    selects,
                    drifted: false,
                    outdated: false,
                };
                self.observed.services.insert(*service, written);
            }
            Write::WriteBudget { revision, max_unavailable, replaces } => {
                let found = self.observed.budgets.iter().find(|one| one.revision == *revision);
                meets(replaces.as_ref(), found.map(|one| ids(&one.uid, &one.resource_version)))?;
                self.observed.budgets.retain(|one| one.revision != *revision);
                let max_unavailable = Some(*max_unavailable);
                let revision = *revision;
                self.observed.budgets.push(Budget {
                    revision,
                    uid,
                    resource_version: version,
                    max_unavailable,
                    drifted: false,
                });
            }
            Write::Stamp { object, precondition } => {
                self.stamp(object.kind, &object.name, precondition, &version)?;
            }
            Write::Adopt { object, precondition } => self.adopt(object.kind, precondition, &version)?,
            Write::Eject { object, precondition } => {
                self.eject(object.kind, &object.name, precondition.as_ref())?;
            }
            Write::Delete { object, precondition } => self.delete(object.kind, &object.name, precondition)?,
            Write::WriteDecision { name, precondition, status } => {
                let decision = self
                    .observed
                    .decisions
                    .iter_mut()
                    .find(|one| one.name == *name)
                    .ok_or("no such decision")?;
                meets(Some(precondition), Some(ids(&decision.uid, &decision.resource_version)))?;
                decision.status = Some((**status).clone());
                decision.resource_version = version;
            }
        }
        Ok(())
    }

    /// A certificate of now, by the authority of now.
    fn certify(&mut self, wanted: bool, since: Timestamp) {
        if !wanted {
            return;
        }
        let roots = self.observed.authority.as_ref().map(|one| one.roots.clone()).unwrap_or_default();
        let id = shop_crds::names::spiffe_id(&self.observed.trust_domain, "shop", "order");
        self.observed.certificate = Some(Certificate { id, since, issued: self.now, roots });
    }

    /// A stranger becomes one of ours; its pods have run all the time.
    fn adopt(&mut self, kind: ObjectKind, wanted: &Precondition, version: &str) -> Result<(), String> {
        let found = self.observed.strangers.clone().ok_or("there is nothing to adopt")?;
        let (resource_version, leader_epoch) = (version.to_owned(), self.subject.leader_epoch);
        if kind == ObjectKind::Service {
            let service = found.service.ok_or("no such Service")?;
            meets(Some(wanted), Some(ids(&service.uid, &service.resource_version)))?;
            let (uid, selects) = (service.uid, Some(ADOPTED));
            let ours =
                Service { uid, resource_version, leader_epoch, selects, drifted: false, outdated: false };
            self.observed.services.insert(ServiceKind::Users, ours);
            return Ok(());
        }
        let deployment = found.deployment.ok_or("no such Deployment")?;
        meets(Some(wanted), Some(ids(&deployment.uid, &deployment.resource_version)))?;
        self.observed.deployments.push(Deployment {
            revision: ADOPTED,
            uid: deployment.uid,
            resource_version,
            leader_epoch,
            replicas: deployment.replicas,
            role: Some(Role::Active),
            colour: Some(Colour::Blue),
            restart: 0,
            recreate: false,
            drifted: false,
            failure: None,
        });
        for _ in 0..deployment.replicas {
            self.start_pod(ADOPTED, 0);
            let pod = self.observed.pods.last_mut().ok_or("a pod was started")?;
            pod.ready = true;
            self.born.insert(pod.uid.clone(), self.now - jiff::SignedDuration::from_secs(60));
        }
        Ok(())
    }

    /// An object is nobody's any more: it is there, and not seen.
    fn eject(&mut self, kind: ObjectKind, name: &str, wanted: Option<&Precondition>) -> Result<(), String> {
        self.ejected.push(name.to_owned());
        match (kind, wanted) {
            (ObjectKind::ServiceAccount, None) => self.observed.account = false,
            (ObjectKind::Secret, None) => self.observed.keys = false,
            (ObjectKind::Service, Some(wanted)) => {
                let found = self.observed.services.iter().find(|(kind, _)| kind.name("order") == name);
                let (kind, one) = found.ok_or("no such Service")?;
                meets(Some(wanted), Some(ids(&one.uid, &one.resource_version)))?;
                let kind = *kind;
                self.observed.services.remove(&kind);
            }
            (_, Some(wanted)) => self.delete(kind, name, wanted)?,
            (_, None) => return Err("an object without its version".into()),
        }
        Ok(())
    }

    fn push(&mut self, uid: &str, accept: impl FnOnce(&mut shop_release::Pod)) {
        let now = self.now + self.skew;
        let epoch = self.subject.leader_epoch;
        let accepted = self.accepted.get(uid).copied().unwrap_or(0);
        let mute = self.mute.contains(uid) || accepted > epoch;
        let Some(pod) = self.observed.pods.iter_mut().find(|pod| pod.uid == uid) else { return };
        if mute || !pod.ready {
            let since = pod.sidecar.failed.as_ref().map_or(now, |failed| failed.since);
            pod.sidecar.failed = Some(PushFailed { since, at: now, message: "connection refused".into() });
        } else {
            pod.sidecar.failed = None;
            accept(pod);
            self.accepted.insert(uid.to_owned(), epoch);
        }
    }

    fn stamp(
        &mut self,
        kind: ObjectKind,
        name: &str,
        wanted: &Precondition,
        version: &str,
    ) -> Result<(), String> {
        let epoch = self.subject.leader_epoch;
        macro_rules! stamp {
            ($found:expr) => {{
                let found = $found.ok_or("no such object")?;
                meets(Some(wanted), Some(ids(&found.uid, &found.resource_version)))?;
                found.leader_epoch = epoch;
                found.resource_version = version.to_owned();
            }};
        }
        match kind {
            ObjectKind::Service => {
                stamp!(
                    self.observed
                        .services
                        .iter_mut()
                        .find(|(kind, _)| kind.name("order") == name)
                        .map(|(_, one)| one)
                );
            }
            ObjectKind::Deployment => {
                stamp!(
                    self.observed
                        .deployments
                        .iter_mut()
                        .find(|one| format!("order-r{}", one.revision) == name)
                );
            }
            ObjectKind::ConfigMap => {
                stamp!(
                    self.observed
                        .configs
                        .iter_mut()
                        .find(|one| format!("order-r{}-sidecar", one.revision) == name)
                );
            }
            other => return Err(format!("{other:?} is not stamped")),
        }
        Ok(())
    }

    fn delete(&mut self, kind: ObjectKind, name: &str, wanted: &Precondition) -> Result<(), String> {
        macro_rules! delete {
            ($list:expr, $name:expr) => {{
                let at = $list.iter().position($name).ok_or("no such object")?;
                meets(Some(wanted), Some(ids(&$list[at].uid, &$list[at].resource_version)))?;
                let _ = $list.remove(at);
            }};
        }
        let observed = &mut self.observed;
        match kind {
            ObjectKind::Deployment => {
                delete!(observed.deployments, |one| format!("order-r{}", one.revision) == name);
            }
            ObjectKind::ControllerRevision if name.contains("-s") => {
                for stored in &mut observed.revisions {
                    let own = format!("order-r{}-s", stored.number);
                    let Some(ordinal) = name.strip_prefix(&own).and_then(|rest| rest.parse::<i64>().ok())
                    else {
                        continue;
                    };
                    delete!(stored.restarts, |one| one.ordinal == ordinal);
                    return Ok(());
                }
                return Err("no such object".into());
            }
            ObjectKind::ControllerRevision => {
                delete!(observed.revisions, |one| format!("order-r{}", one.number) == name);
            }
            ObjectKind::PodDisruptionBudget => {
                delete!(observed.budgets, |one| format!("order-r{}", one.revision) == name);
            }
            ObjectKind::ConfigMap if name.ends_with("-sidecar") => {
                delete!(observed.configs, |one| format!("order-r{}-sidecar", one.revision) == name);
            }
            ObjectKind::ConfigMap | ObjectKind::Secret => {
                delete!(observed.snapshots, |one| one.snapshot.name == name);
            }
            ObjectKind::Job => delete!(observed.jobs, |one| one.name == name),
            ObjectKind::NetworkPolicy => {
                let found = observed.network_policy.take().ok_or("no such object")?;
                meets(Some(wanted), Some(ids(&found.uid, &found.resource_version)))?;
            }
            ObjectKind::ReleaseDecision => delete!(observed.decisions, |one| one.name == name),
            other => return Err(format!("{other:?} is not deleted")),
        }
        Ok(())
    }
}
