//! Everything a cluster needs of the machine: rights, room, packages, and the programs built from the Go module.
//!
//! It is run by every command that starts a cluster and does nothing when nothing is missing.

mod machine;
mod packages;
mod toolchain;

use std::path::PathBuf;

use anyhow::Result;

use crate::lock::Lock;
use crate::workspace;

pub use toolchain::{KUBERNETES_VERSION, module_source, pinned_version};

/// Where the cluster's programs are.
pub fn bin() -> PathBuf {
    workspace::state().join("bin")
}

/// Installs what tests need that are no cluster's. Needs root only if something is missing.
pub fn ensure_for_tests() -> Result<()> {
    let _lock = Lock::acquire("setup")?;
    packages::ensure_for_tests()
}

/// Makes the machine ready to run clusters: checks it, installs missing packages and builds missing programs.
pub fn ensure() -> Result<()> {
    machine::check_root()?;
    let _lock = Lock::acquire("setup")?;
    packages::ensure()?;
    toolchain::ensure()
}
