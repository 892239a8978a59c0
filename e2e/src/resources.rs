//! What processes take of the machine, as the system tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks in a second, of `/proc/PID/stat`; the same on all of Linux' architectures since 2.6.
const TICKS: u64 = 100;

/// User and system time of a process and its children.
pub fn cpu(pid: u32) -> Duration {
    let ticks = |pid: u32| {
        let fields = stat(pid)?;
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(field(11)? + field(12)?)
    };
    let all: u64 = family(pid).into_iter().filter_map(ticks).sum();
    Duration::from_millis(all * 1000 / TICKS)
}

/// Resident memory of a process and its children, in bytes. What they share is counted once: as that of the first.
pub fn rss(pid: u32) -> Result<u64> {
    let field = |pid: u32, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let whole = field(pid, "VmRSS:").context("the process has ended")?;
    let children = family(pid).into_iter().skip(1).filter_map(|child| field(child, "RssAnon:"));
    Ok((whole + children.sum::<u64>()) * 1024)
}

/// Processes that ran or waited lately: what else there is on the machine.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0)
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![pid] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children =
        pids.filter(|child| stat(*child).and_then(|fields| fields.get(1)?.parse().ok()) == Some(pid));
    std::iter::once(pid).chain(children).collect()
}

/// Fields of `/proc/PID/stat` after the name, which may hold spaces: state, parent, and on (proc(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory() {
        assert!(rss(std::process::id()).unwrap() > 1024 * 1024);
        assert!(rss(u32::MAX).is_err());
    }
}
