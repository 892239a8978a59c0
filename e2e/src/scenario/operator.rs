//! The operator's own pods and processes.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{OPERATOR_NAMESPACE, eventually};

/// Pods of the operator.
pub async fn operator_pods(client: &Client) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let params = ListParams::default()
        .labels("app.kubernetes.io/name=shopkeeper,app.kubernetes.io/component=operator");
    Ok(pods.list(&params).await.context("list the operator's pods")?.items)
}

/// Whether a pod's condition says so.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The one operator, found and ready to be killed.
pub struct Operator {
    pod: String,
    pids: Vec<Pid>,
}

impl Operator {
    /// Finds its processes by the id of its container.
    pub async fn find(client: &Client) -> Result<Self> {
        let found = eventually("one operator is ready", async || {
            let pods = operator_pods(client).await?;
            ensure!(pods.len() == 1, "there are {} operators", pods.len());
            let pod = pods.into_iter().next().context("one was counted")?;
            ensure!(is_ready(&pod), "it is not ready");
            Ok(pod)
        })
        .await?;
        let statuses = found.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let id = statuses.into_iter().find_map(|container| container.container_id);
        let id = id.context("the operator's container has no id")?;
        let id = id.rsplit('/').next().unwrap_or_default().to_owned();
        let pids = processes_of(&id)?;
        ensure!(!pids.is_empty(), "no process is in the container {id}");
        Ok(Self { pod: found.metadata.name.context("a pod has a name")?, pids })
    }

    /// Kills it at once, without the chance to do anything more.
    pub fn kill(&self) -> Result<()> {
        for pid in &self.pids {
            kill_process(*pid, Signal::KILL).context("kill the operator")?;
        }
        Ok(())
    }

    /// Its processes.
    pub fn processes(&self) -> &[Pid] {
        &self.pids
    }

    /// Removes its pod, so that another one takes its place without the kubelet's back-off.
    pub async fn replace(&self, client: &Client) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        pods.delete(&self.pod, &at_once).await.context("remove the operator's pod")?;
        eventually("the operator's pod is gone", async || {
            ensure!(pods.get_opt(&self.pod).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }
}

/// Processes whose control group names the container.
fn processes_of(container: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(groups) = std::fs::read_to_string(entry.path().join("cgroup")) else { continue };
        if groups.contains(container)
            && let Some(pid) = Pid::from_raw(pid)
        {
            found.push(pid);
        }
    }
    Ok(found)
}
