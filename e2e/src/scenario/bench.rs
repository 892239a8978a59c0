//! What every benchmark on the cluster does around its measurement.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::timeout;

use super::stage;
use crate::{cluster::Cluster, netns};

/// Sets the stage on the cluster of that name, telling its steps on standard error, and measures inside of its network, for at
/// most `limit`.
pub fn bench<T: Send>(
    name: &str,
    limit: Duration,
    measure: impl AsyncFnOnce(&Cluster) -> Result<T> + Send,
) -> Result<T> {
    let (cluster, _) = stage(name, |step| eprintln!("{step}"))?;
    netns::block_on(cluster.name(), || async {
        match timeout(limit, measure(&cluster)).await {
            Ok(measured) => measured,
            Err(_) => bail!("not done after {} minutes", limit.as_secs() / 60),
        }
    })?
}
