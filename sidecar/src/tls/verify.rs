//! Whether a certificate is one of a service, and of which: the chain by the roots, the SPIFFE id from its one URI.
//!
//! No name of a host has a part in it: a pod's address says nothing, and the SPIFFE id says all (SPIFFE X.509-SVID section 2).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

use super::provider;

/// Longest SPIFFE id (SPIFFE-ID section 2.3).
const MAX_ID: usize = 2_048;

/// Why a certificate is none of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoService {
    /// Not by a root, not now, not for this usage, or no certificate at all.
    #[error("{0}")]
    Chain(webpki::Error),
    /// Its names are others.
    #[error("its subject alternative names are not exactly one URI with a SPIFFE id")]
    Id,
}

/// Roots of services' certificates.
#[derive(Debug)]
pub(super) struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    pub(super) fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, webpki::Error> {
        let anchor = |one: &CertificateDer<'static>| Ok(webpki::anchor_from_trusted_cert(one)?.to_owned());
        Ok(Self { anchors: certificates.iter().map(anchor).collect::<Result<_, _>>()? })
    }

    /// Checks the chain, now, and that there is an id.
    pub(super) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), NoService> {
        let parsed = EndEntityCert::try_from(certificate).map_err(NoService::Chain)?;
        let algorithms = provider().signature_verification_algorithms.all;
        parsed
            .verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None)
            .map_err(NoService::Chain)?;
        spiffe_id(&parsed).map(drop).ok_or(NoService::Id)
    }
}

/// The id in a certificate that was verified.
pub(super) fn id_of(certificate: &CertificateDer<'_>) -> Option<String> {
    spiffe_id(&EndEntityCert::try_from(certificate).ok()?).map(str::to_owned)
}

fn spiffe_id<'a>(certificate: &EndEntityCert<'a>) -> Option<&'a str> {
    let mut uris = certificate.valid_uri_names();
    let id = uris.next().filter(|_| uris.next().is_none())?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let rest = id.strip_prefix("spiffe://")?;
    (id.len() <= MAX_ID && rest.contains('/') && rest.bytes().all(plain)).then_some(id)
}

/// [`NoService`] in rustls' words, so that the other side is told by the fitting alert.
fn refused(why: NoService) -> Error {
    use webpki::Error as Bad;
    let certificate = match why {
        NoService::Chain(Bad::CertExpired { .. }) => CertificateError::Expired,
        NoService::Chain(Bad::CertNotValidYet { .. }) => CertificateError::NotValidYet,
        NoService::Chain(Bad::UnknownIssuer) => CertificateError::UnknownIssuer,
        NoService::Chain(Bad::BadDer | Bad::BadDerTime) => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(certificate)
}

/// Asks either side for a certificate of a service; of which one is looked at after the handshake.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<Roots>);

impl Verifier {
    fn signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    /// Never asked: TLS 1.2 is not offered.
    fn outdated() -> Error {
        Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify(certificate, intermediates, now, KeyUsage::server_auth());
        verified.map(|()| ServerCertVerified::assertion()).map_err(refused)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify(certificate, intermediates, now, KeyUsage::client_auth());
        verified.map(|()| ClientCertVerified::assertion()).map_err(refused)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Self::outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
