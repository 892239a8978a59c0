//! A process that was started earlier, perhaps by another command: found again by its recorded pid and start time.
//!
//! Pids are used again by the kernel. A record therefore holds when the process started (field 22 of
//! `/proc/<pid>/stat`, proc(5)), and a process is signalled only when both agree.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

const POLL: Duration = Duration::from_millis(20);
/// So long a killed process may take: with all its memory to give back, on a busy machine.
const GONE: Duration = Duration::from_mins(1);

/// What is recorded of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    started: u64,
}

/// What a process does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It was stopped by a signal and can go on.
    Frozen,
    /// It has ended.
    Dead,
}

impl Process {
    /// The process that has this pid now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).context("a pid fits 31 bits")?;
        let stat = Stat::read(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Self { pid, started: stat.started })
    }

    /// Reads a record; none when there is no record.
    pub(super) fn recorded(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub(super) fn record(self, path: &Path) -> Result<()> {
        let text = format!("{} {}\n", self.pid, self.started);
        fs::write(path, text).with_context(|| format!("record a pid in {}", path.display()))
    }

    pub(super) fn state(self) -> State {
        match Stat::read(self.pid) {
            Some(stat) if stat.started == self.started => match stat.state {
                'T' | 't' => State::Frozen,
                'Z' | 'X' => State::Dead,
                _ => State::Running,
            },
            _ => State::Dead,
        }
    }

    pub(super) fn alive(self) -> bool {
        self.state() != State::Dead
    }

    /// Sends a signal, if it is still this process. One that is gone is no error.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        if !self.alive() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("a recorded pid is positive")?;
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// Stops it where it is; returns when no thread of it runs any more.
    pub(super) fn freeze(self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.wait_state("stand still", || self.threads().iter().all(|state| matches!(state, 'T' | 't')))
    }

    /// Lets it go on; returns when it does.
    pub(super) fn thaw(self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.wait_state("go on", || self.state() != State::Frozen)
    }

    fn wait_state(self, what: &str, reached: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + GONE;
        // A signal is acted upon when the process next leaves the kernel, thread by thread.
        while !reached() {
            if Instant::now() >= deadline {
                bail!("process {} does not {what} after {} s", self.pid, GONE.as_secs());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The state of each of its threads.
    fn threads(self) -> Vec<char> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        let stats = tasks.filter_map(Result::ok).map(|task| fs::read_to_string(task.path().join("stat")));
        stats.filter_map(Result::ok).filter_map(|text| Some(Stat::parse(&text)?.state)).collect()
    }

    /// Asks it to end, makes it end after the patience, and waits until it is gone.
    pub(super) fn stop(self, patience: Duration) -> Result<()> {
        // A frozen process would not see the request.
        self.signal(Signal::CONT)?;
        self.signal(Signal::TERM)?;
        if !self.wait_gone(patience) {
            self.signal(Signal::KILL)?;
        }
        self.ensure_gone()
    }

    /// Ends it without asking and waits until it is gone.
    pub(super) fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ensure_gone()
    }

    /// Waits until nothing of the process is left; says so when something stays.
    pub(super) fn ensure_gone(self) -> Result<()> {
        if self.wait_gone(GONE) {
            return Ok(());
        }
        bail!("process {} was killed and is still there after {} s", self.pid, GONE.as_secs())
    }

    fn wait_gone(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if self.gone() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
    }

    /// Whether every thread of it has ended. That its first thread is a zombie is not enough: sockets stay open, and
    /// ports taken, until the last thread has let go of the process' files.
    fn gone(self) -> bool {
        let Some(stat) = Stat::read(self.pid) else { return true };
        if stat.started != self.started {
            return true;
        }
        if !matches!(stat.state, 'Z' | 'X') {
            return false;
        }
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        if threads > 1 {
            return false;
        }
        // Its parent reaps it. If that is this process, nobody else does.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        true
    }
}

struct Stat {
    state: char,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses and may hold anything, parentheses too.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        // The state is field 3, so what follows begins with field 4.
        let started = fields.nth(22 - 4)?.parse().ok()?;
        Some(Self { state, started })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_stat_line_with_a_strange_name() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) b (c) T {}", fields.join(" "))).unwrap();
        assert_eq!((stat.state, stat.started), ('T', 22));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "that killing it also waits for it is what is tested")]
    fn a_process_is_frozen_thawed_killed_and_gone() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let wait = |state| {
            let deadline = Instant::now() + Duration::from_mins(1);
            while process.state() != state {
                assert!(Instant::now() < deadline, "{:?} instead of {state:?}", process.state());
                thread::sleep(POLL);
            }
        };
        wait(State::Running);
        process.freeze().unwrap();
        assert_eq!(process.state(), State::Frozen);
        process.thaw().unwrap();
        assert_eq!(process.state(), State::Running);
        process.kill().unwrap();
        assert!(!process.alive());
        // Reaped: not even a zombie is left.
        assert!(!Path::new(&format!("/proc/{}", process.pid)).exists());
    }

    #[test]
    fn another_process_with_the_same_pid_is_left_alone() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let earlier = Process { started: process.started - 1, ..process };
        assert!(!earlier.alive());
        earlier.kill().unwrap();
        assert!(process.alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_record_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        assert_eq!(Process::recorded(&path), None);
        let process = Process::of(std::process::id()).unwrap();
        process.record(&path).unwrap();
        assert_eq!(Process::recorded(&path), Some(process));
    }
}
