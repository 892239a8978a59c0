//! TLS: between sidecars with certificates on both sides, and to hosts outside.
//!
//! [`identity`] is what the mounted Secret holds, [`verify`] says whether a certificate is one of a service, [`accept`] and
//! [`dial`] make connections, and [`callers`] decides about a request by what its connection has shown.

mod accept;
pub(crate) mod callers;
mod der;
mod dial;
mod identity;
mod outside;
mod stream;
mod verify;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub(crate) use accept::Handshakes;
pub(crate) use dial::Dial;
pub(crate) use identity::{Holder, Identity, Looked};
pub(crate) use outside::Outside;
pub(crate) use stream::{ReadHalf, Stream, WriteHalf};

/// What the protocols are called in a handshake (RFC 7301).
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// The first byte of a connection with TLS: a record of a handshake (RFC 8446 section 5.1). No request begins like this.
pub(crate) const FIRST_BYTE: u8 = 0x16;
/// Bytes that a session gathers before it takes no more.
const BUFFERED: usize = 32 * 1024;

/// The one source of cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}
