//! Who this service is to others: certificate, key and roots from the mounted Secret, and what TLS is set up with by them.
//!
//! The three files change together, without a new document. A set that is not whole or not good is refused with the reason, and
//! the one before goes on. Each set has its own memory of sessions, so that nothing that another set let in is resumed by it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use shop_contract::files;
use webpki::KeyUsage;

use super::outside::Outside;
use super::verify::{NoService, Roots, Verifier, id_of};
use super::{H2, HTTP1, der, provider};

/// A larger file is none of these.
const MAX_BYTES: u64 = 64 * 1024;
/// Certificates that are sent at most, the own one among them.
const MAX_CHAIN: usize = 8;
/// Roots at once.
const MAX_ROOTS: usize = 16;
/// Sessions that callers may resume, and that are remembered for calls; more push out the oldest.
const SESSIONS: usize = 256;

/// Why what lies in the Secret is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// A file is missing, or too large.
    #[error(
        "{0} is missing in the mounted Secret, or has more than 64 KiB; write {all} together",
        all = "tls.crt, tls.key and ca.crt"
    )]
    File(&'static str),
    /// No PEM in it.
    #[error("{0} holds no PEM that can be read, or too much of it; write {1}")]
    Pem(&'static str, &'static str),
    /// The key is another certificate's, or of no kind that is known.
    #[error("tls.key is not the key of the first certificate in tls.crt: {0}")]
    Key(rustls::Error),
    /// A root is none.
    #[error("ca.crt: {0}")]
    Root(webpki::Error),
    /// The certificate is none of a service.
    #[error("the certificate in tls.crt is not good as {1}'s: {0}")]
    Certificate(NoService, &'static str),
    /// It is somebody else's.
    #[error("the certificate in tls.crt is for {found}, but auth.mtls.id is {wanted}")]
    Id {
        /// By the document.
        wanted: String,
        /// In the certificate.
        found: String,
    },
    /// The TLS library does not take it.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A set of certificate, key and roots that is good.
#[derive(Debug)]
pub(crate) struct Identity {
    /// By the certificate.
    pub(crate) id: String,
    /// When the certificate ends, in seconds since 1970.
    pub(crate) not_after: i64,
    pub(super) server: Arc<ServerConfig>,
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
    fingerprint: [u8; 32],
}

/// The files as they lie there.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    roots: Vec<u8>,
}

impl Files {
    /// `None`: not one of them is there.
    fn read(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let names = [files::CERTIFICATE, files::PRIVATE_KEY, files::ROOTS];
        if names.iter().all(|name| !folder.join(name).exists()) {
            return Ok(None);
        }
        let [certificate, key, roots] = names.map(|name| read(folder, name));
        Ok(Some(Self { certificate: certificate?, key: key?, roots: roots? }))
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut all = digest::Context::new(&digest::SHA256);
        for file in [&self.certificate, &self.key, &self.roots] {
            all.update(&(file.len() as u64).to_be_bytes());
            all.update(file);
        }
        let mut fingerprint = [0; 32];
        fingerprint.iter_mut().zip(all.finish().as_ref()).for_each(|(to, from)| *to = *from);
        fingerprint
    }
}

fn read(folder: &Path, name: &'static str) -> Result<Vec<u8>, IdentityError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join(name)).map_err(|_| IdentityError::File(name))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|_| IdentityError::File(name))?;
    if bytes.len() as u64 > MAX_BYTES { Err(IdentityError::File(name)) } else { Ok(bytes) }
}

fn certificates(
    pem: &[u8],
    name: &'static str,
    most: usize,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(most + 1).collect();
    let fits = |all: &Vec<_>| (1..=most).contains(&all.len());
    read.ok().filter(fits).ok_or(IdentityError::Pem(name, "certificates"))
}

impl Identity {
    /// Checks a set, and sets TLS up with it. `wanted` is who the document says that this service is.
    fn new(files: &Files, wanted: Option<&str>) -> Result<Self, IdentityError> {
        let chain = certificates(&files.certificate, files::CERTIFICATE, MAX_CHAIN)?;
        let roots = certificates(&files.roots, files::ROOTS, MAX_ROOTS)?;
        let roots = Arc::new(Roots::new(&roots).map_err(IdentityError::Root)?);
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| IdentityError::Pem(files::PRIVATE_KEY, "one private key, PKCS 8"))?;
        let key = CertifiedKey::from_der(chain, key, provider()).map_err(IdentityError::Key)?;
        let (own, intermediates) =
            key.cert.split_first().ok_or(IdentityError::Pem(files::CERTIFICATE, "certificates"))?;
        for (usage, side) in [(KeyUsage::server_auth(), "a server"), (KeyUsage::client_auth(), "a client")] {
            roots
                .verify(own, intermediates, UnixTime::now(), usage)
                .map_err(|why| IdentityError::Certificate(why, side))?;
        }
        let id = id_of(own).ok_or(IdentityError::Certificate(NoService::Id, "a service"))?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != id) {
            return Err(IdentityError::Id { wanted: wanted.to_owned(), found: id });
        }
        let not_after = der::not_after(own).unwrap_or(0);
        let key = Arc::new(SingleCertAndKey::from(key));
        let (http1, http2) = clients(&roots, &key)?;
        let fingerprint = files.fingerprint();
        Ok(Self { id, not_after, server: server(&roots, key)?, http1, http2, fingerprint })
    }
}

