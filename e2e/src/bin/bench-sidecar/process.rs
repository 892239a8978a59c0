//! Which cores load and proxies have.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

/// Files that may be open.
const FILES: u64 = 16_384;

/// The core of load and origin.
const OWN_CORE: usize = 0;
/// The proxies' core.
pub(crate) const PROXY_CORE: usize = 1;

/// Gives this process its core, and enough open files.
pub(crate) fn prepare() -> Result<()> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(FILES), |maximum| Some(maximum.min(FILES)));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { ..limit }).context("allow more open files")?;
    if has_two_cores() {
        let mut own = CpuSet::new();
        own.set(OWN_CORE);
        rustix::thread::sched_setaffinity(None, &own).context("keep to one core")?;
    }
    Ok(())
}

/// Whether load and proxy can be kept apart.
pub(crate) fn has_two_cores() -> bool {
    fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|cores| cores.trim() != "0")
}
