//! Locks between processes, so that two commands never set up, build or start the same thing at the same time.

use std::fs::{self, File};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::workspace;

/// A lock that is held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of that name, and waits for another process that holds it.
    ///
    /// A process must not take the same lock twice: it would wait for itself.
    pub fn acquire(name: &str) -> Result<Self> {
        let folder = workspace::state().join("locks");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                eprintln!("waiting for another process that holds the lock `{name}`");
                flock(&file, FlockOperation::LockExclusive).context("wait for the lock")?;
            }
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
        Ok(Self { _file: file })
    }
}
