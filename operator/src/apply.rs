//! Carries a plan out: the status first, then the writes in order, up to the first that fails.
//!
//! Before every write the leadership is asked for; after it the new version is remembered, so that the next plan is made only when
//! the cache shows it.

mod adopted;
mod certificates;
mod pushes;
mod request;
mod template;
mod tokens;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Client, core::DynamicObject};
use serde_json::{Value, json};
use shop_contract::Document;
use shop_crds::{ShopServiceStatus, names::ADOPTED};
use shop_release::{
    CheckedTemplate, Inputs, ObjectKind, ObjectRef, Observed, Plan, Precondition, Question, Refusal,
    SourceState, Subject, Write,
};
use tokio::time::Instant;

use crate::{
    asks::Asks,
    authority::Authority,
    cache::Kind,
    counting::Counting,
    key::ServiceKey,
    lease::Leadership,
    memory::{Memory, OwnWrite},
    metrics::{self, Metrics},
    observe::Sight,
    queue::{Queue, Urgency},
    render::{self, Keys, Rendered, SidecarImage, Site},
    sidecars::Sidecars,
    sources::{self, Sources},
};
pub use request::{Answer, ApplyError, Requests};

/// Longest wait for sidecars while users are being taken back: their Services must follow soon.
const ABORT_PUSH: Duration = Duration::from_millis(500);
/// Otherwise.
const PUSH: Duration = Duration::from_secs(1);

/// What a plan is carried out with.
#[derive(Clone)]
pub struct Tools {
    /// The API server.
    pub client: Client,
    /// The sidecars.
    pub sidecars: Sidecars,
    /// Contents of users' ConfigMaps and Secrets.
    pub sources: Arc<Sources>,
    /// The sidecar that new revisions get.
    pub image: SidecarImage,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Questions to the world outside.
    pub asks: Asks,
    /// Counters of sidecars, for analyses.
    pub counting: Counting,
    /// Where a service goes when something is known that it waits for.
    pub queue: Arc<Queue>,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// Certificates for TLS between sidecars.
    pub authority: Arc<Authority>,
    /// What the operator is told of its surroundings.
    pub site: Arc<Site>,
}

/// What came of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Writes to the API server.
    pub writes: usize,
    /// Sidecars told something new: the next plan is due at once.
    pub learnt: bool,
}

/// One plan being carried out.
pub struct Application<'a> {
    tools: &'a Tools,
    sight: &'a Sight<'a>,
    observed: &'a Observed,
    memory: &'a mut Memory,
    requests: Requests<'a>,
    // What this plan has made already and the cache does not show yet.
    templates: HashMap<i64, Value>,
    documents: HashMap<i64, Document>,
    key_id: Option<String>,
    push_timeout: Duration,
    // Pods that did not answer this plan: they are not waited for twice.
    silent: HashSet<String>,
    applied: Applied,
}

impl<'a> Application<'a> {
    /// Prepares to carry out a plan that was made from what `sight` shows.
    pub fn new(
        tools: &'a Tools,
        sight: &'a Sight<'a>,
        observed: &'a Observed,
        memory: &'a mut Memory,
    ) -> Self {
        let requests =
            Requests { client: &tools.client, namespace: &sight.owner.namespace, uid: &sight.owner.uid };
        Self {
            tools,
            sight,
            observed,
            memory,
            requests,
            templates: HashMap::new(),
            documents: HashMap::new(),
            key_id: None,
            push_timeout: PUSH,
            silent: HashSet::new(),
            applied: Applied::default(),
        }
    }

    /// Carries it out.
    pub async fn run(mut self, before: &ShopServiceStatus, plan: &Plan) -> (Applied, Result<(), ApplyError>) {
        if plan.status.phase == Some(shop_crds::status::Phase::Aborting) {
            self.push_timeout = ABORT_PUSH;
        }
        let result = self.all(before, plan).await;
        (self.applied, result)
    }

    async fn all(&mut self, before: &ShopServiceStatus, plan: &Plan) -> Result<(), ApplyError> {
        if plan.status != *before {
            self.status(&plan.status).await?;
        }
        for write in &plan.writes {
            self.write(write).await?;
        }
        Ok(())
    }

