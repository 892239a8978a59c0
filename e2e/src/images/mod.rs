//! The container images of the cluster, without a registry: OCI archives written here and imported into containerd.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lock::Lock;
use crate::{setup, workspace};

pub use archive::{Image, write};

/// The reference of the image that holds a pod's namespaces.
pub const PAUSE: &str = "registry.local/shop/pause:1";
/// How many versions of the demo product service there are.
pub const SHOPD_VERSIONS: usize = 4;

/// An archive of one or more images, as containerd imports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// What its content is known by: equal keys, equal images.
    pub key: String,
}

impl Archive {
    /// An archive that somebody else wrote.
    pub fn of_file(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        let key = archive::sha256_of_file(&path)?;
        Ok(Self { path, key })
    }
}

/// The images of the repository's own programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Reference of the operator; its tag is the hash of the program, so that an upgrade rolls only on change.
    pub operator: String,
    /// Reference of the sidecar, tagged in the same way.
    pub sidecar: String,
    /// References of the demo service, `v1` to `v4`.
    pub shopd: [String; SHOPD_VERSIONS],
    /// Reference of the pause image.
    pub pause: String,
    /// The archives that hold all of them.
    pub archives: Vec<Archive>,
}

/// What is remembered of a program, so that it is hashed again only when its file changed.
#[derive(Serialize, Deserialize, PartialEq)]
struct Fingerprint {
    size: u64,
    modified_ns: u128,
    sha256: String,
}

/// Builds the programs and writes the archives of those that changed.
pub fn build() -> Result<Images> {
    let _lock = Lock::acquire("images")?;
    cargo_build()?;
    let operator = Program::find("shop-operator")?;
    let sidecar = Program::find("shop-sidecar")?;
    let shopd = Program::find("shopd")?;
    let operator_ref = format!("registry.local/shopkeeper/operator:{}", operator.version());
    let sidecar_ref = format!("registry.local/shopkeeper/sidecar:{}", sidecar.version());
    let shopd_refs: [String; SHOPD_VERSIONS] =
        std::array::from_fn(|index| format!("registry.local/shop/shopd:{}", index + 1));
    let versions = shopd_refs.iter().enumerate().map(|(index, reference)| Image {
        reference: reference.clone(),
        entrypoint: vec!["/shopd".to_owned(), "product".to_owned()],
        env: vec![format!("SHOP_VERSION=v{}", index + 1)],
    });
    let archives = vec![
        operator.archive(&[Image::new(&operator_ref, "/shop-operator")])?,
        sidecar.archive(&[Image::new(&sidecar_ref, "/shop-sidecar")])?,
        shopd.archive(&versions.collect::<Vec<_>>())?,
    ];
    Ok(Images {
        operator: operator_ref,
        sidecar: sidecar_ref,
        shopd: shopd_refs,
        pause: PAUSE.to_owned(),
        archives,
    })
}

/// The archive of the pause image, which every cluster needs.
pub fn pause() -> Result<Archive> {
    // A lock of its own: starting a cluster does not wait for somebody's compiler.
    let _lock = Lock::acquire("pause")?;
    Program::at("pause", setup::bin().join("pause"))?.archive(&[Image::new(PAUSE, "/pause")])
}

/// Where cargo puts the programs of the workspace.
pub fn programs() -> PathBuf {
    // Named because `.cargo/config.toml` sets a build target.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    workspace::target().join(triple).join("debug")
}

/// A cargo command that behaves as if it was typed: without what a running cargo hands to its children.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root());
    let inherited = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if inherited.iter().any(|prefix| text.starts_with(prefix)) || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo_build() -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--workspace"]);
    command.args([
        "--bin",
        "shop-operator",
        "--bin",
        "shop-sidecar",
        "--bin",
        "shopd",
        "--bin",
        "kubectl-shop",
    ]);
    let status = command.status().context("start cargo")?;
    if !status.success() {
        bail!("building the programs for the images failed ({status})");
    }
    Ok(())
}

struct Program {
    name: &'static str,
    path: PathBuf,
    sha256: String,
}

impl Program {
    fn find(name: &'static str) -> Result<Self> {
        Self::at(name, programs().join(name))
    }

    fn at(name: &'static str, path: PathBuf) -> Result<Self> {
        let folder = folder();
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let sha256 = fingerprint(&path, &folder.join(format!("{name}.json")))?;
        Ok(Self { name, path, sha256 })
    }

    fn version(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }

    fn archive(&self, images: &[Image]) -> Result<Archive> {
        let path = folder().join(format!("{}.tar", self.name));
        let key_file = folder().join(format!("{}.key", self.name));
        let key = archive::key(&self.sha256, images);
        let written = path.is_file() && fs::read_to_string(&key_file).is_ok_and(|old| old == key);
        if !written {
            write(&path, self.name, &self.path, images)?;
            fs::write(&key_file, &key).with_context(|| format!("write {}", key_file.display()))?;
        }
        Ok(Archive { path, key })
    }
}

fn folder() -> PathBuf {
    workspace::state().join("images")
}

fn fingerprint(program: &Path, memory: &Path) -> Result<String> {
    let metadata = fs::metadata(program).with_context(|| format!("look at {}", program.display()))?;
    let modified = metadata.modified().context("read the time of change")?;
    let modified_ns = modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let remembered: Option<Fingerprint> =
        fs::read(memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(old) = remembered
        && old.size == metadata.len()
        && old.modified_ns == modified_ns
    {
        return Ok(old.sha256);
    }
    let sha256 = archive::sha256_of_file(program)?;
    let new = Fingerprint { size: metadata.len(), modified_ns, sha256: sha256.clone() };
    fs::write(memory, serde_json::to_vec(&new)?).with_context(|| format!("write {}", memory.display()))?;
    Ok(sha256)
}
