//! The programs of the cluster: built from the Go module once, and again when something they are made of changes.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{bin, machine};
use crate::{program, workspace};

/// The Kubernetes of the cluster, as `go.mod` pins it.
pub const KUBERNETES_VERSION: &str = "1.36.3";
/// The Go that the module needs at least.
const GO_VERSION: (u32, u32) = (1, 26);
const TAGS: &str = "selinux,notest,grpcnotrace";
/// What is built by `go install . tool`, under the name it is installed with; `cluster` is the module itself.
const PROGRAMS: &[&str] = &["cluster", "helm", "coredns", "metrics-server", "kubeconform", "kwok"];
/// What goes into the stamp: whatever changes what is built.
const SOURCES: &[&str] = &["go.mod", "go.sum", "main.go", "forward.go", "interop.go", "pause.c"];
/// A full build takes minutes: so often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(15);

/// Builds the programs if they are not there as the module has them now.
pub(super) fn ensure() -> Result<()> {
    let go = check_go()?;
    let stamp = stamp(&go)?;
    let stamp_file = bin().join("stamp");
    let complete = PROGRAMS.iter().chain(&["pause"]).all(|name| bin().join(installed(name)).is_file());
    if complete && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    machine::check_room(&workspace::state(), 6, "building Kubernetes")?;
    fs::create_dir_all(bin()).context("create the folder for programs")?;
    let _ = fs::remove_file(&stamp_file);
    let begin = Instant::now();
    eprintln!(
        "setup: building Kubernetes {KUBERNETES_VERSION} and its tools with Go (about 5 minutes on 2 cores)"
    );
    download()?;
    build(begin)?;
    build_pause()?;
    fs::write(&stamp_file, stamp).context("write the stamp of the programs")?;
    eprintln!("setup: built in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// The version of a module that `go.mod` requires, without its `v`.
pub fn pinned_version(go_mod: &str, module: &str) -> Option<String> {
    let mut lines = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    lines.find_map(|line| {
        let version = line.strip_prefix(module)?.strip_prefix(" v")?;
        version.split_whitespace().next().map(str::to_owned)
    })
}

/// The module itself is installed under the name that says what is in it.
fn installed(name: &str) -> &str {
    if name == "cluster" { "k8s" } else { name }
}

fn check_go() -> Result<String> {
    let advice = format!(
        "building the cluster needs Go {}.{} or newer in PATH: get it at https://go.dev/dl/ and unpack it to /usr/local/go",
        GO_VERSION.0, GO_VERSION.1
    );
    let output =
        Command::new("go").args(["env", "GOVERSION"]).current_dir(workspace::cluster_module()).output();
    let Ok(output) = output else { bail!("{advice}") };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match parse_go(&version) {
        Some(found) if found >= GO_VERSION => Ok(version),
        _ => bail!("{advice} (found `{version}`)"),
    }
}

fn parse_go(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

fn stamp(go: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for name in SOURCES {
        let path = workspace::cluster_module().join(name);
        hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    hash.update(linker_flags());
    hash.update(TAGS);
    hash.update(go);
    Ok(format!("{:x}\n", hash.finalize()))
}

/// Stamps the version into the programs: without it `/version` tells nothing and clients warn.
fn linker_flags() -> String {
    let mut version = KUBERNETES_VERSION.split('.');
    let (major, minor) = (version.next().unwrap_or_default(), version.next().unwrap_or_default());
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (variable, value) in [
            ("gitVersion", format!("v{KUBERNETES_VERSION}").as_str()),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitCommit", "0000000000000000000000000000000000000000"),
            ("gitTreeState", "clean"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            // A string takes whatever is written.
            let _ = write!(flags, " -X {package}.{variable}={value}");
        }
    }
    flags
}

fn go(arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(workspace::cluster_module());
    command.env("GOBIN", bin()).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
    command
}

/// Where the source of a pinned module is.
pub fn module_source(module: &str) -> Result<PathBuf> {
    let folder = program::run(&mut go(&["list", "-m", "-f", "{{.Dir}}", module]))?;
    Ok(PathBuf::from(folder.trim()))
}

fn download() -> Result<()> {
    let mut last = None;
    for attempt in 1..=3 {
        match program::run(&mut go(&["mod", "download"])) {
            Ok(_) => return Ok(()),
            Err(error) => {
                eprintln!("setup: downloading the Go modules failed (attempt {attempt} of 3)");
                last = Some(error);
            }
        }
    }
    Err(last.context("the download was tried")?).context("download the Go modules")
}

fn build(begin: Instant) -> Result<()> {
    let log = workspace::state().join("build.log");
    let flags = linker_flags();
    let mut command =
        go(&["install", "-v", "-p", "2", "-trimpath", "-tags", TAGS, "-ldflags", &flags, ".", "tool"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the Go build")?;
    // `-v` names each package as its build begins.
    let packages = AtomicUsize::new(0);
    let stderr = child.stderr.take().context("the build's output is piped")?;
    let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let status = thread::scope(|scope| {
        scope.spawn(|| count_packages(BufReader::new(stderr), file, &packages));
        watch(&mut child, begin, &packages)
    })?;
    if !status.success() {
        let text = fs::read_to_string(&log).unwrap_or_default();
        bail!("the Go build ended with {status}; the end of {}:\n{}", log.display(), program::tail(&text));
    }
    fs::rename(bin().join("cluster"), bin().join(installed("cluster"))).context("name the cluster's program")
}

fn count_packages(output: impl std::io::BufRead, mut log: File, packages: &AtomicUsize) {
    use std::io::Write as _;
    for line in output.lines().map_while(Result::ok) {
        packages.fetch_add(1, Ordering::Relaxed);
        // The log is for a person; a full disk is told by the build itself.
        let _ = writeln!(log, "{line}");
    }
}

fn watch(child: &mut Child, begin: Instant, packages: &AtomicUsize) -> Result<std::process::ExitStatus> {
    let mut told = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for the Go build")? {
            return Ok(status);
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let packages = packages.load(Ordering::Relaxed);
            eprintln!("setup: {:>4} s, {packages} packages built", begin.elapsed().as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn build_pause() -> Result<()> {
    let source = workspace::cluster_module().join("pause.c");
    let mut command = Command::new("cc");
    command.args(["-static", "-Os", "-s", "-o"]).arg(bin().join("pause")).arg::<&Path>(&source);
    program::run(&mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions() {
        assert_eq!(parse_go("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go("devel"), None);
    }

    #[test]
    fn pins_are_read_from_go_mod() {
        let text =
            "go 1.26.4\nrequire (\n\tk8s.io/kubernetes v1.36.3\n\tk8s.io/kubectl v0.36.2 // indirect\n)\n";
        assert_eq!(pinned_version(text, "k8s.io/kubernetes").as_deref(), Some("1.36.3"));
        assert_eq!(pinned_version(text, "k8s.io/kubectl").as_deref(), Some("0.36.2"));
        assert_eq!(pinned_version(text, "k8s.io/kube"), None);
    }
}