    async fn status(&mut self, status: &ShopServiceStatus) -> Result<(), ApplyError> {
        let Subject { name, uid, resource_version, .. } = self.sight.subject;
        let body = self.status_body("ShopService", name, uid, resource_version, &json!(status));
        let request = self.requests.replace_status(Kind::ShopService, name, body);
        self.send(Kind::ShopService, name, request).await
    }

    fn status_body(&self, kind: &str, name: &str, uid: &str, version: &str, status: &Value) -> Value {
        json!({
            "apiVersion": format!("{}/{}", shop_crds::GROUP, shop_crds::VERSION),
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.sight.owner.namespace,
                "uid": uid,
                "resourceVersion": version,
            },
            "status": status,
        })
    }

    async fn write(&mut self, write: &Write) -> Result<(), ApplyError> {
        let owner = self.sight.owner;
        let spec = &self.sight.subject.spec;
        let (rendered, replaces) = match write {
            Write::CreateRevision { revision, inputs, facts } => {
                // What was adopted has a template of its own.
                let template = match facts.adopted {
                    Some(_) => Value::Null,
                    None => render::pod_template(owner, *revision, inputs, &self.tools.image),
                };
                let rendered = render::revision(owner, *revision, facts, &template);
                self.templates.insert(*revision, template);
                (rendered, None)
            }
            Write::CreateRestart { revision, ordinal } => (self.restart(*revision, *ordinal)?, None),
            Write::CheckTemplate { revision, inputs } => return self.check(*revision, inputs).await,
            Write::CreateSnapshot { revision, snapshot } => (self.copy(*revision, snapshot).await?, None),
            Write::CreateAccount => (render::account(owner), None),
            Write::CreateKeys { certificate } => (self.new_keys(*certificate).await?, None),
            Write::CopyTokenKeys { hash } => return self.copy_token_keys(hash).await,
            Write::IssueCertificate => return self.issue_certificate().await,
            Write::CopyRoots { .. } => return self.copy_roots().await,
            Write::RemoveCertificate => return self.remove_certificate().await,
            Write::WriteNetworkPolicy { access, replaces } => {
                (render::network_policy(owner, access, &self.tools.site), replaces.as_ref())
            }
            Write::WriteConfig { document, generation, replaces } => {
                let keys = Keys {
                    handover: self.key_id.clone().unwrap_or(self.sight.keys().handover),
                    ..self.sight.keys()
                };
                let document = render::contract_document(owner, document, *generation, &keys, |kind| {
                    self.sight.address(kind)
                });
                let rendered = render::sidecar_config(owner, &document).map_err(ApplyError::Render)?;
                self.documents.insert(document.identity.revision, document);
                (rendered, replaces.as_ref())
            }
            Write::WriteDeployment { revision: ADOPTED, .. } => return self.size_adopted(write).await,
            Write::Eject { object, precondition } => {
                return self.eject(object, precondition.as_ref()).await;
            }
            Write::Adopt { object, precondition } => return self.adopt(object, precondition).await,
            Write::WriteDeployment { revision, restart, recreate, replicas, role, colour, replaces } => {
                let template = self.template(*revision, *restart)?;
                (
                    render::deployment(owner, *revision, &template, *replicas, *role, *colour, *recreate),
                    replaces.as_ref(),
                )
            }
            Write::WriteService { service, selects, replaces } => {
                let adopted = self.sight.adopted().filter(|_| *selects == ADOPTED);
                (render::service(owner, *service, *selects, spec, adopted.as_ref()), replaces.as_ref())
            }
            Write::WriteBudget { revision, max_unavailable, replaces } => {
                (render::budget(owner, *revision, *max_unavailable), replaces.as_ref())
            }
            Write::CreateJob { name, revision, job } => {
                // The revision's own Jobs run with what the revision runs with.
                let own = [
                    shop_crds::names::expand_job(&owner.service, *revision),
                    shop_crds::names::contract_job(&owner.service, *revision),
                ];
                let like = if own.contains(name) { Some(self.template(*revision, 0)?) } else { None };
                (render::job(owner, name, *revision, job, like.as_ref()), None)
            }
            Write::Ask(question) => {
                self.ask(question);
                return Ok(());
            }
            Write::PushDocument { revision, generation, pods } => {
                self.push_document(*revision, *generation, pods).await;
                return Ok(());
            }
            Write::PushEndpoints { .. } => {
                self.push_endpoints(write).await;
                return Ok(());
            }
            Write::Stamp { object, precondition } => return self.stamp(object, precondition).await,
            Write::Delete { object, precondition } => return self.delete(object, precondition).await,
            Write::WriteDecision { name, precondition, status } => {
                let Precondition { uid, resource_version } = precondition;
                let body = self.status_body("ReleaseDecision", name, uid, resource_version, &json!(status));
                let request = self.requests.replace_status(Kind::ReleaseDecision, name, body);
                return self.send(Kind::ReleaseDecision, name, request).await;
            }
        };
        self.put(rendered, replaces).await
    }

    // A refusal is an answer; it is remembered, and the next plan is made with it.
    async fn check(&mut self, revision: i64, inputs: &Inputs) -> Result<(), ApplyError> {
        let template = render::pod_template(self.sight.owner, revision, inputs, &self.tools.image);
        let (role, colour) = (shop_release::Role::Candidate, shop_crds::status::Colour::Blue);
        let rendered = render::deployment(self.sight.owner, revision, &template, 0, role, colour, false);
        let refused = match self.requests.try_out(rendered).await {
            Ok(()) => None,
            Err(ApplyError::Refused { message, .. }) => Some(message),
            Err(error) => return Err(error),
        };
        self.memory.checked = Some(CheckedTemplate { hash: inputs.hash(), at: Timestamp::now(), refused });
        self.applied.learnt = true;
        Ok(())
    }

    async fn put(&mut self, rendered: Rendered, replaces: Option<&Precondition>) -> Result<(), ApplyError> {
        let kind = Kind::from(rendered.kind);
        let name = rendered.name.clone();
        let held = self.sight.owned(kind, &name).cloned();
        self.count_drift(kind, &name);
        let request = self.requests.put(rendered, replaces.cloned(), held);
        self.send(kind, &name, request).await
    }

    // What is put back because somebody else changed it.
    fn count_drift(&self, kind: Kind, name: &str) {
        let service = &self.sight.owner.service;
        let drifted = match kind {
            Kind::Deployment => self
                .observed
                .deployments
                .iter()
                .any(|one| one.drifted && shop_crds::names::revision(service, one.revision) == name),
            Kind::Service => {
                self.observed.services.iter().any(|(which, one)| one.drifted && which.name(service) == name)
            }
            Kind::ConfigMap => self
                .observed
                .configs
                .iter()
                .any(|one| one.drifted && shop_crds::names::sidecar_config(service, one.revision) == name),
            Kind::NetworkPolicy => self.observed.network_policy.as_ref().is_some_and(|one| one.drifted),
            Kind::PodDisruptionBudget => self
                .observed
                .budgets
                .iter()
                .any(|one| one.drifted && shop_crds::names::revision(service, one.revision) == name),
            _ => false,
        };
        if drifted {
            metrics::count(&self.tools.metrics.drift, &[kind.as_str()]);
        }
    }

    async fn stamp(&mut self, object: &ObjectRef, precondition: &Precondition) -> Result<(), ApplyError> {
        let (kind, name) = (Kind::from(object.kind), self.sight.name_of(object));
        let metadata = self.fenced(precondition, serde_json::Map::new(), Value::Null);
        let request = self.requests.merge(kind, &name, json!({ "metadata": metadata }));
        self.send(kind, &name, request).await
    }

    async fn delete(&mut self, object: &ObjectRef, precondition: &Precondition) -> Result<(), ApplyError> {
        let (kind, name) = (Kind::from(object.kind), self.sight.name_of(object));
        let request = self.requests.delete(kind, &name, precondition.clone());
        self.send(kind, &name, request).await
    }

    // Sends one write, and remembers what came of it.
    async fn send(
        &mut self,
        kind: Kind,
        name: &str,
        request: impl Future<Output = Result<Answer, ApplyError>>,
    ) -> Result<(), ApplyError> {
        if !self.tools.leadership.holds(self.sight.owner.epoch) {
            return Err(ApplyError::NotLeading);
        }
        // Before it is sent: the pass may be given up while it waits.
        self.memory.doubt = Some((kind, name.to_owned()));
        let answer = request.await;
        if answer.as_ref().err().is_none_or(ApplyError::is_certain) {
            self.memory.doubt = None;
        }
        metrics::count(&self.tools.metrics.writes, &[kind.as_str(), outcome(&answer)]);
        let object = object_ref(kind, name);
        match answer {
            Ok(answer) => {
                self.applied.writes += 1;
                if let Some(object) = &object {
                    self.memory.accept(object);
                }
                self.remember(kind, name, answer);
                Ok(())
            }
            Err(error) => {
                if let (ApplyError::Taken { .. }, Some(object)) = (&error, &object) {
                    self.memory.taken.insert(object.clone(), Instant::now());
                }
                if let (ApplyError::Refused { message, .. }, Some(object)) = (&error, object) {
                    let message = message.clone();
                    self.memory.refuse(Refusal { object, at: Timestamp::now(), message });
                }
                Err(error)
            }
        }
    }

    fn remember(&mut self, kind: Kind, name: &str, answer: Answer) {
        let (uid, version) = match answer {
            Answer::Written(object) => {
                let metadata = &object.metadata;
                let made = (metadata.uid.clone(), metadata.resource_version.clone());
                self.in_order(kind, name, &object);
                (made.0.unwrap_or_default(), Some(made.1.unwrap_or_default()))
            }
            Answer::Deleted { uid } => (uid, None),
        };
        self.memory.unseen.push(OwnWrite { kind, name: name.to_owned(), uid, version, at: Instant::now() });
    }

    // What the API server makes of our own write is in order, whatever defaults it has.
    fn in_order(&mut self, kind: Kind, name: &str, object: &DynamicObject) {
        if matches!(kind, Kind::Deployment | Kind::Service | Kind::PodDisruptionBudget | Kind::NetworkPolicy)
        {
            let hash = render::short_hash(crate::cache::Held::of(object).content().to_string().as_bytes());
            self.memory.in_order.insert((kind, name.to_owned()), hash);
        }
    }

    async fn copy(
        &self,
        revision: i64,
        snapshot: &shop_release::SnapshotRef,
    ) -> Result<Rendered, ApplyError> {
        let namespace = &self.sight.owner.namespace;
        let source = self.tools.sources.read(snapshot.kind, namespace, &snapshot.source).await;
        let source = source.map_err(ApplyError::from_kube)?;
        match source.as_ref().map(sources::measured) {
            Some(SourceState::Found { hash, .. }) if hash == snapshot.hash => {}
            // The watch is about to tell, and the next plan starts from what is there then.
            _ => return Err(ApplyError::SourceChanged { name: snapshot.source.clone() }),
        }
        Ok(render::snapshot(self.sight.owner, revision, snapshot, &source.unwrap_or_default()))
    }

    fn ask(&self, question: &Question) {
        let owner = self.sight.owner;
        let key = ServiceKey::new(owner.namespace.clone(), owner.service.clone());
        let (queue, woken) = (Arc::clone(&self.tools.queue), key.clone());
        let done = Box::new(move || queue.add(woken, Urgency::Release));
        self.tools.asks.ask(&key, &owner.uid, question, done);
    }
}

