//! Starting a part so that it stays: free ports first, then the process, then its answer.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::part::Part;
use super::process::Process;
use super::{command, ready};
use crate::{netns, program};

const POLL: Duration = Duration::from_millis(25);
/// A part is up in seconds; a machine that is busy with other things may need many times as long.
const START: Duration = Duration::from_mins(3);
/// A killed process has let go of its ports when it is gone; whatever else holds one is not waited for much longer.
const PORTS: Duration = Duration::from_secs(30);
/// How often a part that found its address in use is started, and in which time.
const STARTS: u32 = 5;
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// What Go programs say when they cannot listen.
const IN_USE: &str = "address already in use";

/// A part that was started, or found running, and may not answer yet.
pub(super) struct Started {
    part: Part,
    process: Process,
    /// Where in its log this run begins.
    log_from: u64,
    began: Instant,
    starts: u32,
}

/// Starts the parts of one cluster.
pub(super) struct Supervisor<'a> {
    pub(super) layout: &'a Layout,
    pub(super) forward: SocketAddr,
}

impl Supervisor<'_> {
    /// The recorded process of the part, if it has not ended.
    pub(super) fn running(&self, part: Part) -> Option<Process> {
        Process::recorded(&self.layout.pid(part.name())).filter(|process| process.alive())
    }

    /// Starts the part unless it runs. It answers after [`Self::settle`].
    pub(super) fn start(&self, part: Part) -> Result<Started> {
        let log_from = fs::metadata(self.layout.log(part.name())).map_or(0, |log| log.len());
        let began = Instant::now();
        let process = match self.running(part) {
            Some(process) => {
                process.thaw()?;
                process
            }
            None => self.spawn(part)?,
        };
        Ok(Started { part, process, log_from, began, starts: 1 })
    }

    /// Waits until the part answers. One that ended because its address was in use is started again.
    pub(super) fn settle(&self, mut started: Started) -> Result<()> {
        let part = started.part;
        loop {
            let Err(error) = self.wait_ready(&started) else { return Ok(()) };
            let log = self.log_since(part, started.log_from);
            let again = !started.process.alive()
                && log.contains(IN_USE)
                && started.starts < STARTS
                && started.began.elapsed() < STARTS_WITHIN;
            if !again {
                let path = self.layout.log(part.name());
                bail!("{error:#}; the end of {}:\n{}", path.display(), program::tail(&log));
            }
            eprintln!("{part} found its address in use and is started again");
            started.log_from += log.len() as u64;
            started.starts += 1;
            started.process = self.spawn(part)?;
        }
    }

    fn spawn(&self, part: Part) -> Result<Process> {
        // A process that was killed may still be going away.
        if let Some(old) = Process::recorded(&self.layout.pid(part.name())) {
            old.ensure_gone().with_context(|| format!("wait for the old {part}"))?;
        }
        self.wait_ports(part)?;
        let process = match part {
            // The host reaches the cluster through it: it listens outside of the namespace.
            Part::Forward => self.spawn_here(part),
            _ => netns::within(&self.layout.name, || self.spawn_here(part))?,
        }?;
        process.record(&self.layout.pid(part.name()))?;
        Ok(process)
    }

    fn spawn_here(&self, part: Part) -> Result<Process> {
        let path = self.layout.log(part.name());
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        let (program, arguments) = command::of(part, self.layout, self.forward);
        // A session of its own: the part outlives the command and its terminal. `setsid` becomes the program.
        let mut command = Command::new("setsid");
        command.arg(program).args(arguments).current_dir(&self.layout.state);
        command.env_clear().env("HOME", "/root");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let stderr = log.try_clone().context("use the log twice")?;
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        let child = command.spawn().with_context(|| format!("start {part}"))?;
        Process::of(child.id()).with_context(|| format!("start {part}"))
    }

    /// Waits until everything the part listens on can be listened on, in the way that Go does it (with `SO_REUSEADDR`,
    /// so that connections that linger do not count).
    fn wait_ports(&self, part: Part) -> Result<()> {
        let addresses = part.listens(self.forward);
        let wait = || {
            let deadline = Instant::now() + PORTS;
            loop {
                let taken = addresses.iter().find(|address| TcpListener::bind(address).is_err());
                match taken {
                    None => return Ok(()),
                    Some(address) if Instant::now() >= deadline => {
                        bail!("{part} needs {address}, which another process listens on")
                    }
                    Some(_) => thread::sleep(POLL),
                }
            }
        };
        match part {
            Part::Forward => wait(),
            _ => netns::within(&self.layout.name, wait)?,
        }
    }

    fn wait_ready(&self, started: &Started) -> Result<()> {
        let (part, process) = (started.part, started.process);
        let wait = || {
            let deadline = Instant::now() + START;
            loop {
                // Looked at first: another process might answer in place of one that has ended.
                if !process.alive() {
                    bail!("{part} (process {}) has ended", process.pid);
                }
                if ready::answers(part, self.layout, self.forward) && process.alive() {
                    return Ok(());
                }
                if Instant::now() >= deadline {
                    bail!("{part} does not answer after {} s", START.as_secs());
                }
                thread::sleep(POLL);
            }
        };
        match part {
            Part::Forward => wait(),
            _ => netns::within(&self.layout.name, wait)?,
        }
    }

    fn log_since(&self, part: Part, from: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.layout.log(part.name())) {
            // What cannot be read is missing from an error message, no more.
            let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
