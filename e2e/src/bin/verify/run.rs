//! Running the commands of a stage: shown while they run, kept in a log, and ended when they hang.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use shop_e2e::cluster::{Cluster, DEFAULT_NAME};
use shop_e2e::{images, workspace};

use crate::libtest::Report;
use crate::stages::{LIMIT, Stage};
use crate::summary::{Outcome, Summary};

/// With more failures than this in a stage something is broken, and no second try would help.
const RETRY_LIMIT: usize = 4;
/// So often a stage that prints nothing says that it goes on.
const PROGRESS: Duration = Duration::from_secs(30);

/// Prints the heading of a stage.
pub(crate) fn announce(what: &str) {
    println!("\n=== {what}");
}

/// A stage of commands that pass or fail.
pub(crate) fn commands(stage: &Stage, commands: &[&[&str]], summary: &mut Summary) {
    let begin = Instant::now();
    let mut outcome = Outcome::passed();
    for (index, arguments) in commands.iter().enumerate() {
        announce(&format!("{}: cargo {}", stage.name, arguments.join(" ")));
        if let Err(error) = cargo(&format!("{}-{}", stage.name, index + 1), arguments).and_then(Ran::success)
        {
            outcome = Outcome::failed(format!("{error:#}"));
        }
    }
    summary.add(stage.name, outcome.after(begin.elapsed()));
}

/// A stage of tests. They run without a cluster and are never tried again.
pub(crate) fn tests(stage: &Stage, commands: &[&[&str]], summary: &mut Summary) {
    let begin = Instant::now();
    let mut outcome = Outcome::passed();
    let mut report = Report::default();
    for (index, arguments) in commands.iter().enumerate() {
        announce(&format!("{}: cargo {}", stage.name, arguments.join(" ")));
        let ran = cargo(&format!("{}-{}", stage.name, index + 1), arguments).and_then(|ran| {
            report.add(Report::parse(&ran.output));
            ran.success()
        });
        if let Err(error) = ran {
            outcome = Outcome::failed(format!("{error:#}"));
        }
    }
    summary.add(stage.name, outcome.with_tests(report).after(begin.elapsed()));
}

/// A stage of cluster tests: each that fails is run once more by itself.
pub(crate) fn cluster_tests(stage: &Stage, threads: &str, summary: &mut Summary) {
    let begin = Instant::now();
    let threads = format!("--test-threads={threads}");
    let program = ["test", "--test", stage.name, "--"];
    announce(&format!("{}: cargo {} {threads}", stage.name, program.join(" ")));
    let (mut report, mut outcome) = match cargo(stage.name, &[&program[..], &[&threads]].concat()) {
        Ok(ran) => {
            let report = Report::parse(&ran.output);
            // A program that crashed has failed without a test that has.
            let failed = ran.success().is_err() && report.failures.is_empty();
            (report, if failed { Outcome::failed("the test program ended early") } else { Outcome::passed() })
        }
        Err(error) => (Report::default(), Outcome::failed(format!("{error:#}"))),
    };
    if report.failures.len() <= RETRY_LIMIT {
        let first = std::mem::take(&mut report.failures);
        for test in first {
            announce(&format!("{}: {test} failed and is run once more", stage.name));
            keep_dump(&test);
            let name = format!("{}.{}.again", stage.name, test.replace("::", "."));
            let again = cargo(&name, &[&program[..], &["--exact", &test, "--test-threads=1"]].concat());
            let passed = again
                .as_ref()
                .is_ok_and(|ran| ran.status.success() && Report::parse(&ran.output).passed == 1);
            if passed {
                report.failed = report.failed.saturating_sub(1);
                report.passed += 1;
                summary.add_flaky(format!("{}::{test}", stage.name));
            } else {
                report.failures.push(test);
            }
        }
    }
    if !report.failures.is_empty() {
        outcome = Outcome::failed(format!("{} of its tests failed", report.failures.len()));
    }
    summary.add(stage.name, outcome.with_tests(report).after(begin.elapsed()));
}

/// The second try would write over the dump of the first.
fn keep_dump(test: &str) {
    let Ok(cluster) = Cluster::named(DEFAULT_NAME) else { return };
    let short = test.rsplit("::").next().unwrap_or(test);
    let dump = cluster.dumps().join(short);
    let kept = cluster.dumps().join(format!("{short}.first"));
    let _ = fs::remove_dir_all(&kept);
    // There is none if the test failed before it began.
    let _ = fs::rename(dump, kept);
}

/// A command that has ended.
struct Ran {
    status: ExitStatus,
    output: String,
    log: PathBuf,
}

impl Ran {
    fn success(self) -> Result<()> {
        if self.status.success() {
            return Ok(());
        }
        bail!("{}, see {}", self.status, self.log.display())
    }
}

/// Runs cargo; what it prints is shown, without the lines of tests that pass, and written to a log.
fn cargo(name: &str, arguments: &[&str]) -> Result<Ran> {
    let folder = workspace::target().join("verify");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let log = folder.join(format!("{name}.log"));
    let mut command: Command = images::cargo();
    // A group of its own, so that a hanging test program is ended with its cargo.
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start cargo")?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let stderr = child.stderr.take().context("its errors are piped")?;
    let seen = Mutex::new(Seen::new(File::create(&log).context("create a log")?));
    let status = thread::scope(|scope| {
        scope.spawn(|| show(stdout, &seen));
        scope.spawn(|| show(stderr, &seen));
        wait(&mut child, &seen)
    })?;
    let output = seen.into_inner().map(|seen| seen.text).unwrap_or_default();
    Ok(Ran { status, output, log })
}

/// What a command has printed so far.
struct Seen {
    text: String,
    log: File,
    shown: Instant,
    passed: usize,
}

impl Seen {
    fn new(log: File) -> Self {
        Self { text: String::new(), log, shown: Instant::now(), passed: 0 }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        // The log is for a person afterwards; a full disk fails the command itself.
        let _ = writeln!(self.log, "{line}");
        if line.starts_with("test ") && line.ends_with(" ... ok") {
            self.passed += 1;
        } else {
            println!("{line}");
            self.shown = Instant::now();
        }
    }

    fn progress(&mut self, begin: Instant) {
        if self.shown.elapsed() >= PROGRESS {
            println!("    … {} s, {} tests passed", begin.elapsed().as_secs(), self.passed);
            self.shown = Instant::now();
        }
    }
}

fn show(output: impl Read, seen: &Mutex<Seen>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Ok(mut seen) = seen.lock() {
            seen.line(line.trim_end_matches('\r'));
        }
    }
}

fn wait(child: &mut Child, seen: &Mutex<Seen>) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for cargo")? {
            return Ok(status);
        }
        if begin.elapsed() >= LIMIT
            && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            println!("    … ended after {} s without an end", LIMIT.as_secs());
            // What is gone by now need not be ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Ok(mut seen) = seen.lock() {
            seen.progress(begin);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
