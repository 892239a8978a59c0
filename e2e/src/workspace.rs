//! Where things are: the repository, its build output and the state of the clusters.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static ROOT: LazyLock<PathBuf> = LazyLock::new(find_root);

/// The repository's top folder.
pub fn root() -> &'static Path {
    &ROOT
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Where the cluster's programs, images and the state of each cluster are kept.
pub fn state() -> PathBuf {
    target().join("cluster")
}

/// The Go module that pins and builds the cluster's programs.
pub fn cluster_module() -> PathBuf {
    root().join("e2e/cluster")
}

/// The repository is found by its own files, from where the command was started and else from where it was compiled,
/// so that a checkout that was moved still works.
fn find_root() -> PathBuf {
    let starts = [env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from), env::current_dir().ok()];
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    starts
        .iter()
        .flatten()
        .map(PathBuf::as_path)
        .chain([compiled])
        .flat_map(Path::ancestors)
        .find(|folder| folder.join("e2e/cluster/go.mod").is_file())
        .unwrap_or(compiled)
        .to_path_buf()
}
