//! Hosts outside: their certificates are by the roots that browsers trust, or by those in `SSL_CERT_FILE`.
//!
//! The roots are in the program, because an image made of nothing has none, and a host that the whole world reaches is to be
//! reached from there too.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::{H2, HTTP1, provider};
use crate::upstream::Wire;

/// Roots that are taken from the file at most.
const MAX_MORE: usize = 1_000;

/// What connections to hosts outside are set up with; made when the first of them is.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    more: Option<PathBuf>,
    clients: OnceLock<Option<[Arc<ClientConfig>; 2]>>,
}

impl Outside {
    /// `more` is a PEM file with roots that are believed too.
    pub(crate) fn new(more: Option<PathBuf>) -> Self {
        Self { more, clients: OnceLock::new() }
    }

    /// For calls by this protocol.
    pub(super) fn client(&self, wire: Wire) -> Option<Arc<ClientConfig>> {
        let clients = self.clients.get_or_init(|| {
            let mut http1 = self.config()?;
            let mut http2 = http1.clone();
            http1.alpn_protocols = vec![HTTP1.to_vec()];
            http2.alpn_protocols = vec![H2.to_vec()];
            Some([Arc::new(http1), Arc::new(http2)])
        });
        let [http1, http2] = clients.as_ref()?;
        Some(Arc::clone(if wire == Wire::Http2 { http2 } else { http1 }))
    }

    /// TLS 1.2 and 1.3, without a protocol named. `None`: the library does not take it.
    pub(crate) fn config(&self) -> Option<ClientConfig> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(file) = &self.more {
            add(&mut roots, file);
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.inspect_err(|error| tracing::error!(%error, "TLS cannot be set up")).ok()?;
        Some(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn add(roots: &mut RootCertStore, file: &Path) {
    let Ok(read) = CertificateDer::pem_file_iter(file) else {
        tracing::warn!(file = %file.display(), "the file in SSL_CERT_FILE cannot be read: its roots are not trusted");
        return;
    };
    let (added, ignored) = roots.add_parsable_certificates(read.take(MAX_MORE).filter_map(Result::ok));
    tracing::info!(file = %file.display(), added, ignored, "roots were added to those that are known");
}
