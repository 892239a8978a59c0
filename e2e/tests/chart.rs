//! Installing, upgrading and removing the chart on a real cluster.

#![allow(clippy::indexing_slicing, reason = "a field that JSON does not have is null")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use shop_crds::ShopService;
use shop_e2e::{
    harness::{OPERATOR_NAMESPACE, RELEASE, Session, eventually, install, test},
    scenario::{PATIENCE, Shop, Spec},
    workspace,
};

/// The chart's folder.
fn chart() -> String {
    workspace::root().join("charts/shopkeeper").display().to_string()
}

/// What the chart becomes with these `--set` values.
async fn rendered(session: &Session, values: &[&str]) -> Result<String> {
    let version = session.kubectl(&["version", "--output=json"]).await?;
    let version: Value = serde_json::from_str(&version).context("parse kubectl version")?;
    let version =
        version["serverVersion"]["gitVersion"].as_str().context("the server has a version")?.to_owned();
    let chart = chart();
    let mut arguments = vec!["template", RELEASE, chart.as_str(), "--kube-version", version.as_str()];
    for value in values {
        arguments.extend(["--set", value]);
    }
    session.helm(&arguments).await
}

#[test]
fn the_chart_is_clean_and_valid_by_the_cluster_s_schemas() {
    test("the_chart_is_clean_and_valid_by_the_cluster_s_schemas", async |session| {
        let linted = session.helm(&["lint", "--strict", &chart()]).await?;
        ensure!(!linted.contains("[WARNING]") && !linted.contains("[ERROR]"), "{linted}");
        let everything = [
            "operator.replicas=2",
            "operator.podDisruptionBudget.enabled=true",
            "operator.nodeSelector.disk=ssd",
            "operator.priorityClassName=system-cluster-critical",
            "operator.podAnnotations.note=yes",
            "operator.imagePullSecrets[0].name=registry",
            "operator.tolerations[0].operator=Exists",
            "operator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
            "operator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        ];
        for values in
            [&[][..], &everything[..], &["crds.install=false", "admissionPolicies.enabled=false"][..]]
        {
            let objects = rendered(session, values).await?;
            session.kubeconform(&objects).await.with_context(|| format!("with {values:?}"))?;
        }
        let monitored = rendered(session, &["metrics.serviceMonitor.enabled=true"]).await?;
        ensure!(monitored.contains("kind: ServiceMonitor"), "there is no ServiceMonitor");
        let without = rendered(session, &["crds.install=false", "admissionPolicies.enabled=false"]).await?;
        ensure!(!without.contains("kind: CustomResourceDefinition"), "definitions that nobody wants");
        ensure!(!without.contains("kind: ValidatingAdmissionPolicy"), "policies that nobody wants");
        Ok(())
    });
}

#[test]
fn values_that_make_no_sense_are_refused() {
    test("values_that_make_no_sense_are_refused", async |session| {
        for (value, says) in [
            ("operator.replica=2", "replica"),
            ("operator.replicas=many", "replicas"),
            ("operator.replicas=-1", "replicas"),
            ("operator.logLevel=loud", "logLevel"),
            ("operator.image.pullPolicy=Sometimes", "pullPolicy"),
            ("operator.image.repository=", "repository"),
            ("sidecar.image.tag=a tag", "tag"),
            ("sidecar.resources.limits.memory=64Mi", "resources"),
            ("operator.resources.limits.memory=plenty", "memory"),
            ("crds.install=maybe", "install"),
            ("admissionPolicies=false", "admissionPolicies"),
            ("metrics.serviceMonitor.interval=often", "interval"),
            ("image.tag=1", "image"),
        ] {
            let Err(error) = rendered(session, &[value]).await else { bail!("{value} was accepted") };
            let text = format!("{error:#}");
            ensure!(text.contains("don't meet the specifications of the schema"), "{value}: {text}");
            ensure!(text.contains(says), "{value} is refused without {says:?}: {text}");
        }
        Ok(())
    });
}

async fn reinstall(session: &Session, values: Value) -> Result<()> {
    let images = session.images().clone();
    session.blocking(move |cluster| install(cluster, &images, &values)).await
}

/// A service with one pod, stable.
async fn service(session: &Session) -> Result<Shop> {
    let shop = Shop::new(session.client(), session.namespace(), "product").await?;
    shop.apply(&Spec::new(1).replicas(1).drain("5s").keep_old("1s")).await?;
    shop.wait_stable(1, PATIENCE).await?;
    Ok(shop)
}

/// By kind and name, what of each object changes with its content: the generation where there is one, because the status of a
/// Deployment may change at any time, and else the resourceVersion.
async fn versions(session: &Session) -> Result<BTreeMap<String, String>> {
    let manifest = session.helm(&["get", "manifest", RELEASE, "--namespace", OPERATOR_NAMESPACE]).await?;
    let mut command = session.kubectl_command();
    command.args(["get", "--namespace", OPERATOR_NAMESPACE, "--output=json", "--filename=-"]);
    let found = session.blocking(move |_| shop_e2e::program::run_with_input(&mut command, &manifest)).await?;
    let found: Value = serde_json::from_str(&found).context("parse the chart's objects")?;
    let items = found["items"].as_array().context("a list of objects")?;
    ensure!(items.len() > 10, "the chart has {} objects", items.len());
    let version = |object: &Value| {
        let metadata = &object["metadata"];
        let version = metadata.get("generation").unwrap_or(&metadata["resourceVersion"]);
        (format!("{} {}", object["kind"], metadata["name"]), format!("{} {version}", metadata["uid"]))
    };
    Ok(items.iter().map(version).collect())
}

/// The service's pods, by uid.
async fn pods(shop: &Shop) -> Result<BTreeSet<String>> {
    let pods = shop.pods(None).await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

#[test]
fn upgrades_change_only_what_they_are_asked_to() {
    test("upgrades_change_only_what_they_are_asked_to", async |session| {
        let shop = service(session).await?;
        let outcome = upgrades(session, &shop).await;
        // Whatever was seen: the operator stays as all tests expect it.
        reinstall(session, Value::Null).await?;
        outcome
    });
}

async fn upgrades(session: &Session, shop: &Shop) -> Result<()> {
    reinstall(session, Value::Null).await?;
    let (objects, before) = (versions(session).await?, pods(shop).await?);
    for time in ["first", "second"] {
        reinstall(session, Value::Null).await?;
        let now = versions(session).await?;
        ensure!(now == objects, "the {time} upgrade without a change changed {objects:?} to {now:?}");
    }
    reinstall(session, json!({"operator": {"logLevel": "debug"}})).await?;
    ensure!(versions(session).await? != objects, "the log level changed nothing");
    // The new operator has taken over when it does something.
    shop.merge(&json!({"spec": {"replicas": 2}})).await?;
    let two = |status: &shop_crds::ShopServiceStatus| status.ready.as_deref() == Some("2/2");
    shop.wait("two pods, by the new operator", PATIENCE, two).await?;
    let after = pods(shop).await?;
    ensure!(before.is_subset(&after), "pods {before:?} became {after:?}");
    Ok(())
}

#[test]
fn services_outlive_the_operator_which_takes_over_again() {
    test("services_outlive_the_operator_which_takes_over_again", async |session| {
        let shop = service(session).await?;
        let outcome = uninstalled(session, &shop).await;
        reinstall(session, Value::Null).await?;
        outcome?;
        shop.apply(&Spec::new(2).replicas(1).drain("5s").keep_old("1s")).await?;
        let status = shop.wait_stable(2, PATIENCE).await?;
        ensure!(status.active.is_some_and(|active| active.revision == 2), "it began anew");
        Ok(())
    });
}

async fn uninstalled(session: &Session, shop: &Shop) -> Result<()> {
    let (before, old) = (pods(shop).await?, shop.get().await?);
    let removed = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "240s"];
    session.helm(&removed).await?;
    eventually("no operator is left", async || {
        let left = shop_e2e::scenario::operator_pods(&session.client()).await?;
        ensure!(left.is_empty(), "{} pods", left.len());
        Ok(())
    })
    .await?;
    let new = shop.get().await.context("the definitions stay, and what was written by them")?;
    let active = |shop: &ShopService| shop.status.as_ref().and_then(|status| status.active.clone());
    ensure!(new.metadata.uid == old.metadata.uid && active(&new) == active(&old), "{old:?} became {new:?}");
    let after = pods(shop).await?;
    ensure!(before == after, "pods {before:?} became {after:?}");
    let plan = shop.plan(1).await?;
    shop.reachable(&plan, PATIENCE).await.context("it answers without an operator")
}
