//! Taking a cluster down so that nothing of it is left, whatever state it was in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use super::layout::Layout;
use super::part::Part;
use super::process::Process;
use super::{cgroup, config, containers};
use crate::netns;

/// So long a part may take to end by itself. Nothing of it is kept, so there is little to wait for.
const PATIENCE: Duration = Duration::from_secs(3);
const LEFT_OVERS: Duration = Duration::from_mins(1);

/// Stops every process, then removes mounts, namespaces, cgroups and files.
pub(super) fn run(layout: &Layout) -> Result<()> {
    // First what would start something new, last what others need to end well.
    stop(layout, &[Part::Kubelet, Part::Proxy, Part::Metrics, Part::Dns, Part::Forward])?;
    stop(layout, &[Part::ControllerManager, Part::Scheduler])?;
    if layout.socket().exists() && recorded(layout, Part::Containerd).is_some() {
        containers::end_all(layout);
    }
    stop(layout, &[Part::Containerd, Part::ApiServer])?;
    stop(layout, &[Part::Etcd])?;
    end_left_overs(layout)?;
    remove_shim_sockets(layout);
    unmount_all(layout)?;
    netns::remove(&layout.name)?;
    remove_host_files(layout);
    let busy = remove_cgroups(layout);
    remove_files(layout)?;
    if let Some(path) = busy.first() {
        bail!("the cgroup {} could not be removed", path.display());
    }
    Ok(())
}

/// What is left of a cluster on the machine, one line each; empty after a complete [`run`].
pub(super) fn traces(layout: &Layout) -> Vec<String> {
    let mut traces: Vec<String> = Vec::new();
    for part in Part::ALL {
        traces.extend(recorded(layout, part).map(|process| format!("process {} ({part})", process.pid)));
    }
    traces.extend(cgroup::processes(&layout.name).iter().map(|pid| format!("process {pid} in its cgroup")));
    traces.extend(mounts(layout).iter().map(|path| format!("mount {}", path.display())));
    let files = [layout.runtime(), netns::path(&layout.name)];
    traces.extend(files.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
    traces.extend(host_files(layout).iter().map(|path| path.display().to_string()));
    traces
}

fn recorded(layout: &Layout, part: Part) -> Option<Process> {
    Process::recorded(&layout.pid(part.name())).filter(|process| process.alive())
}

/// Stops parts beside each other: each may take its patience.
fn stop(layout: &Layout, parts: &[Part]) -> Result<()> {
    thread::scope(|scope| {
        let stops: Vec<_> = parts
            .iter()
            .filter_map(|part| Process::recorded(&layout.pid(part.name())).map(|process| (part, process)))
            .map(|(part, process)| (part, scope.spawn(move || process.stop(PATIENCE))))
            .collect();
        for (part, stop) in stops {
            stop.join().map_err(|_| anyhow::anyhow!("stopping {part} panicked"))??;
            let _ = fs::remove_file(layout.pid(part.name()));
        }
        Ok(())
    })
}

/// Ends what nobody recorded: containers whose runtime is gone, shims, and what a half-started cluster left. They are
/// known by where they are: in the cluster's cgroups or in its network namespace, where nothing else belongs.
fn end_left_overs(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + LEFT_OVERS;
    loop {
        let pids: Vec<u32> = left_overs(layout);
        let Some(first) = pids.first() else { return Ok(()) };
        if Instant::now() >= deadline {
            bail!("process {first} belongs to the cluster and does not end");
        }
        for pid in &pids {
            if let Ok(process) = Process::of(*pid) {
                // Between finding and signalling it may have ended: the start time tells.
                process.signal(rustix::process::Signal::KILL)?;
            }
        }
        thread::sleep(Duration::from_millis(30));
    }
}

fn left_overs(layout: &Layout) -> Vec<u32> {
    let own = std::process::id();
    let mut pids = cgroup::processes(&layout.name);
    if netns::exists(&layout.name)
        && let Ok(namespace) = fs::metadata(netns::path(&layout.name))
    {
        let inside = |pid: &u32| {
            let network = fs::metadata(format!("/proc/{pid}/ns/net"));
            network.is_ok_and(|network| network.ino() == namespace.ino() && network.dev() == namespace.dev())
        };
        pids.extend(all_pids().into_iter().filter(inside));
    }
    pids.retain(|pid| *pid != own && Process::of(*pid).is_ok_and(Process::alive));
    pids
}

fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Shims that were killed leave their sockets in a folder that all of containerd shares; each bundle names its own.
fn remove_shim_sockets(layout: &Layout) {
    let bundles = layout.runtime().join("io.containerd.runtime.v2.task/k8s.io");
    let Ok(entries) = fs::read_dir(bundles) else { return };
    for bundle in entries.filter_map(Result::ok) {
        let address = fs::read_to_string(bundle.path().join("address")).unwrap_or_default();
        if let Some(path) = address.trim().strip_prefix("unix://") {
            let _ = fs::remove_file(path);
        }
    }
}

fn mounts(layout: &Layout) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|path| path.starts_with(&layout.state) || path.starts_with(layout.runtime())).collect()
}

