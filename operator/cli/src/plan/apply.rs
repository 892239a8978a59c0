//! Writes, carried out in memory and told in words.

use std::fmt::Display;

use shop_release::{
    Acknowledged, Answer, AnswerValue, Budget, Certificate, CheckedTemplate, Deployment,
    EndpointsAcknowledged, JobSeen, JobState, NetworkPolicy, ObjectKind, Service, SidecarConfig,
    StoredRevision, StoredSnapshot, Write,
};

use super::{Kind, rehearsal::Rehearsal};

impl Rehearsal {
    /// Carries a write out; what it is.
    #[allow(clippy::too_many_lines, reason = "one arm per kind of write")]
    #[allow(
        clippy::match_wildcard_for_single_variants,
        reason = "what is added to the planner has no effect here at first"
    )]
    pub(super) fn write(&mut self, write: &Write) -> (Kind, String) {
        let service = self.subject.name.clone();
        let object = write.object(&service);
        let name =
            object.as_ref().map_or_else(String::new, |one| format!("{} {}", one.kind.as_str(), one.name));
        let (uid, resource_version, leader_epoch) = (self.uid(), self.bump(), self.subject.leader_epoch);
        match write {
            Write::CheckTemplate { inputs, .. } => {
                self.observed.checked =
                    Some(CheckedTemplate { hash: inputs.hash(), at: self.now, refused: None });
                (Kind::Ask, "ask the API server whether it takes the pod template (dry run)".to_owned())
            }
            Write::CreateRevision { revision, facts, .. } => {
                let (created, facts) = (self.now, (**facts).clone());
                let stored = StoredRevision {
                    number: *revision,
                    uid,
                    resource_version,
                    created,
                    facts,
                    restarts: Vec::new(),
                };
                self.observed.revisions.push(stored);
                (Kind::Write, format!("create {name}"))
            }
            Write::CreateSnapshot { revision, snapshot } => {
                let copy =
                    StoredSnapshot { revision: *revision, snapshot: snapshot.clone(), uid, resource_version };
                self.observed.snapshots.push(copy);
                (Kind::Write, format!("create {name}, a copy of {}", snapshot.source))
            }
            Write::CreateAccount => {
                self.observed.account = true;
                (Kind::Write, format!("create {name}"))
            }
            Write::CreateKeys { certificate } => {
                self.observed.keys = true;
                if *certificate {
                    self.certify();
                }
                (Kind::Write, format!("create {name}"))
            }
            Write::IssueCertificate => {
                self.certify();
                (Kind::Write, format!("update {name}: a certificate"))
            }
            Write::RemoveCertificate => {
                self.observed.certificate = None;
                (Kind::Write, format!("update {name}: without its certificate"))
            }
            Write::WriteNetworkPolicy { access, replaces } => {
                self.observed.network_policy = Some(NetworkPolicy {
                    uid,
                    resource_version,
                    access: Some(access.clone()),
                    drifted: false,
                    outdated: false,
                });
                (Kind::Write, format!("{} {name}", verb(replaces.is_some())))
            }
            Write::CopyTokenKeys { hash } => {
                self.observed.token_keys = Some(hash.clone());
                (Kind::Write, format!("update {name}"))
            }
            Write::WriteConfig { document, generation, replaces } => {
                self.observed.configs.retain(|one| one.revision != document.revision);
                self.observed.configs.push(SidecarConfig {
                    revision: document.revision,
                    uid,
                    resource_version,
                    leader_epoch,
                    generation: *generation,
                    hash: format!("{}/{generation}", document.revision),
                    document: Some((**document).clone()),
                    keys_fingerprint: self.observed.keys_fingerprint.clone(),
                    drifted: false,
                });
                let hands = document.hand_off.as_ref().map_or_else(String::new, |hand_off| {
                    let share = shop_crds::Percent::parts(hand_off.share);
                    format!(", hands {share} over to r{}", hand_off.to_revision)
                });
                (
                    Kind::Write,
                    format!("{} {name}: {}{hands}", verb(replaces.is_some()), document.role.as_str()),
                )
            }
            Write::PushDocument { revision, generation, pods } => {
                let config = self.observed.configs.iter().find(|one| one.revision == *revision);
                let acknowledged = config.map(|config| Acknowledged {
                    generation: *generation,
                    hash: config.hash.clone(),
                    role_epoch: config.document.as_ref().map_or(0, |document| document.role_epoch),
                });
                for pod in
                    self.observed.pods.iter_mut().filter(|pod| pods.iter().any(|one| one.uid == pod.uid))
                {
                    pod.sidecar.acknowledged.clone_from(&acknowledged);
                }
                (Kind::Push, format!("tell {} of r{revision}", many(pods.len(), "sidecar")))
            }
            Write::PushEndpoints { revision, to_revision, addresses, pods } => {
                let told = EndpointsAcknowledged {
                    to_revision: *to_revision,
                    addresses: addresses.iter().copied().collect(),
                };
                for pod in
                    self.observed.pods.iter_mut().filter(|pod| pods.iter().any(|one| one.uid == pod.uid))
                {
                    pod.sidecar.told(pod.revision, told.clone());
                }
                let text =
                    format!("tell {} of r{revision} where r{to_revision} is", many(pods.len(), "sidecar"));
                (Kind::Push, text)
            }
            Write::WriteDeployment { revision, restart, recreate, replicas, role, colour, replaces } => {
                self.observed.deployments.retain(|one| one.revision != *revision);
                self.observed.deployments.push(Deployment {
                    revision: *revision,
                    uid,
                    resource_version,
                    leader_epoch,
                    replicas: *replicas,
                    role: Some(*role),
                    colour: Some(*colour),
                    restart: *restart,
                    recreate: *recreate,
                    drifted: false,
                    failure: None,
                });
                let text = format!(
                    "{} {name}: {}, {}",
                    verb(replaces.is_some()),
                    many(*replicas, "pod"),
                    role.as_str()
                );
                (Kind::Write, text)
            }
            Write::WriteService { service: kind, selects, replaces } => {
                let written = Service {
                    uid,
                    resource_version,
                    leader_epoch,
                    selects: Some(*selects),
                    drifted: false,
                    outdated: false,
                };
                self.observed.services.insert(*kind, written);
                (Kind::Write, format!("{} {name}: selects r{selects}", verb(replaces.is_some())))
            }
            Write::WriteBudget { revision, max_unavailable, replaces } => {
                self.observed.budgets.retain(|one| one.revision != *revision);
                let max_unavailable = Some(*max_unavailable);
                let (revision, drifted) = (*revision, false);
                self.observed.budgets.push(Budget {
                    revision,
                    uid,
                    resource_version,
                    max_unavailable,
                    drifted,
                });
                (Kind::Write, format!("{} {name}", verb(replaces.is_some())))
            }
            Write::Delete { object, .. } => {
                self.delete(object.kind, &object.name);
                (Kind::Write, format!("delete {name}"))
            }
            Write::WriteDecision { name: decision, status, .. } => {
                if let Some(found) = self.observed.decisions.iter_mut().find(|one| one.name == *decision) {
                    found.status = Some((**status).clone());
                    found.resource_version = resource_version;
                }
                (Kind::Write, "answer the ReleaseDecision".to_owned())
            }
            Write::Ask(question) => {
                let outcome = Ok(AnswerValue { status: 200, ..AnswerValue::default() });
                self.observed.answers.push(Answer { id: question.id.clone(), at: self.now, outcome });
                (Kind::Ask, "ask outside, and take it for a yes".to_owned())
            }
            Write::CreateJob { name: job, revision, .. } => {
                let (revision, state) = (*revision, JobState::Succeeded);
                self.observed.jobs.push(JobSeen {
                    name: job.clone(),
                    uid,
                    resource_version,
                    revision,
                    state,
                });
                (Kind::Write, format!("create {name}, and take it for a success"))
            }
            // Nothing that is seen again: a new leader's stamp.
            _ => (Kind::Write, format!("stamp {name}")),
        }
    }

    /// A certificate that is with every pod already: time for that is not counted.
    pub(super) fn certify(&mut self) {
        let subject = &self.subject;
        let id = shop_crds::names::spiffe_id(&self.observed.trust_domain, &subject.namespace, &subject.name);
        let roots = self.observed.authority.as_ref().map(|one| one.roots.clone()).unwrap_or_default();
        let (since, issued) = (jiff::Timestamp::MIN, self.now);
        self.observed.certificate = Some(Certificate { id, since, issued, roots });
    }

    fn delete(&mut self, kind: ObjectKind, name: &str) {
        let service = self.subject.name.clone();
        let own = |revision: i64| shop_crds::names::revision(&service, revision) == name;
        let observed = &mut self.observed;
        match kind {
            ObjectKind::Deployment => observed.deployments.retain(|one| !own(one.revision)),
            ObjectKind::ControllerRevision => observed.revisions.retain(|one| !own(one.number)),
            ObjectKind::PodDisruptionBudget => observed.budgets.retain(|one| !own(one.revision)),
            ObjectKind::NetworkPolicy => observed.network_policy = None,
            ObjectKind::Job => observed.jobs.retain(|one| one.name != name),
            ObjectKind::ReleaseDecision => observed.decisions.retain(|one| one.name != name),
            ObjectKind::ConfigMap | ObjectKind::Secret => {
                observed.snapshots.retain(|one| one.snapshot.name != name);
                let config = |revision| shop_crds::names::sidecar_config(&service, revision) == name;
                observed.configs.retain(|one| !config(one.revision));
            }
            _ => {}
        }
    }
}

fn verb(replaces: bool) -> &'static str {
    if replaces { "change" } else { "create" }
}

fn many<N: Copy + Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}
