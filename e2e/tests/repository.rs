//! Rules of this repository that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use shop_e2e::setup::{KUBERNETES_VERSION, pinned_version};
use shop_e2e::{program, workspace};

const MAX_LINES: usize = 500;
/// The folders of the repository; new code belongs into one of them.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "charts",
    "crds",
    "e2e",
    "operator",
    "services",
    "sidecar",
];

/// Every file that is in the repository or would be with the next commit.
fn files() -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = program::run(command.current_dir(workspace::root()))?;
    // A file that was removed is listed until the commit.
    let exists = |path: &&str| !path.is_empty() && workspace::root().join(path).exists();
    Ok(listed.split('\0').filter(exists).map(str::to_owned).collect())
}

fn rust_files() -> Result<Vec<(String, String)>> {
    let files =
        files()?.into_iter().filter(|path| Path::new(path).extension().is_some_and(|kind| kind == "rs"));
    let files: Vec<_> = files.map(|path| read(&path).map(|text| (path, text))).collect::<Result<_>>()?;
    ensure!(!files.is_empty(), "there are Rust files");
    Ok(files)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("read {path}"))
}

#[test]
fn no_file_is_too_long_to_read() -> Result<()> {
    let lengths = rust_files()?.into_iter().map(|(path, text)| (path, text.lines().count()));
    let long: Vec<_> = lengths.filter(|(_, lines)| *lines > MAX_LINES).collect();
    ensure!(long.is_empty(), "longer than {MAX_LINES} lines: {long:?}");
    Ok(())
}

#[test]
fn the_top_level_is_as_documented() -> Result<()> {
    let files = files()?;
    let top: BTreeSet<&str> = files.iter().filter_map(|path| path.split('/').next()).collect();
    let unknown: Vec<_> =
        top.into_iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name)).collect();
    ensure!(unknown.is_empty(), "at the top level there is also {unknown:?}");
    Ok(())
}

#[test]
fn nothing_is_left_undone_or_left_out() -> Result<()> {
    // Put together here, so that this file does not find itself.
    let marks = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["#[ig", "nore"].concat()];
    let mut found = Vec::new();
    for (path, text) in rust_files()? {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn no_path_of_one_machine_is_written_down() -> Result<()> {
    let root = workspace::root().display().to_string();
    let homes = [["/home", "/"].concat(), ["/ro", "ot/"].concat(), ["/Us", "ers/"].concat()];
    let mut found = Vec::new();
    for path in files()? {
        // What is not text has no lines to read.
        let Ok(text) = read(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            // A short root such as `/` or `/src` would be found everywhere.
            let own = root.len() > 5 && line.contains(&format!("{root}/"));
            if own || homes.iter().any(|home| line.contains(home.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn the_pinned_kubernetes_is_the_documented_one() -> Result<()> {
    let go_mod = read("e2e/cluster/go.mod")?;
    let pinned =
        |module: &str| pinned_version(&go_mod, module).with_context(|| format!("{module} is pinned"));
    ensure!(pinned("k8s.io/kubernetes")? == KUBERNETES_VERSION);
    let readme = read("e2e/README.md")?;
    for (name, module) in [
        ("Kubernetes", "k8s.io/kubernetes"),
        ("Helm", "helm.sh/helm/v3"),
        ("CoreDNS", "github.com/coredns/coredns"),
        ("metrics-server", "sigs.k8s.io/metrics-server"),
        ("kubeconform", "github.com/yannh/kubeconform"),
        ("kwok", "sigs.k8s.io/kwok"),
    ] {
        let text = format!("{name} {}", pinned(module)?);
        ensure!(readme.contains(&text), "e2e/README.md does not name `{text}`");
    }
    // The staging modules belong to one release: another patch of one of them would be another Kubernetes.
    let patch = KUBERNETES_VERSION.strip_prefix("1.").context("a version of Kubernetes")?;
    let replaced = go_mod.lines().filter(|line| line.starts_with("replace k8s.io/"));
    let other: Vec<_> = replaced.filter(|line| !line.ends_with(&format!(" v0.{patch}"))).collect();
    ensure!(other.is_empty(), "replaced by another version: {other:?}");
    Ok(())
}