fn unmount_all(layout: &Layout) -> Result<()> {
    // The last mounted first: mounts lie on mounts.
    for path in mounts(layout).iter().rev() {
        unmount(path, UnmountFlags::DETACH).with_context(|| format!("unmount {}", path.display()))?;
    }
    Ok(())
}

/// What parts write to fixed places of the machine, named so that it can be told whose it is.
fn host_files(layout: &Layout) -> Vec<PathBuf> {
    let list = |folder: &str| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
    };
    let links = list("/var/log/containers").into_iter();
    let links =
        links.filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with(&layout.state)));
    let results = list("/var/lib/cni/results");
    let network = config::network_name(&layout.name);
    let mut ids: BTreeSet<String> = results.iter().filter_map(|path| sandbox_of(&network, path)).collect();
    // A pod that was about to start has no address yet, but a loopback.
    let sandboxes = layout.runtime().join("io.containerd.grpc.v1.cri/sandboxes");
    let sandboxes = list(&sandboxes.display().to_string());
    ids.extend(sandboxes.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
    let ours = |path: &PathBuf| {
        let loopback = sandbox_of("cni-loopback", path).is_some_and(|id| ids.contains(&id));
        loopback || sandbox_of(&network, path).is_some()
    };
    links.chain(results.iter().filter(|path| ours(path)).cloned()).collect()
}

/// The sandbox that a remembered address is for: `<network>-<id of 64 digits>-<interface>`. Another network's name may
/// begin like this one's.
fn sandbox_of(network: &str, path: &Path) -> Option<String> {
    let rest = path.file_name()?.to_str()?.strip_prefix(network)?.strip_prefix('-')?;
    let id = rest.split('-').next()?;
    let whole = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| id.to_owned())
}

fn remove_host_files(layout: &Layout) {
    for path in host_files(layout) {
        let _ = fs::remove_file(path);
    }
}

/// The kernel lets go of a cgroup a moment after its last process.
fn remove_cgroups(layout: &Layout) -> Vec<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let busy = cgroup::remove(&layout.name);
        if busy.is_empty() || Instant::now() >= deadline {
            return busy;
        }
        thread::sleep(Duration::from_millis(30));
    }
}

/// Removes the state, except what failed tests left to be read.
fn remove_files(layout: &Layout) -> Result<()> {
    remove_tree(&layout.runtime())?;
    let Ok(entries) = fs::read_dir(&layout.state) else { return Ok(()) };
    for entry in entries.filter_map(Result::ok) {
        if entry.path() != layout.dumps() {
            remove_tree(&entry.path())?;
        }
    }
    // Only an empty folder can be removed in this way: one with dumps stays.
    let _ = fs::remove_dir(&layout.state);
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clusters_files_are_left_alone() {
        let id = "0".repeat(64);
        let path = |network: &str| PathBuf::from(format!("/var/lib/cni/results/{network}-{id}-eth0"));
        assert_eq!(sandbox_of("cluster-a", &path("cluster-a")), Some(id.clone()));
        assert_eq!(sandbox_of("cluster-a", &path("cluster-a-b")), None);
        assert_eq!(sandbox_of("cluster-a", &path("cluster-ab")), None);
    }
}
