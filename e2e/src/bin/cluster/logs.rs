//! Showing a log file, to its end or beyond.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const POLL: Duration = Duration::from_millis(200);

/// Copies the file to standard output, and with `follow` what is appended to it.
pub(crate) fn show(path: &Path, follow: bool) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut out = io::stdout().lock();
    loop {
        let copied = io::copy(&mut file, &mut out).and_then(|_| out.flush());
        match copied {
            // Whoever read this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.with_context(|| format!("show {}", path.display()))?,
        }
        if !follow {
            return Ok(());
        }
        thread::sleep(POLL);
    }
}
