//! Installing the operator on a cluster with its chart.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cluster::Cluster;
use crate::images::Images;
use crate::lock::Lock;
use crate::{program, setup, workspace};

/// The Helm release of the operator.
pub const RELEASE: &str = "shopkeeper";
/// The namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "shopkeeper";
/// The user that the operator is to the API server.
pub const OPERATOR_USER: &str = "system:serviceaccount:shopkeeper:shopkeeper";

/// Values for the chart beside the images, as for `helm --values`.
pub type Values = serde_json::Value;

/// Installs the operator unless just this is installed already and available.
pub fn ensure_installed(cluster: &Cluster, images: &Images) -> Result<()> {
    let _lock = lock(cluster)?;
    let none = Values::Null;
    let stamp = stamp(images, &none)?;
    let same = fs::read_to_string(stamp_file(cluster)).is_ok_and(|old| old == stamp);
    if same && available(cluster, "5s").is_ok() {
        return Ok(());
    }
    upgrade(cluster, images, &none)
}

/// Installs or upgrades the operator with these values and no others, and waits until it is available.
pub fn install(cluster: &Cluster, images: &Images, values: &Values) -> Result<()> {
    let _lock = lock(cluster)?;
    upgrade(cluster, images, values)
}

fn upgrade(cluster: &Cluster, images: &Images, values: &Values) -> Result<()> {
    // Without the stamp, whatever is half done now is done again by the next one.
    let _ = fs::remove_file(stamp_file(cluster));
    let result = run_helm(cluster, images, values);
    // A command that was killed leaves a lock in the cluster that Helm itself never takes back.
    let result = match result {
        Err(error) if format!("{error:#}").contains("another operation") => {
            remove_pending(cluster)?;
            run_helm(cluster, images, values)
        }
        result => result,
    };
    result.context("install the operator")?;
    available(cluster, "180s").context("wait for the operator")?;
    fs::write(stamp_file(cluster), stamp(images, values)?).context("remember what is installed")
}

fn run_helm(cluster: &Cluster, images: &Images, values: &Values) -> Result<String> {
    let images = json!({
        "operator": {"image": image(&images.operator)},
        "sidecar": {"image": image(&images.sidecar)},
    });
    let files = [("images", &images), ("values", values)].map(|(name, values)| {
        let path = cluster.state().join(format!("helm-{name}.json"));
        (path, values)
    });
    let mut command = program::inside(cluster.name(), setup::bin().join("helm"));
    command.env("KUBECONFIG", cluster.admin_kubeconfig());
    command.args(["upgrade", RELEASE, "--install", "--namespace", OPERATOR_NAMESPACE, "--create-namespace"]);
    command.args(["--reset-values", "--wait", "--timeout", "240s"]);
    for (path, values) in files {
        if !values.is_null() {
            fs::write(&path, serde_json::to_vec(values)?)
                .with_context(|| format!("write {}", path.display()))?;
            command.arg("--values").arg(path);
        }
    }
    program::run(command.arg(chart()))
}

fn available(cluster: &Cluster, patience: &str) -> Result<String> {
    let timeout = format!("--timeout={patience}");
    program::run(kubectl(cluster).args(["rollout", "status", "deployment", RELEASE, &timeout]))
}

fn remove_pending(cluster: &Cluster) -> Result<String> {
    let pending =
        format!("owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)");
    program::run(kubectl(cluster).args(["delete", "secrets", "--selector", &pending]))
}

fn kubectl(cluster: &Cluster) -> Command {
    let mut command = program::inside(cluster.name(), setup::bin().join("k8s"));
    command.arg("kubectl").arg("--kubeconfig").arg(cluster.admin_kubeconfig());
    command.args(["--namespace", OPERATOR_NAMESPACE]);
    command
}

/// A reference in the chart's two parts.
fn image(reference: &str) -> serde_json::Value {
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, ""));
    json!({"repository": repository, "tag": tag})
}

fn chart() -> std::path::PathBuf {
    workspace::root().join("charts/shopkeeper")
}

fn lock(cluster: &Cluster) -> Result<Lock> {
    Lock::acquire(&format!("install-{}", cluster.name()))
}

fn stamp_file(cluster: &Cluster) -> std::path::PathBuf {
    cluster.state().join("installed")
}

/// What is installed: the chart, the images and the values.
fn stamp(images: &Images, values: &Values) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{} {} {values}", images.operator, images.sidecar));
    hash_folder(&chart(), &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

fn hash_folder(folder: &Path, hash: &mut Sha256) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A chart may hold links, to the generated CRDs: their content is what counts.
        if path.is_dir() {
            hash_folder(&path, hash)?;
        } else {
            hash.update(path.to_string_lossy().as_bytes());
            hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart_at_the_tag() {
        let parts = image("registry.local:5000/shopkeeper/operator:abc");
        assert_eq!(parts, json!({"repository": "registry.local:5000/shopkeeper/operator", "tag": "abc"}));
    }
}
