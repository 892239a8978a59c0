//! Certificates, as the operator would issue them and as it would not.
#![allow(unreachable_pub, reason = "only tests use it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tempfile::TempDir;

/// The id of a service of the tests' namespace.
pub fn id(service: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/svc/{service}")
}

/// Somebody who issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

/// So many seconds from now, or before.
pub fn from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("seconds") + seconds
}

impl Authority {
    pub fn new() -> Self {
        let mut asked = CertificateParams::default();
        asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        asked.distinguished_name.push(rcgen::DnType::CommonName, "shop roots");
        let key = KeyPair::generate().expect("key");
        Self(CertifiedIssuer::self_signed(asked, key).expect("root"))
    }

    pub fn root(&self) -> String {
        self.0.pem()
    }

    /// As the operator issues it.
    pub fn issue(&self, service: &str) -> Leaf {
        self.issue_with(service, |_| {})
    }

    pub fn issue_with(&self, service: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut asked = CertificateParams::default();
        asked.subject_alt_names = vec![uri(service)];
        asked.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut asked);
        let key = KeyPair::generate().expect("key");
        let certificate = asked.signed_by(&key, &self.0).expect("certificate").pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    /// One for this time, in seconds since 1970.
    pub fn issue_for(&self, service: &str, from: i64, to: i64) -> Leaf {
        self.issue_with(service, |asked| {
            let epoch = rcgen::date_time_ymd(1970, 1, 1);
            let at = |seconds: i64| epoch + Duration::from_secs(seconds.try_into().expect("after 1970"));
            (asked.not_before, asked.not_after) = (at(from), at(to));
        })
    }
}

pub fn uri(service: &str) -> SanType {
    SanType::URI(id(service).try_into().expect("ASCII"))
}

/// What the operator mounts.
pub fn secret(leaf: &Leaf, roots: &[&Authority]) -> Vec<(&'static str, String)> {
    let roots = roots.iter().map(|root| root.root()).collect();
    vec![("tls.crt", leaf.certificate.clone()), ("tls.key", leaf.key.clone()), ("ca.crt", roots)]
}

/// Replaces files of a mounted Secret; the sidecar may look at any moment between two of them.
pub fn mount(folder: &TempDir, files: &[(&'static str, String)]) {
    for (name, content) in files {
        let new = folder.path().join("..new");
        std::fs::write(&new, content).expect("written");
        std::fs::rename(new, folder.path().join(name)).expect("renamed");
    }
}

/// TLS of a caller, which believes everybody; with a certificate or without one.
pub fn client(leaf: Option<&Leaf>, protocol: &[u8]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("certificates");
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("key");
            builder.with_client_auth_cert(chain, key).expect("fitting")
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
