//! What a machine must offer before anything is built on it.

use std::path::Path;

use anyhow::{Context, Result, bail};

const GIB: u64 = 1 << 30;

/// A cluster's node makes network namespaces, mounts and cgroups: that needs root.
pub(super) fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "a cluster needs root: it makes a network namespace, mounts and cgroups. Run this in a virtual machine or a \
         container of its own, as root; nothing outside of target/, /run and its own namespace is touched"
    )
}

/// Refuses to begin what would fill the disk half-way.
pub(super) fn check_room(folder: &Path, need_gib: u64, what: &str) -> Result<()> {
    let place = folder.ancestors().find(|place| place.exists()).unwrap_or(folder);
    let disk = rustix::fs::statvfs(place).with_context(|| format!("look for room at {}", place.display()))?;
    let free = disk.f_bavail * disk.f_frsize;
    if free >= need_gib * GIB {
        return Ok(());
    }
    bail!(
        "{what} needs {need_gib} GiB free at {}, there are {:.1}: free some, or set CARGO_TARGET_DIR to another disk",
        place.display(),
        free as f64 / GIB as f64
    )
}