fn outcome(answer: &Result<Answer, ApplyError>) -> &'static str {
    match answer {
        Ok(_) => "done",
        Err(ApplyError::Conflict(_)) => "conflict",
        Err(ApplyError::Taken { .. }) => "taken",
        Err(ApplyError::Refused { .. }) => "refused",
        Err(_) => "failed",
    }
}

fn object_ref(kind: Kind, name: &str) -> Option<ObjectRef> {
    let kind = match kind {
        Kind::ControllerRevision => ObjectKind::ControllerRevision,
        Kind::ConfigMap => ObjectKind::ConfigMap,
        Kind::Secret => ObjectKind::Secret,
        Kind::ServiceAccount => ObjectKind::ServiceAccount,
        Kind::Deployment => ObjectKind::Deployment,
        Kind::Service => ObjectKind::Service,
        Kind::PodDisruptionBudget => ObjectKind::PodDisruptionBudget,
        Kind::NetworkPolicy => ObjectKind::NetworkPolicy,
        Kind::Job => ObjectKind::Job,
        Kind::ReleaseDecision => ObjectKind::ReleaseDecision,
        Kind::ShopService | Kind::ShopPolicy | Kind::FaultPolicy | Kind::Pod | Kind::EndpointSlice => {
            return None;
        }
    };
    Some(ObjectRef::new(kind, name))
}
