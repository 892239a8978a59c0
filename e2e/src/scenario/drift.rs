//! Changes of generated objects by others than the operator, in the ways in which they happen: each has its own rules about
//! fields that it does not name.

use anyhow::{Context as _, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use shop_crds::names;
use tokio::task::spawn_blocking;

use super::Shop;
use crate::{cluster::Cluster, program, setup};

/// How an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `kubectl apply`: a three-way merge made by the client, from the annotation of its last apply.
    ClientSideApply,
    /// `kubectl apply --server-side --force-conflicts`, by another field manager.
    ServerSideApply,
    /// `kubectl replace`: the whole object.
    Replace,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClientSideApply, Self::ServerSideApply, Self::Replace];
}

/// Runs kubectl inside of the cluster's namespace, with a text on its standard input; gives back what it wrote.
pub async fn kubectl(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = program::inside(cluster.name(), setup::bin().join("k8s"));
    command.arg("kubectl").arg("--kubeconfig").arg(cluster.admin_kubeconfig()).args(arguments);
    let input = input.to_owned();
    spawn_blocking(move || program::run_with_input(&mut command, &input)).await.context("run kubectl")?
}

impl Shop {
    /// Points the users' Service at a revision, past the operator. An admission policy may refuse it.
    pub async fn point_users_at(&self, cluster: &Cluster, manner: Manner, revision: i64) -> Result<()> {
        let mut service = self.users_service().await?;
        let selector = json!({names::LABEL_SERVICE: self.name, names::LABEL_REVISION: revision.to_string()});
        let name = names::users_service(&self.name);
        match manner {
            Manner::ClientSideApply => {
                let manifest = service_manifest(&self.namespace, &name, &selector);
                kubectl(cluster, &["apply", "--filename", "-"], &manifest.to_string()).await.map(drop)
            }
            Manner::ServerSideApply => {
                let manifest = service_manifest(&self.namespace, &name, &selector);
                let params = PatchParams::apply("somebody-else").force();
                let applied = self.api::<Service>().patch(&name, &params, &Patch::Apply(&manifest)).await;
                applied.map(drop).context("apply the Service server-side")
            }
            Manner::Replace => {
                let spec = service.spec.get_or_insert_default();
                spec.selector = serde_json::from_value(selector).context("a selector is a map of texts")?;
                let replaced = self.api::<Service>().replace(&name, &PostParams::default(), &service).await;
                replaced.map(drop).context("replace the Service")
            }
        }
    }

    /// Adds a container to a revision's Deployment, past the operator.
    pub async fn add_container(&self, revision: i64, image: &str) -> Result<()> {
        let container = json!({"name": "stowaway", "image": image});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        self.patch_deployment(revision, &patch).await
    }

    /// Scales a revision's Deployment, past the operator.
    pub async fn scale_deployment(&self, revision: i64, replicas: i32) -> Result<()> {
        self.patch_deployment(revision, &json!({"spec": {"replicas": replicas}})).await
    }

    async fn patch_deployment(&self, revision: i64, patch: &Value) -> Result<()> {
        let name = names::revision(&self.name, revision);
        let params =
            PatchParams { field_manager: Some("somebody-else".to_owned()), ..PatchParams::default() };
        let patched = self.api::<Deployment>().patch(&name, &params, &Patch::Strategic(patch)).await;
        patched.map(drop).with_context(|| format!("change the Deployment {name}"))
    }
}

/// The users' Service as somebody would have it in a file: without the ports, which a merge keeps.
fn service_manifest(namespace: &str, name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector},
    })
}
