//! Other objects than ShopServices and decisions: what revisions keep, and what an installation is made of.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::{ControllerRevision, Deployment},
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        autoscaling::v2::HorizontalPodAutoscaler,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Pod, ResourceQuota, Secret, Service},
        policy::v1::PodDisruptionBudget,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    },
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use shop_contract::{paths, ports};
use shop_crds::{GROUP, ShopPolicy, ShopPolicySpec, ShopService, names};
use shop_release::{Policy, StoredRevision};

use super::{ClientError, Cluster, ask, pages};
use crate::{calls::Told, diff::Record};

/// Who changed a field, in `managedFields`.
const MANAGER: &str = "kubectl-shop";
/// The operator's Deployment.
const OPERATOR: &str = "app.kubernetes.io/name=shopkeeper,app.kubernetes.io/component=operator";

/// As whom a file is applied in a dry run: as `kubectl apply --server-side` does.
const APPLIER: &str = "kubectl";
/// Name of the operator's Lease.
const LEASE: &str = "shopkeeper";

/// A right, as RBAC has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The verb.
    pub verb: &'static str,
    /// The group; empty: Kubernetes' core.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
}

impl Right {
    /// On a kind of Shopkeeper's.
    pub const fn of(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, group: GROUP, resource }
    }
}

impl Cluster {
    /// What a pod's sidecar has counted of calls out, through the API server.
    pub async fn told(&self, pod: &str) -> Result<Told, ClientError> {
        let resource = ApiResource::erase::<Pod>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let (path, name) = (format!("proxy{}", paths::STATS), format!("{pod}:{}", ports::ADMIN));
        let action = "read what a sidecar has counted (get pods/proxy)";
        let found = ask(action, api.get_subresource(&path, &name)).await?;
        Told::deserialize(found.data).map_err(|error| ClientError::Answer {
            action,
            code: 200,
            message: error.to_string(),
        })
    }

