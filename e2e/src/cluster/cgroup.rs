//! The cgroups below which the kubelet puts the pods: one subtree per cluster, in both versions of the interface.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MOUNT: &str = "/sys/fs/cgroup";
const CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// Whether the machine has the unified hierarchy only.
pub(super) fn unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The cgroup of the cluster, as the kubelet wants it: from the root of the hierarchy.
pub(super) fn path(cluster: &str) -> String {
    if unified() {
        // Only the root may have both processes and children that control resources.
        return format!("/{cluster}");
    }
    // With version 1 the memory limit that this process lives under must hold for the pods too.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let memory = own.lines().filter_map(|line| line.split_once(":memory:")).map(|(_, path)| path).next();
    format!("{}/{cluster}", memory.unwrap_or_default().trim_end_matches('/'))
}

/// Makes the cluster's cgroup in every hierarchy.
pub(super) fn create(cluster: &str) -> Result<()> {
    if unified() {
        return create_unified(cluster);
    }
    for hierarchy in hierarchies().iter().filter(|path| !is_hybrid(path)) {
        let folder = below(hierarchy, cluster);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fill_cpuset(cluster)
}

/// Removes the cluster's cgroups. What still holds processes stays, and is named.
pub(super) fn remove(cluster: &str) -> Vec<PathBuf> {
    hierarchies()
        .iter()
        .map(|hierarchy| below(hierarchy, cluster))
        .filter(|folder| !remove_tree(folder))
        .collect()
}

/// The processes that are in the cluster's cgroups: those of containers.
pub(super) fn processes(cluster: &str) -> Vec<u32> {
    let mut pids: Vec<u32> = Vec::new();
    for hierarchy in hierarchies() {
        collect(&below(&hierarchy, cluster), &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn collect(folder: &Path, pids: &mut Vec<u32>) {
    let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    for child in children(folder) {
        collect(&child, pids);
    }
}

fn remove_tree(folder: &Path) -> bool {
    // Kernel files inside are not deleted one by one: only folders are, deepest first.
    let below = children(folder).iter().all(|child| remove_tree(child));
    below && (!folder.exists() || fs::remove_dir(folder).is_ok())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn hierarchies() -> Vec<PathBuf> {
    if unified() {
        return vec![PathBuf::from(MOUNT)];
    }
    let all = children(Path::new(MOUNT));
    // Links such as `cpu` to `cpu,cpuacct` name a hierarchy twice.
    all.into_iter().filter(|path| !path.is_symlink()).collect()
}

/// Beside version 1 there may be an empty hierarchy of version 2. runc makes a folder there by itself.
fn is_hybrid(hierarchy: &Path) -> bool {
    hierarchy.ends_with("unified")
}

fn below(hierarchy: &Path, cluster: &str) -> PathBuf {
    hierarchy.join(path(cluster).trim_start_matches('/'))
}

/// A cpuset of version 1 begins empty and refuses processes until it is filled, from the top down.
fn fill_cpuset(cluster: &str) -> Result<()> {
    let root = Path::new(MOUNT).join("cpuset");
    if !root.exists() {
        return Ok(());
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut folder = root.clone();
        let value = fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        for name in path(cluster).trim_start_matches('/').split('/') {
            folder.push(name);
            let own = folder.join(file);
            if fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty()) {
                fs::write(&own, &value).with_context(|| format!("fill {}", own.display()))?;
            }
        }
    }
    Ok(())
}

fn create_unified(cluster: &str) -> Result<()> {
    let root = Path::new(MOUNT);
    let enable = || -> std::io::Result<()> {
        for folder in [root.to_path_buf(), root.join(cluster)] {
            fs::create_dir_all(&folder)?;
            let wanted: Vec<String> = CONTROLLERS.iter().map(|name| format!("+{name}")).collect();
            fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))?;
        }
        Ok(())
    };
    if enable().is_ok() {
        return Ok(());
    }
    // In a container the root is a cgroup like others and must be without processes before it can hand out control.
    let own = root.join("init");
    fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
    let procs =
        fs::read_to_string(root.join("cgroup.procs")).context("read the processes of the root cgroup")?;
    for pid in procs.lines() {
        // Kernel threads cannot be moved and processes end meanwhile.
        let _ = fs::write(own.join("cgroup.procs"), pid);
    }
    enable().context("hand out the cpu, cpuset, memory and pids controllers of the root cgroup")
}
