//! What has to stand before a scenario can begin.

use anyhow::{Context as _, Result};

use crate::{
    cluster::Cluster,
    harness::ensure_installed,
    images::{self, Images},
};

/// Starts the cluster of that name unless it runs, builds and loads the images, and installs the operator. Each step is told
/// before it begins; the first time takes minutes, later ones seconds.
pub fn stage(name: &str, tell: impl Fn(&str)) -> Result<(Cluster, Images)> {
    let cluster = Cluster::named(name)?;
    tell("starting a Kubernetes cluster (the first time builds it, which takes some minutes)");
    cluster.up().context("start the cluster")?;
    tell("building the images");
    let images = images::build().context("build the images")?;
    cluster.load_all(&images).context("load the images")?;
    tell("installing the operator with its Helm chart");
    ensure_installed(&cluster, &images).context("install the operator")?;
    Ok((cluster, images))
}
