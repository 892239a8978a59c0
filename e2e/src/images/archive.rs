//! An OCI image archive: the five kinds of files that a container runtime imports.
//!
//! Everything in it is derived from its inputs, with all times zero, so that the same program gives the same digests
//! everywhere. See the OCI image layout specification, version 1.0.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// The user that programs in the images run as.
const USER: u32 = 65532;

/// One image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The full reference, host and tag included.
    pub reference: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Environment variables, `NAME=value`.
    pub env: Vec<String>,
}

impl Image {
    /// An image that starts one program without arguments.
    pub fn new(reference: &str, program: &str) -> Self {
        Self { reference: reference.to_owned(), entrypoint: vec![program.to_owned()], env: Vec::new() }
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": format!("{USER}:{USER}"),
                "Entrypoint": self.entrypoint,
                "Env": self.env,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        })
    }
}

/// What identifies an archive: its program and what is said about it.
pub(super) fn key(program_sha256: &str, images: &[Image]) -> String {
    let mut hash = Sha256::new();
    hash.update(program_sha256);
    for image in images {
        // The references are part of it: one program under two names is two archives.
        hash.update(format!("{image:?}"));
    }
    format!("{:x}", hash.finalize())
}

/// Writes an archive of images that share one layer: the program as `/name`, `/tmp`, and a name for the user.
pub fn write(path: &Path, name: &str, program: &Path, images: &[Image]) -> Result<()> {
    let layer = layer(name, &fs::read(program).with_context(|| format!("read {}", program.display()))?)?;
    // Renamed at the end, so that an archive is whole or not there.
    let draft = path.with_extension("draft");
    let file = File::create(&draft).with_context(|| format!("create {}", draft.display()))?;
    let mut tar = Builder::new(BufWriter::new(file));
    let layer_digest = add_blob(&mut tar, &layer)?;
    let mut manifests = Vec::new();
    for image in images {
        let config = serde_json::to_vec(&image.config(&layer_digest))?;
        let config_digest = add_blob(&mut tar, &config)?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest,
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer_digest,
                "size": layer.len(),
            }],
        }))?;
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": add_blob(&mut tar, &manifest)?,
            "size": manifest.len(),
            "platform": {"architecture": architecture(), "os": "linux"},
            "annotations": {"io.containerd.image.name": image.reference},
        }));
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests}))?;
    add(&mut tar, "index.json", 0o644, &index)?;
    add(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.into_inner().and_then(|mut file| file.flush()).context("write the archive")?;
    fs::rename(&draft, path).with_context(|| format!("name {}", path.display()))
}

pub(super) fn sha256_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if read == 0 {
            return Ok(format!("{:x}", hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// The names that OCI uses are those of Go.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer(name: &str, program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::with_capacity(program.len() + 8192));
    add_folder(&mut tar, "tmp/", 0o1777)?;
    add_folder(&mut tar, "etc/", 0o755)?;
    let passwd = format!("root:x:0:0::/:\nshop:x:{USER}:{USER}::/tmp:\n");
    add(&mut tar, "etc/passwd", 0o644, passwd.as_bytes())?;
    add(&mut tar, name, 0o755, program)?;
    tar.into_inner().context("write the layer")
}

fn add_blob(tar: &mut Builder<impl Write>, bytes: &[u8]) -> Result<String> {
    let digest = format!("{:x}", Sha256::digest(bytes));
    add(tar, &format!("blobs/sha256/{digest}"), 0o644, bytes)?;
    Ok(format!("sha256:{digest}"))
}

fn add(tar: &mut Builder<impl Write>, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes).with_context(|| format!("write {name}"))
}

fn add_folder(tar: &mut Builder<impl Write>, name: &str, mode: u32) -> Result<()> {
    let mut header = header(EntryType::Directory, mode);
    header.set_size(0);
    tar.append_data(&mut header, name, std::io::empty()).with_context(|| format!("write {name}"))
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), content)
        });
        entries.collect()
    }

    #[test]
    fn an_archive_is_the_same_each_time_and_names_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "elf").unwrap();
        let images = [Image::new("registry.local/a:1", "/name"), Image::new("registry.local/a:2", "/name")];
        let paths = ["1.tar", "2.tar"].map(|name| folder.path().join(name));
        for path in &paths {
            write(path, "name", &program, &images).unwrap();
        }
        let [first, second] = paths.map(|path| fs::read(path).unwrap());
        assert_eq!(first, second);

        let files = files(&first);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let names = index["manifests"].as_array().unwrap().iter().map(|manifest| {
            let digest = manifest["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let blob = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(format!("{:x}", Sha256::digest(blob)), digest);
            manifest["annotations"]["io.containerd.image.name"].as_str().unwrap()
        });
        assert_eq!(names.collect::<Vec<_>>(), ["registry.local/a:1", "registry.local/a:2"]);
    }

    #[test]
    fn a_layer_holds_the_program_and_a_place_for_temporary_files() {
        let files = files(&layer("shop", b"elf").unwrap());
        assert_eq!(files.keys().collect::<Vec<_>>(), ["etc/", "etc/passwd", "shop", "tmp/"]);
        assert!(String::from_utf8_lossy(&files["etc/passwd"]).contains(":65532:"));
    }

    #[test]
    fn another_environment_is_another_archive() {
        let image = Image::new("registry.local/a:1", "/name");
        let other = Image { env: vec!["A=1".to_owned()], ..image.clone() };
        assert_ne!(key("0", &[image]), key("0", &[other]));
    }
}
