//! What every benchmark on the cluster does around its measurement.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::time::timeout;

use super::stage;
use crate::{cluster::Cluster, netns};

/// Longest measurement where nobody says how long it takes, the cluster's own start left out.
pub const LIMIT: Duration = Duration::from_mins(15);

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

/// Tells what was measured: as one JSON object, or as people read it.
pub fn tell<T: Serialize>(figures: &T, json: bool, print: impl FnOnce(&T)) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figures).context("write the figures")?);
    } else {
        print(figures);
    }
    Ok(())
}
