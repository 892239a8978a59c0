//! A product service under release, as the demo, the benchmark and the cluster tests all need it: apply it, wait for what should
//! become of it, decide about it, and send it users.
//!
//! Everything here talks to the cluster through a [`kube::Client`] and must run on threads inside of the cluster's network
//! namespace. Nothing waits without a deadline; a wait that fails says what the service's status was at the end.

mod ask;
mod bench;
mod decision;
pub mod drift;
mod fault;
mod operator;
mod spec;
mod stage;
mod status;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authentication::v1::SelfSubjectReview,
        core::v1::{Namespace, Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use shop_crds::{ShopService, ShopServiceStatus, names};
use tokio::time::{sleep, timeout};

use crate::harness::Request;

pub use {
    ask::{Answer, ask},
    bench::{LIMIT, bench, tell},
    decision::Decided,
    fault::{switch_fault_off, switch_fault_on},
    operator::{Operator, is_ready, operator_pods},
    spec::Spec,
    stage::stage,
    status::{active_image, describe, is_stable, outcome_of, revision_of_image},
    traffic::{product_plan, without_failure},
};

/// How long to wait for what takes seconds: a machine that is busy with other things may need many times as long.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// One request to the API server.
const REQUEST: Duration = Duration::from_secs(15);
/// Field manager of what a user applies.
pub const USER_MANAGER: &str = "kubectl";

/// One product `ShopService` in a namespace of a cluster.
#[derive(Clone)]
pub struct Shop {
    /// A client with all rights.
    pub client: Client,
    /// The namespace it is in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    actor: String,
}

impl Shop {
    /// The service of that name, there or not; the namespace is made when it is missing.
    pub async fn new(client: Client, namespace: &str, name: &str) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let object =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let params = PatchParams::apply(USER_MANAGER);
        namespaces.patch(namespace, &params, &Patch::Apply(&object)).await.context("create the namespace")?;
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let user =
            review.context("ask the API server who we are")?.status.and_then(|status| status.user_info);
        let actor = user.and_then(|user| user.username).context("the API server does not say who we are")?;
        Ok(Self { client, namespace: namespace.to_owned(), name: name.to_owned(), actor })
    }

    /// Objects of one kind in its namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies the service server-side, as `kubectl apply --server-side` does.
    pub async fn apply(&self, spec: &Spec) -> Result<ShopService> {
        self.apply_object(&spec.object(&self.namespace, &self.name)).await
    }

    /// Applies a whole `ShopService` as given.
    pub async fn apply_object(&self, object: &Value) -> Result<ShopService> {
        let params = PatchParams::apply(USER_MANAGER).force();
        let services = self.api::<ShopService>();
        let applied = services.patch(&self.name, &params, &Patch::Apply(object)).await;
        applied.with_context(|| format!("apply the ShopService {}", self.name))
    }

    /// Changes some fields of it by a merge patch.
    pub async fn merge(&self, patch: &Value) -> Result<ShopService> {
        let params = PatchParams { field_manager: Some(USER_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api::<ShopService>().patch(&self.name, &params, &Patch::Merge(patch)).await;
        patched.with_context(|| format!("change the ShopService {}", self.name))
    }

    /// The service as it is.
    pub async fn get(&self) -> Result<ShopService> {
        let got = timeout(REQUEST, self.api::<ShopService>().get(&self.name)).await;
        got.context("the API server does not answer")?
            .with_context(|| format!("get the ShopService {}", self.name))
    }

    /// Its status; empty while it has none.
    pub async fn status(&self) -> Result<ShopServiceStatus> {
        Ok(self.get().await?.status.unwrap_or_default())
    }

    /// Waits until its status is as wished; `what` completes "did not see …".
    pub async fn wait(
        &self,
        what: &str,
        within: Duration,
        wished: impl Fn(&ShopServiceStatus) -> bool,
    ) -> Result<ShopServiceStatus> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && wished(status)
            {
                return Ok(status.clone());
            }
            if Instant::now() >= deadline {
                let last = status.map_or_else(|error| format!("{error:#}"), |status| describe(&status));
                bail!(
                    "did not see {what} of {}/{} within {} s; at the end: {last}",
                    self.namespace,
                    self.name,
                    within.as_secs()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until users reach the image of that tag, whatever else still happens.
    pub async fn wait_active(&self, tag: u8, within: Duration) -> Result<ShopServiceStatus> {
        let image = Spec::image(tag);
        let what = format!("{image} as the active revision");
        self.wait(&what, within, |status| active_image(status) == Some(image.as_str())).await
    }

    /// Waits until users reach the image of that tag, and no release runs.
    pub async fn wait_stable(&self, tag: u8, within: Duration) -> Result<ShopServiceStatus> {
        let image = Spec::image(tag);
        let what = format!("{image} as the only revision in use");
        let wished = |status: &ShopServiceStatus| is_stable(status) && active_image(status) == Some(&image);
        self.wait(&what, within, wished).await
    }

    /// Deletes the service with everything the operator made of it; returns when its Deployments and pods are gone.
    pub async fn delete(&self, within: Duration) -> Result<()> {
        let gone = self.api::<ShopService>().delete(&self.name, &DeleteParams::foreground()).await;
        if let Err(error) = gone
            && !is_not_found(&error)
        {
            return Err(error).with_context(|| format!("delete the ShopService {}", self.name));
        }
        let deadline = Instant::now() + within;
        loop {
            let service =
                self.api::<ShopService>().get_opt(&self.name).await.context("get the ShopService")?;
            let (deployments, pods) = (self.deployments().await?.len(), self.pods(None).await?.len());
            if service.is_none() && deployments == 0 && pods == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is not gone within {} s: {deployments} Deployments and {pods} pods left",
                    self.name,
                    within.as_secs()
                );
            }
            sleep(LOOK * 4).await;
        }
    }

    /// Pods of one revision, or of all.
    pub async fn pods(&self, revision: Option<i64>) -> Result<Vec<Pod>> {
        let mut selector = format!("{}={}", names::LABEL_SERVICE, self.name);
        if let Some(revision) = revision {
            selector = format!("{selector},{}={revision}", names::LABEL_REVISION);
        }
        let params = ListParams::default().labels(&selector);
        Ok(self.api::<Pod>().list(&params).await.context("list pods")?.items)
    }

    /// Deployments of all its revisions.
    pub async fn deployments(&self) -> Result<Vec<Deployment>> {
        let params = ListParams::default().labels(&format!("{}={}", names::LABEL_SERVICE, self.name));
        let listed = self.api::<Deployment>().list(&params).await.context("list Deployments")?.items;
        // Labels can be taken away by whoever changes the object; the owner cannot.
        Ok(listed.into_iter().filter(|deployment| owned(&deployment.metadata, &self.name)).collect())
    }

    /// The Service that users reach.
    pub async fn users_service(&self) -> Result<Service> {
        let name = names::users_service(&self.name);
        self.api::<Service>().get(&name).await.with_context(|| format!("get the Service {name}"))
    }

    /// Waits until no pod of a revision is left.
    pub async fn wait_no_pods(&self, revision: i64, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let left = self.pods(Some(revision)).await?.len();
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{left} pods of revision {revision} of {} are left after {} s",
                    self.name,
                    within.as_secs()
                );
            }
            sleep(LOOK * 4).await;
        }
    }
}

/// Of the operator's requests, the writes that belong to releases: not events, which are for people, nor leases and questions
/// about rights.
pub fn release_writes(requests: &[Request]) -> Vec<&Request> {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    let others = ["events", "leases", "tokenreviews", "subjectaccessreviews"];
    let wanted = |request: &&Request| {
        writes.contains(&request.verb.as_str()) && !others.contains(&request.resource.as_str())
    };
    requests.iter().filter(wanted).collect()
}

fn owned(metadata: &ObjectMeta, name: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.kind == "ShopService" && owner.name == name)
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
