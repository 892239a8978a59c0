//! The cluster itself: it survives the loss of each of its parts, and leaves nothing when it goes down.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::{Value, json};
use shop_e2e::cluster::{Cluster, NODE, Part, State, Up, is_ready};
use shop_e2e::harness::{eventually, kubeconform};
use shop_e2e::images::PAUSE;
use shop_e2e::{netns, program, setup};

/// A cluster beside the one of the other tests.
const NAME: &str = "harness";
const NODE_READY: Duration = Duration::from_mins(4);

/// Takes the cluster down however the test ends.
struct Down<'a>(&'a Cluster);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("the cluster {NAME} could not be taken down: {error:#}");
        }
    }
}

#[test]
fn a_cluster_survives_the_loss_of_its_parts_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::named(NAME)?;
    cluster.down()?;
    let down = Down(&cluster);
    ensure!(cluster.up()? == Up::Started);
    ensure!(cluster.up()? == Up::Already);
    run_pod(&cluster, "before")?;
    conforms(&cluster)?;

    for part in Part::ALL {
        let old = cluster.pid(part).with_context(|| format!("{part} runs"))?;
        cluster.kill(part)?;
        ensure!(cluster.state_of(part) == State::Dead, "{part} was killed");
        cluster.restart(part).with_context(|| format!("restart {part}"))?;
        ensure!(cluster.pid(part).is_some_and(|new| new != old), "{part} is another process");
        cluster.node_ready(NODE_READY).with_context(|| format!("after {part} was lost"))?;
    }
    run_pod(&cluster, "after-kills")?;

    // Two at once: bringing the cluster up brings back what has ended and lets go on what was stopped.
    cluster.kill(Part::ApiServer)?;
    cluster.kill(Part::Containerd)?;
    cluster.freeze(Part::Scheduler)?;
    ensure!(cluster.up()? == Up::Repaired(vec![Part::ApiServer, Part::Scheduler, Part::Containerd]));
    run_pod(&cluster, "after-repair")?;
    reached_from_the_host(&cluster)?;

    freeze_the_node(&cluster)?;

    let state = cluster.state();
    drop(down);
    let traces = cluster.traces();
    ensure!(traces.is_empty(), "left behind: {traces:?}");
    ensure!(!state.join("conf").exists(), "{} is left", state.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&format!("/{NAME}"))).collect();
    ensure!(left.is_empty(), "mounts are left: {left:?}");
    let cgroups = program::run(Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", NAME]))?;
    ensure!(cgroups.is_empty(), "cgroups are left: {cgroups}");
    Ok(())
}

#[test]
fn what_is_left_of_a_half_started_cluster_is_removed() -> Result<()> {
    const HALF: &str = "harness-half";
    let cluster = Cluster::named(HALF)?;
    cluster.down()?;
    setup::ensure()?;
    // As far as the first step of a start that was interrupted.
    netns::create(HALF)?;
    fs::create_dir_all(cluster.state().join("pids"))?;
    let mut stray = netns::within(HALF, || Command::new("sleep").arg("1000").spawn())??;
    ensure!(cluster.down()?, "there was something to remove");
    ensure!(!stray.wait()?.success(), "a process inside of the namespace is ended");
    ensure!(cluster.traces().is_empty(), "left behind: {:?}", cluster.traces());
    ensure!(!cluster.down()?, "nothing is left to remove");
    Ok(())
}

/// The node's agent stands still: the node is found to be lost, and is back when the agent goes on.
fn freeze_the_node(cluster: &Cluster) -> Result<()> {
    cluster.freeze(Part::Kubelet)?;
    ensure!(cluster.state_of(Part::Kubelet) == State::Frozen);
    netns::block_on(NAME, || async {
        let nodes: Api<Node> = Api::all(cluster.client().await?);
        eventually("the frozen node is lost", async || {
            let node = nodes.get(NODE).await?;
            ensure!(!is_ready(&node), "the node is Ready");
            Ok(())
        })
        .await
    })??;
    cluster.thaw(Part::Kubelet)?;
    cluster.node_ready(NODE_READY).context("after the node was thawed")
}

/// A new pod runs: every part has done its work.
fn run_pod(cluster: &Cluster, name: &str) -> Result<()> {
    let pod = pod(name)?;
    netns::block_on(NAME, || async {
        let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "default");
        pods.create(&PostParams::default(), &pod).await.context("create a pod")?;
        eventually(&format!("the pod {name} runs"), async || {
            let pod = pods.get(name).await?;
            let status = pod.status.unwrap_or_default();
            let phase = status.phase.clone().unwrap_or_default();
            ensure!(phase == "Running", "{phase}: {:?} {:?}", status.conditions, status.container_statuses);
            Ok(())
        })
        .await?;
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.context("delete the pod")?;
        Ok(())
    })?
}

fn pod(name: &str) -> Result<Pod> {
    let spec = json!({"containers": [{"name": "app", "image": PAUSE}]});
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    Ok(Pod { metadata, spec: Some(serde_json::from_value(spec)?), ..Pod::default() })
}

/// Schemas are taken from the API server: a right object passes, a misspelt field does not.
fn conforms(cluster: &Cluster) -> Result<()> {
    let pod =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec});
    let resources = json!({"limits": {"cpu": 1, "memory": "1Gi"}});
    let containers = json!([{"name": "a", "image": PAUSE, "resources": resources}]);
    let right = pod(json!({"containers": containers}));
    let wrong = pod(json!({"containers": containers, "contaners": []}));
    netns::block_on(NAME, || async {
        let client = cluster.client().await?;
        kubeconform(cluster, &client, &right.to_string()).await?;
        let Err(error) = kubeconform(cluster, &client, &wrong.to_string()).await else {
            bail!("a misspelt field passed")
        };
        ensure!(format!("{error:#}").contains("contaners"), "{error:#}");
        Ok(())
    })?
}

/// The kubeconfig for the host works outside of the namespace.
fn reached_from_the_host(cluster: &Cluster) -> Result<()> {
    let begin = Instant::now();
    let mut command = Command::new(setup::bin().join("k8s"));
    command.args(["kubectl", "get", "nodes", "--output=name"]).env("KUBECONFIG", cluster.kubeconfig());
    loop {
        match program::run(&mut command) {
            Ok(text) => {
                ensure!(text.trim() == format!("node/{NODE}"), "{text}");
                return Ok(());
            }
            Err(error) if begin.elapsed() > NODE_READY => return Err(error),
            Err(_) => {}
        }
    }
}
