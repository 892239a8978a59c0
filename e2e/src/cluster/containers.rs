//! The container runtime's side: importing images, and ending what it runs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::layout::Layout;
use crate::images::Archive;
use crate::program;

/// Imports the archive unless this cluster has it.
pub(super) fn load(layout: &Layout, archive: &Archive) -> Result<bool> {
    let memory = layout.state.join("images");
    let known = fs::read_to_string(&memory).unwrap_or_default();
    let known: BTreeSet<&str> = known.lines().collect();
    if known.contains(archive.key.as_str()) {
        return Ok(false);
    }
    let mut command = ctr(layout);
    command.args(["images", "import"]).arg(&archive.path);
    program::run(&mut command).with_context(|| format!("import {}", archive.path.display()))?;
    let keys: Vec<&str> = known.into_iter().chain([archive.key.as_str()]).collect();
    fs::write(&memory, keys.join("\n")).context("remember the image")?;
    Ok(true)
}

/// Ends every container and removes it, so that the runtime takes down its mounts and networks itself. What goes
/// wrong is left to whoever cleans up afterwards.
pub(super) fn end_all(layout: &Layout) {
    for id in list(layout, "tasks") {
        let _ = program::run(ctr(layout).args(["tasks", "kill", "--signal", "SIGKILL", &id]));
    }
    for id in list(layout, "tasks") {
        let _ = program::run(ctr(layout).args(["tasks", "rm", "--force", &id]));
    }
}

fn list(layout: &Layout, what: &str) -> Vec<String> {
    let text = program::run(ctr(layout).args([what, "ls", "-q"])).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn ctr(layout: &Layout) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(layout.socket()).args(["--namespace", "k8s.io", "--timeout", "60s"]);
    command
}
