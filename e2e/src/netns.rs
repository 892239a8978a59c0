//! The network namespace a cluster lives in.
//!
//! The node, its pods and its services exist only inside of the namespace. A test that wants to reach them moves its
//! threads into it: see [`runtime`] and [`block_on`].

use std::fs::{self, File};
use std::future::Future;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{panic, thread};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

use crate::program;

/// The node's address; the API server and the cluster's DNS answer there.
pub const NODE_ADDRESS: &str = "10.200.0.1";
/// The bridge that carries the node's address.
const BRIDGE: &str = "node0";

/// The file that holds the namespace of a cluster.
pub fn path(cluster: &str) -> PathBuf {
    Path::new("/run/netns").join(cluster)
}

/// Whether the namespace is there: the file alone says nothing, a namespace must be mounted on it.
pub fn exists(cluster: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path(cluster);
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|target| Path::new(target) == path)
}

/// Creates the namespace with the node's address and routes. One that is there already is completed.
pub fn create(cluster: &str) -> Result<()> {
    if !exists(cluster) {
        let path = path(cluster);
        fs::create_dir_all("/run/netns").context("create /run/netns")?;
        File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut net = std::ffi::OsString::from("--net=");
        net.push(&path);
        program::run(Command::new("unshare").arg(net).arg("true"))?;
    }
    let script = format!(
        "set -e
         ip link set lo up
         if ! ip link show {BRIDGE} >/dev/null 2>&1; then ip link add {BRIDGE} type bridge; fi
         ip addr replace {NODE_ADDRESS}/24 dev {BRIDGE}
         ip link set {BRIDGE} up
         ip route replace 10.96.0.0/16 dev {BRIDGE}
         ip route replace default dev {BRIDGE}
         echo 1 > /proc/sys/net/ipv4/ip_forward
         # Without it a pod that calls a service and lands on a pod of the same bridge gets answers from a stranger.
         bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
         [ -e $bridged ] || modprobe br_netfilter || true
         if [ -e $bridged ]; then echo 1 > $bridged; fi"
    );
    program::run(program::inside(cluster, "sh").args(["-c", &script]))
        .context("set up the node's network")?;
    Ok(())
}

/// Removes the namespace; one that is not there is no error.
pub fn remove(cluster: &str) -> Result<()> {
    let path = path(cluster);
    while exists(cluster) {
        unmount(&path, UnmountFlags::DETACH).with_context(|| format!("unmount {}", path.display()))?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Moves the calling thread, and no other, into the namespace of the cluster.
///
/// There is no way back: call it on a thread that was made for it.
pub fn enter(cluster: &str) -> Result<()> {
    enter_file(&open(cluster)?).with_context(|| format!("enter the namespace of `{cluster}` (are you root?)"))
}

fn open(cluster: &str) -> Result<File> {
    let path = path(cluster);
    if !exists(cluster) {
        bail!("there is no network namespace {}: is the cluster up?", path.display());
    }
    File::open(&path).with_context(|| format!("open {}", path.display()))
}

fn enter_file(namespace: &File) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// Runs a closure on a fresh thread inside of the namespace. A panic in it goes on in the caller.
pub fn within<T: Send>(cluster: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(|| enter(cluster).map(|()| work()));
        thread.join()
    });
    outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// A runtime whose worker threads are inside of the namespace of the cluster. What is blocked on belongs to the
/// calling thread: use [`block_on`], or spawn.
///
/// # Panics
/// In a worker thread that cannot enter the namespace, which the calling thread just could.
pub fn runtime(cluster: &str) -> Result<Runtime> {
    // Tried first where an error can be told: a worker that could not enter must not run outside.
    within(cluster, || ())?;
    // Held open, so that a thread started late enters the same namespace, whatever became of its name.
    let namespace = open(cluster)?;
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || enter_file(&namespace).expect("the namespace could be entered a moment ago"))
        .build()
        .context("start the runtime")
}

/// Runs a future to its end inside of the namespace, it and whatever it spawns.
pub fn block_on<T, F>(cluster: &str, work: impl FnOnce() -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = T>,
{
    let runtime = runtime(cluster)?;
    let result = within(cluster, || runtime.block_on(work()));
    // Whatever was spawned and still runs is not waited for.
    runtime.shutdown_background();
    result
}
