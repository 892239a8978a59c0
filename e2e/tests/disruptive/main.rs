//! What Shopkeeper does when parts of the cluster, or of itself, fail. These run one at a time.

mod absent;
mod drift;
mod idle;
mod killed;
mod two_operators;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shop_e2e::{
    harness::{OPERATOR_NAMESPACE, RELEASE, Session, eventually},
    scenario::{PATIENCE, Shop, operator_pods, without_failure},
};

/// Requests in a second.
const RATE: u32 = 60;
/// Longer than any release here takes on a slow machine.
const LONG: Duration = Duration::from_mins(5);

/// The service `product` in the test's namespace.
async fn shop(session: &Session) -> Result<Shop> {
    Shop::new(session.client(), session.namespace(), "product").await
}

/// Has so many operators, and waits until each of them is ready (or gone).
async fn scale_operator(client: &Client, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch(RELEASE, &PatchParams::default(), &patch).await.context("scale the operator")?;
    eventually(&format!("{replicas} operators are ready"), async || {
        let pods = operator_pods(client).await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(
            i32::try_from(pods.len()) == Ok(replicas) && ready == pods.len(),
            "{ready} of {} pods are ready",
            pods.len()
        );
        Ok(())
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The one operator, found and ready to be killed.
struct Operator {
    pod: String,
    pids: Vec<Pid>,
}

impl Operator {
    /// Finds its processes by the id of its container.
    async fn find(client: &Client) -> Result<Self> {
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
    fn kill(&self) -> Result<()> {
        for pid in &self.pids {
            kill_process(*pid, Signal::KILL).context("kill the operator")?;
        }
        Ok(())
    }

    /// Removes its pod, so that another one takes its place without the kubelet's back-off.
    async fn replace(&self, client: &Client) -> Result<()> {
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

/// Waits until users reach the tag and no release runs, with patience for a lease that has to run out.
async fn stable(shop: &Shop, tag: u8) -> Result<()> {
    shop.wait_stable(tag, PATIENCE.max(LONG)).await.map(drop)
}
