//! A real one-node Kubernetes cluster, from the programs that [`crate::setup`] builds.
//!
//! Each part is a process of its own with a log and a recorded pid, so that a test can kill, freeze and restart it.
//! Everything of a cluster is below `target/cluster/<name>`, `/run/<name>-containerd` and its network namespace:
//! several clusters stand side by side, and taking one down leaves nothing.

mod cgroup;
mod command;
mod config;
mod containers;
mod layout;
mod part;
mod pki;
mod process;
mod ready;
mod supervise;
mod teardown;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::images::{self, Archive, Images};
use crate::lock::Lock;
use crate::{netns, program, setup};

use layout::Layout;
use process::Process;
use supervise::Supervisor;

pub use part::Part;
pub use process::State;
pub use ready::is_ready;

/// The name of a cluster when none is given.
pub const DEFAULT_NAME: &str = "shop0";
/// The name of every cluster's node.
pub const NODE: &str = "node-a";
/// The node is Ready within seconds; a machine that is busy with other things may need many times as long.
const NODE_READY: Duration = Duration::from_mins(4);

/// A cluster by its name, up or not.
#[derive(Debug, Clone)]
pub struct Cluster {
    layout: Layout,
}

/// What [`Cluster::up`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// Nothing: all parts ran and the node was Ready.
    Already,
    /// It started the whole cluster.
    Started,
    /// It started the parts that had ended.
    Repaired(Vec<Part>),
}