    /// Asks for another image, if the service is still the one that was read; what it is then.
    pub async fn set_image(&self, service: &ShopService, image: &str) -> Result<ShopService, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = service.metadata.name.clone().unwrap_or_default();
        let patch = json!({
            "metadata": {"resourceVersion": service.metadata.resource_version}, "spec": {"image": image},
        });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        ask("change the ShopService", api.patch(&name, &parameters, &Patch::Merge(&patch))).await
    }

    /// The record of a revision.
    pub async fn revision(
        &self,
        service: &str,
        number: i64,
    ) -> Result<Option<ControllerRevision>, ClientError> {
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the ControllerRevision", api.get_opt(&names::revision(service, number))).await
    }

    /// A `ConfigMap`.
    pub async fn config_map(&self, name: &str) -> Result<Option<ConfigMap>, ClientError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the ConfigMap", api.get_opt(name)).await
    }

    /// A `Secret`.
    pub async fn secret(&self, name: &str) -> Result<Option<Secret>, ClientError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the Secret", api.get_opt(name)).await
    }

    /// Deployments of the operator, wherever they are.
    pub async fn operators(&self) -> Result<Vec<Deployment>, ClientError> {
        let api: Api<Deployment> = Api::all(self.client.clone());
        pages("list Deployments of all namespaces", &api, ListParams::default().labels(OPERATOR)).await
    }

    /// A `CustomResourceDefinition`.
    pub async fn definition(&self, name: &str) -> Result<Option<CustomResourceDefinition>, ClientError> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        ask("read the CustomResourceDefinition", api.get_opt(name)).await
    }

    /// A `ValidatingAdmissionPolicy`, and the binding of the same name.
    pub async fn policy(
        &self,
        name: &str,
    ) -> Result<(Option<ValidatingAdmissionPolicy>, Option<ValidatingAdmissionPolicyBinding>), ClientError>
    {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        tokio::try_join!(
            ask("read the ValidatingAdmissionPolicy", policies.get_opt(name)),
            ask("read the ValidatingAdmissionPolicyBinding", bindings.get_opt(name))
        )
    }

    /// The operator's Lease.
    pub async fn lease(&self, namespace: &str) -> Result<Option<Lease>, ClientError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        ask("read the Lease", api.get_opt(LEASE)).await
    }

    /// Whether the user has a right in the namespace.
    pub async fn may(&self, right: Right) -> Result<bool, ClientError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let attributes = ResourceAttributes {
            namespace: Some(self.namespace.clone()),
            verb: Some(right.verb.to_owned()),
            group: Some(right.group.to_owned()),
            resource: Some(right.resource.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = ask("ask for your rights", api.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The same cluster, in another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { client: self.client.clone(), namespace: namespace.to_owned() }
    }

    /// What the API server would make of a ShopService that is applied; it changes nothing.
    pub async fn rehearse_apply(&self, document: &Value) -> Result<ShopService, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let parameters = PatchParams::apply(APPLIER).force().dry_run();
        ask("apply the file (a dry run)", api.patch(name, &parameters, &Patch::Apply(document))).await
    }

    /// The `ShopService` of that name, if there is one.
    pub async fn service_if_any(&self, name: &str) -> Result<Option<ShopService>, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the ShopService", api.get_opt(name)).await
    }

    /// The records of a service's revisions; one that is not the operator's is left out.
    pub async fn stored_revisions(&self, service: &str) -> Result<Vec<StoredRevision>, ClientError> {
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = pages("list ControllerRevisions", &api, of(service)).await?;
        // Restarts have records of their own.
        let restarted = |stored: &&ControllerRevision| {
            let annotations = stored.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(names::ANNOTATION_RESTART))
        };
        let read = found.iter().filter(|stored| !restarted(stored)).filter_map(|stored| {
            Some(StoredRevision {
                number: stored.revision,
                uid: stored.metadata.uid.clone().unwrap_or_default(),
                resource_version: stored.metadata.resource_version.clone().unwrap_or_default(),
                created: stored.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
                facts: Record::read(stored)?.facts,
                restarts: Vec::new(),
            })
        });
        Ok(read.collect())
    }

    /// Pods that the Deployment of each revision shall have.
    pub async fn replicas(&self, service: &str) -> Result<BTreeMap<i64, i32>, ClientError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = pages("list Deployments", &api, of(service)).await?;
        let sized = found.iter().filter_map(|deployment| {
            let revision = deployment.metadata.labels.as_ref()?.get(names::LABEL_REVISION)?.parse().ok()?;
            Some((revision, deployment.spec.as_ref()?.replicas.unwrap_or(1)))
        });
        Ok(sized.collect())
    }

    /// A Deployment.
    pub async fn deployment(&self, name: &str) -> Result<Option<Deployment>, ClientError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the Deployment", api.get_opt(name)).await
    }

    /// Kubernetes' Services of the namespace.
    pub async fn plain_services(&self) -> Result<Vec<Service>, ClientError> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        pages("list Services", &api, ListParams::default()).await
    }

    /// Autoscalers of the namespace.
    pub async fn autoscalers(&self) -> Result<Vec<HorizontalPodAutoscaler>, ClientError> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &self.namespace);
        pages("list HorizontalPodAutoscalers", &api, ListParams::default()).await
    }

    /// Asks for the service to be given back, if it is still the one that was read.
    pub async fn ask_to_eject(&self, service: &ShopService) -> Result<ShopService, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = service.metadata.name.clone().unwrap_or_default();
        let patch = json!({
            "metadata": {"resourceVersion": service.metadata.resource_version}, "spec": {"eject": true},
        });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        ask("change the ShopService", api.patch(&name, &parameters, &Patch::Merge(&patch))).await
    }

    /// Deletes this very ShopService, and what it still owns.
    pub async fn delete_service(&self, service: &ShopService) -> Result<(), ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = service.metadata.name.clone().unwrap_or_default();
        let same = Preconditions { uid: service.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams::background().preconditions(same);
        ask("delete the ShopService", api.delete(&name, &parameters)).await.map(drop)
    }

    /// Makes a ShopService of this manifest.
    pub async fn create_service(&self, manifest: &Value) -> Result<ShopService, ClientError> {
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &ApiResource::erase::<ShopService>(&()),
        );
        let action = "create the ShopService";
        let strange =
            |error: serde_json::Error| ClientError::Unreachable { action, message: error.to_string() };
        let object: DynamicObject = serde_json::from_value(manifest.clone()).map_err(strange)?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let made = ask(action, api.create(&parameters, &object)).await?;
        serde_json::to_value(made).and_then(serde_json::from_value).map_err(strange)
    }

    /// Quotas of the namespace.
    pub async fn quotas(&self) -> Result<Vec<ResourceQuota>, ClientError> {
        let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &self.namespace);
        pages("list ResourceQuotas", &api, ListParams::default()).await
    }

    /// `ShopPolicies` of the namespace; those that cannot be read stop promotions, as they do in the operator.
    pub async fn policies(&self) -> Result<Vec<Policy>, ClientError> {
        let resource = ApiResource::erase::<ShopPolicy>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let found = pages("list ShopPolicies", &api, ListParams::default()).await?;
        let read = |object: DynamicObject| Policy {
            name: object.name_any(),
            spec: ShopPolicySpec::deserialize(object.data.get("spec").unwrap_or(&Value::Null))
                .map_err(|error| error.to_string()),
        };
        Ok(found.into_iter().map(read).collect())
    }

    /// Budgets of the namespace.
    pub async fn budgets(&self) -> Result<Vec<PodDisruptionBudget>, ClientError> {
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), &self.namespace);
        pages("list PodDisruptionBudgets", &api, ListParams::default()).await
    }
}

fn of(service: &str) -> ListParams {
    ListParams::default().labels(&format!("{}={service}", names::LABEL_SERVICE))
}