fn server(roots: &Arc<Roots>, key: Arc<SingleCertAndKey>) -> Result<Arc<ServerConfig>, IdentityError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let verifier = Arc::new(Verifier(Arc::clone(roots)));
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(key);
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    // Remembered here, not in the ticket: there is no key of tickets that could leak, and none to be shared by pods.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// For HTTP/1 and for HTTP/2.
fn clients(
    roots: &Arc<Roots>,
    key: &Arc<SingleCertAndKey>,
) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), IdentityError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let verifier = Arc::new(Verifier(Arc::clone(roots)));
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut http1 = builder.with_client_cert_resolver(Arc::clone(key) as _);
    http1.enable_sni = false;
    http1.alpn_protocols = vec![HTTP1.to_vec()];
    http1.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)));
    let mut http2 = http1.clone();
    http2.alpn_protocols = vec![H2.to_vec()];
    http2.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)));
    Ok((Arc::new(http1), Arc::new(http2)))
}

/// The set in use, and why a newer one is not.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    current: ArcSwapOption<Identity>,
    refused: Mutex<Option<String>>,
    /// For hosts that are no services.
    pub(crate) outside: Outside,
    /// That there is none yet was logged.
    missed: AtomicBool,
}

/// What came of looking at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// As before.
    Unchanged,
    /// Another set is in use, or none any more.
    Changed,
    /// What lies there is not good.
    Refused,
}

impl Holder {
    /// Without a set yet. `more_roots` is a file with roots that hosts outside are believed by too.
    pub(crate) fn new(more_roots: Option<PathBuf>) -> Self {
        Self { outside: Outside::new(more_roots), ..Self::default() }
    }

    /// The set in use.
    pub(crate) fn current(&self) -> Option<Arc<Identity>> {
        self.current.load_full()
    }

    /// The same for a call; that there is none is logged once.
    pub(super) fn for_call(&self) -> Option<Arc<Identity>> {
        let current = self.current();
        if current.is_none() && !self.missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "there is no certificate yet in the mounted Secret: calls that need one are answered 503"
            );
        }
        current
    }

    /// Why the newest set is not in use, if it is not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files. `wanted` is who this service is by the document. A set that lies there without being asked for is used:
    /// callers that still ask by TLS while it is being turned off are answered.
    pub(crate) fn look(&self, folder: &Path, wanted: Option<&str>) -> Looked {
        let before = self.current();
        let read = Files::read(folder).and_then(|files| {
            let Some(files) = files else { return Ok(None) };
            let same = |before: &Arc<Identity>| {
                before.fingerprint == files.fingerprint() && wanted.is_none_or(|wanted| wanted == before.id)
            };
            match &before {
                Some(before) if same(before) => Ok(Some(Arc::clone(before))),
                _ => Identity::new(&files, wanted).map(|new| Some(Arc::new(new))),
            }
        });
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match read {
            // Files that go away are half of a change, unless nobody asks for them any more.
            Ok(None) if wanted.is_some() && before.is_some() => Err(IdentityError::File(files::CERTIFICATE)),
            read => read,
        };
        match found {
            Ok(found) => {
                *refused = None;
                let pointer = |one: &Option<Arc<Identity>>| one.as_ref().map(Arc::as_ptr);
                if pointer(&found) == pointer(&before) {
                    return Looked::Unchanged;
                }
                if let Some(found) = &found {
                    tracing::info!(id = found.id, not_after = found.not_after, "certificate is new");
                }
                self.missed.store(false, Ordering::Relaxed);
                self.current.store(found);
                Looked::Changed
            }
            Err(error) => {
                let why = error.to_string();
                if refused.as_deref() == Some(&*why) {
                    return Looked::Unchanged;
                }
                let kept = before.is_some();
                tracing::warn!(error = why, kept, "certificate refused");
                *refused = Some(why);
                Looked::Refused
            }
        }
    }
}
