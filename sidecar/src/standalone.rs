//! A sidecar by itself, in front of any HTTP server on this machine, for trying and debugging: no operator, no cluster.
//!
//! It is the same sidecar as in a pod. What the operator mounts there is made here, in a folder that goes away with it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shop_contract::{
    App, Colour, Document, HandoverKeys, Identity, Protocol, PublicKeys, Readiness, Role, SCHEMA, env, files,
};
use tempfile::TempDir;

use crate::config::accept::{self, Refusal};
use crate::settings::{self, Settings, SettingsError};

/// Connections at once, unless a document says otherwise.
const MAX_CONNECTIONS: u32 = 10_000;
/// Longest drain, unless a document says otherwise.
const DRAIN_MAX_MS: u64 = 10_000;
/// Id of the key that is made.
const MAC_KEY: &str = "made-here";
/// Longest wait for the app's answer about its readiness.
const READINESS_TIMEOUT_MS: u64 = 5_000;

/// Why a sidecar cannot run by itself.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The app is elsewhere.
    #[error("--app is {0}, but a sidecar is beside its app: write 127.0.0.1:PORT")]
    NotBeside(SocketAddr),
    /// The file is not there.
    #[error("cannot read {0}; is it a file with a document?")]
    Read(PathBuf, #[source] io::Error),
    /// No certificate to use.
    #[error("--tls {0} has no {1}; it must be a folder with tls.crt, tls.key and ca.crt")]
    Tls(PathBuf, &'static str),
    /// The document makes no sense.
    #[error("{0} {1}")]
    Document(PathBuf, Refusal),
    /// No place for its folders.
    #[error("cannot make a folder for temporary files; is TMPDIR writable?")]
    Folder(#[source] io::Error),
    /// No key.
    #[error("cannot make a key")]
    Key,
    /// `SHOP_ACCESS_LOG` and the like.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// What a sidecar by itself is started with. Its folders are removed when this is dropped.
#[derive(Debug)]
pub struct Standalone {
    /// As in a pod.
    pub settings: Settings,
    _folder: TempDir,
}

impl Standalone {
    /// In front of `app`, with the document in `config` or one for a service that is not being released, and the certificate in
    /// the folder `tls`. MAC keys are made: a hand-over is only understood by sidecars in a cluster.
    pub fn new(
        inbound: SocketAddr,
        admin: SocketAddr,
        app: SocketAddr,
        config: Option<&Path>,
        tls: Option<&Path>,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, StandaloneError> {
        if app.ip() != Ipv4Addr::LOCALHOST {
            return Err(StandaloneError::NotBeside(app));
        }
        let mut document = match config {
            Some(file) => read(file)?,
            None => document(app.port())?,
        };
        document.app.port = app.port();
        document.handover_keys = HandoverKeys { current: MAC_KEY.to_owned(), next: None };
        let folder = tempfile::Builder::new().prefix("shop-sidecar-").tempdir();
        let folder = folder.map_err(StandaloneError::Folder)?;
        fill(folder.path(), &document)?;
        if let Some(tls) = tls {
            link(tls, folder.path())?;
        }
        let (identity, path) = (document.identity, folder.path().to_path_buf());
        let settings = Settings::read(inbound, admin, |name| match name {
            settings::NAMESPACE => Some(identity.namespace.clone()),
            settings::SERVICE => Some(identity.service.clone()),
            settings::SERVICE_UID => Some(identity.service_uid.clone()),
            settings::REVISION => Some(identity.revision.to_string()),
            env::CONFIG_DIR | env::KEYS_DIR => path.to_str().map(str::to_owned),
            // The last accepted document would win over the one that is given now.
            env::STATE_DIR => path.join("state").to_str().map(str::to_owned),
            other => variable(other),
        })?;
        Ok(Self { settings, _folder: folder })
    }
}

fn read(file: &Path) -> Result<Document, StandaloneError> {
    let bytes = std::fs::read(file).map_err(|error| StandaloneError::Read(file.to_path_buf(), error))?;
    let checked =
        accept::parse_document(&bytes).and_then(|document| accept::check(&document).map(|()| document));
    checked.map_err(|refusal| StandaloneError::Document(file.to_path_buf(), refusal))
}

/// One of an active revision without release. Nobody has the key that pushes would have to be signed with.
fn document(app_port: u16) -> Result<Document, StandaloneError> {
    // From the system's random numbers: the library's own take 40 ms to get ready, and nobody signs with this key.
    let key =
        Ed25519KeyPair::from_seed_unchecked(&rand::random::<[u8; 32]>()).map_err(|_| StandaloneError::Key)?;
    let word = || "standalone".to_owned();
    Ok(Document {
        schema: SCHEMA,
        identity: Identity { namespace: word(), service: word(), service_uid: word(), revision: 1 },
        leader_epoch: 1,
        generation: 1,
        role: Role::Active,
        colour: Colour::Blue,
        role_epoch: 1,
        app: App {
            port: app_port,
            protocol: Protocol::Http,
            readiness: Readiness { path: None, timeout_ms: READINESS_TIMEOUT_MS },
        },
        max_connections: MAX_CONNECTIONS,
        trusted_hops: Vec::new(),
        drain_max_ms: DRAIN_MAX_MS,
        hand_off: None,
        mirror: None,
        auth: None,
        depends_on: Vec::new(),
        limits: None,
        telemetry: None,
        faults: Vec::new(),
        push_keys: PublicKeys { current: BASE64.encode(key.public_key()), next: None },
        handover_keys: HandoverKeys { current: MAC_KEY.to_owned(), next: None },
    })
}

/// Writes what the operator would have mounted.
fn fill(folder: &Path, document: &Document) -> Result<(), StandaloneError> {
    let text = serde_json::to_vec(document).expect("plain data has only string keys and finite numbers");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).map_err(StandaloneError::Folder);
    write(env::DOCUMENT_FILE, &text)?;
    std::fs::create_dir(folder.join("state")).map_err(StandaloneError::Folder)?;
    write(MAC_KEY, &rand::random::<[u8; 32]>())
}

/// Puts certificate, key and roots where the operator would have mounted them. As links: they may change there.
fn link(tls: &Path, folder: &Path) -> Result<(), StandaloneError> {
    for name in [files::CERTIFICATE, files::PRIVATE_KEY, files::ROOTS] {
        // Not where a link there leads to now: a mounted folder changes by its links.
        let file = std::path::absolute(tls.join(name)).ok().filter(|file| file.is_file());
        let file = file.ok_or_else(|| StandaloneError::Tls(tls.to_path_buf(), name))?;
        std::os::unix::fs::symlink(file, folder.join(name)).map_err(StandaloneError::Folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn nothing_but_an_app_is_needed() {
        let app = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000));
        let alone = Standalone::new(ANY, ANY, app, None, None, |_| None).expect("settings");
        let folder = alone.settings.config_dir.clone();
        let document = read(&folder.join(env::DOCUMENT_FILE)).expect("a valid document");
        assert_eq!((document.app.port, &document.identity), (9_000, &alone.settings.identity));
        drop(alone);
        assert!(!folder.exists());
    }

    #[test]
    fn a_given_document_is_checked() {
        let app = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000));
        let folder = TempDir::new().expect("folder");
        let file = folder.path().join("d.json");
        let mut given = document(1).expect("document");
        given.identity.service = "order".into();
        std::fs::write(&file, serde_json::to_vec(&given).expect("json")).expect("written");
        let alone = Standalone::new(ANY, ANY, app, Some(&file), None, |_| None).expect("settings");
        assert_eq!(alone.settings.identity.service, "order");
        std::fs::write(&file, "{}").expect("written");
        let error = Standalone::new(ANY, ANY, app, Some(&file), None, |_| None).expect_err("no document");
        assert!(error.to_string().contains("d.json cannot be read: missing field"), "{error}");
        let error =
            Standalone::new(ANY, ANY, app, None, Some(folder.path()), |_| None).expect_err("no files");
        assert!(error.to_string().contains("has no tls.crt"), "{error}");
        let elsewhere = "10.0.0.1:80".parse().expect("address");
        let error = Standalone::new(ANY, ANY, elsewhere, None, None, |_| None).expect_err("elsewhere");
        assert!(error.to_string().contains("write 127.0.0.1:PORT"), "{error}");
    }
}