impl Cluster {
    /// The cluster of that name: letters, digits and dashes, at most 20.
    pub fn named(name: &str) -> Result<Self> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 20 || name.starts_with('-') || !name.bytes().all(valid) {
            bail!("`{name}` is no name for a cluster: use at most 20 of a-z, 0-9 and dashes");
        }
        if ["bin", "images", "locks"].contains(&name) {
            bail!("a cluster cannot be named `{name}`: it is the name of a folder beside the clusters");
        }
        Ok(Self { layout: Layout::new(name) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// The folder of everything it writes.
    pub fn state(&self) -> PathBuf {
        self.layout.state.clone()
    }

    /// The kubeconfig for use on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.state.join("kubeconfig")
    }

    /// The kubeconfig for use inside of the namespace.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The API server's audit log; rotated copies lie beside it.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// Where failed tests leave what they saw.
    pub fn dumps(&self) -> PathBuf {
        self.layout.dumps()
    }

    /// The log of a part.
    pub fn log(&self, part: Part) -> PathBuf {
        self.layout.log(part.name())
    }

    /// A client with all rights, to be used inside of the namespace.
    pub async fn client(&self) -> Result<kube::Client> {
        ready::client(&self.layout).await
    }

    /// Brings the cluster up: all of it, or the parts that have ended. Everything it needs is set up first.
    pub fn up(&self) -> Result<Up> {
        setup::ensure()?;
        let pause = images::pause()?;
        let _lock = self.lock()?;
        let missing: Vec<Part> =
            Part::ALL.into_iter().filter(|part| self.state_of(*part) != State::Running).collect();
        if missing.is_empty() && self.node_ready(Duration::from_secs(10)).is_ok() {
            return Ok(Up::Already);
        }
        let fresh = missing.len() == Part::ALL.len() || !netns::exists(self.name());
        if fresh {
            // Of a cluster without processes only remains are left.
            teardown::run(&self.layout).context("remove what an earlier cluster left")?;
        }
        self.start_all(&pause).with_context(|| {
            format!(
                "the cluster `{0}` is not up; `cargo cluster down --name {0}` removes what was started",
                self.name()
            )
        })?;
        Ok(if fresh { Up::Started } else { Up::Repaired(missing) })
    }

    /// Takes the cluster down; nothing is left of it, except dumps of failed tests. Says whether there was anything.
    pub fn down(&self) -> Result<bool> {
        let _lock = self.lock()?;
        let anything = !self.traces().is_empty() || self.layout.state.join("conf").exists();
        teardown::run(&self.layout)?;
        Ok(anything)
    }

    /// What there is of the cluster on this machine, one line each: processes, mounts, namespaces, files.
    pub fn traces(&self) -> Vec<String> {
        teardown::traces(&self.layout)
    }

    /// What a part does now.
    pub fn state_of(&self, part: Part) -> State {
        Process::recorded(&self.layout.pid(part.name())).map_or(State::Dead, Process::state)
    }

    /// The pid of a part, unless it has ended.
    pub fn pid(&self, part: Part) -> Option<i32> {
        let process = Process::recorded(&self.layout.pid(part.name()))?;
        process.alive().then_some(process.pid)
    }

    /// Ends the part and starts it again; returns when it answers.
    pub fn restart(&self, part: Part) -> Result<()> {
        let _lock = self.lock()?;
        self.require()?;
        if let Some(process) = Process::recorded(&self.layout.pid(part.name())) {
            process.stop(Duration::from_secs(10))?;
        }
        let supervisor = self.supervisor()?;
        supervisor.settle(supervisor.start(part)?)
    }

    /// Kills the part without warning; returns when it is gone. [`Self::restart`] brings it back.
    pub fn kill(&self, part: Part) -> Result<()> {
        self.process(part)?.kill()
    }

    /// Stops the part where it is: its connections stay open and nothing answers. [`Self::thaw`] lets it go on.
    pub fn freeze(&self, part: Part) -> Result<()> {
        self.process(part)?.freeze()
    }

    /// Lets a frozen part go on.
    pub fn thaw(&self, part: Part) -> Result<()> {
        self.process(part)?.thaw()
    }

    /// Imports images, unless the cluster has them. Says whether anything was imported.
    pub fn load(&self, archive: &Archive) -> Result<bool> {
        let _lock = self.lock()?;
        self.require()?;
        containers::load(&self.layout, archive)
    }

    /// Imports all images of the repository's programs.
    pub fn load_all(&self, images: &Images) -> Result<()> {
        for archive in &images.archives {
            if self.load(archive)? {
                eprintln!("cluster {}: loaded {}", self.name(), archive.path.display());
            }
        }
        Ok(())
    }

    /// Waits until the node is Ready.
    pub fn node_ready(&self, patience: Duration) -> Result<()> {
        netns::block_on(self.name(), || ready::wait_node(&self.layout, patience))?
    }

    fn lock(&self) -> Result<Lock> {
        Lock::acquire(&format!("cluster-{}", self.name()))
    }

    fn require(&self) -> Result<()> {
        if netns::exists(self.name()) {
            return Ok(());
        }
        bail!("the cluster `{0}` is not up; `cargo cluster up --name {0}` starts it", self.name())
    }

    fn process(&self, part: Part) -> Result<Process> {
        let process = Process::recorded(&self.layout.pid(part.name())).filter(|process| process.alive());
        process.with_context(|| format!("{part} does not run in the cluster `{}`", self.name()))
    }

    fn start_all(&self, pause: &Archive) -> Result<()> {
        let begin = Instant::now();
        for folder in ["conf", "log", "pids", "etcd", "kubelet", "containerd"] {
            let path = self.layout.state.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        netns::create(self.name())?;
        allow_watches()?;
        cgroup::create(self.name())?;
        pki::create(&self.layout.pki(), NODE)?;
        let supervisor = self.supervisor()?;
        config::write_all(&self.layout, supervisor.forward)?;
        fs::create_dir_all(self.layout.runtime()).context("create the runtime's folder")?;
        thread::scope(|scope| {
            let containers = scope.spawn(|| {
                supervisor.settle(supervisor.start(Part::Containerd)?)?;
                containers::load(&self.layout, pause)
            });
            let control = self.start_control_plane(&supervisor, begin);
            containers.join().map_err(|_| anyhow::anyhow!("starting containerd panicked"))??;
            control
        })?;
        let node = [Part::Kubelet, Part::Proxy, Part::Dns, Part::Forward].map(|part| supervisor.start(part));
        for started in node {
            supervisor.settle(started?)?;
        }
        self.node_ready(NODE_READY)?;
        self.say(begin, "node ready");
        supervisor.settle(supervisor.start(Part::Metrics)?)?;
        let objects = self.layout.conf("metrics.yaml");
        program::run(self.kubectl_inside().args(["apply", "--filename"]).arg(objects))?;
        self.say(begin, "up");
        Ok(())
    }

    fn start_control_plane(&self, supervisor: &Supervisor<'_>, begin: Instant) -> Result<()> {
        supervisor.settle(supervisor.start(Part::Etcd)?)?;
        supervisor.settle(supervisor.start(Part::ApiServer)?)?;
        self.say(begin, "API server ready");
        for started in [Part::ControllerManager, Part::Scheduler].map(|part| supervisor.start(part)) {
            supervisor.settle(started?)?;
        }
        Ok(())
    }

    fn kubectl_inside(&self) -> Command {
        let mut command = program::inside(self.name(), setup::bin().join("k8s"));
        command.arg("kubectl").arg("--kubeconfig").arg(self.admin_kubeconfig());
        command
    }

    fn say(&self, begin: Instant, what: &str) {
        eprintln!("cluster {}: {:>4.1} s  {what}", self.name(), begin.elapsed().as_secs_f64());
    }

    fn supervisor(&self) -> Result<Supervisor<'_>> {
        Ok(Supervisor { layout: &self.layout, forward: self.forward()? })
    }

    /// The host's address of the API server: any free port, the same for the cluster's whole life.
    fn forward(&self) -> Result<SocketAddr> {
        let path = self.layout.conf("forward");
        if let Ok(text) = fs::read_to_string(&path) {
            return text.trim().parse().with_context(|| format!("read {}", path.display()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let address = listener.local_addr().context("find a free port")?;
        fs::write(&path, format!("{address}\n")).with_context(|| format!("write {}", path.display()))?;
        Ok(address)
    }
}

/// Each pod's watches count against one limit of the machine, whose default is soon used up.
fn allow_watches() -> Result<()> {
    const FILE: &str = "/proc/sys/fs/inotify/max_user_instances";
    const NEEDED: u32 = 1024;
    let now: u32 = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(NEEDED);
    if now < NEEDED {
        fs::write(FILE, NEEDED.to_string()).with_context(|| format!("raise {FILE}"))?;
    }
    Ok(())
}
