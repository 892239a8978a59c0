//! Who may send requests, by what the connection has shown. Decided for each request: the document may change while a
//! connection is open.

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use shop_contract::{Mtls, MtlsMode, headers, reasons};

use super::verify::id_of;

const CALLER: HeaderName = HeaderName::from_static(headers::CALLER);

/// The service at the other end of a connection, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller(HeaderValue);

impl Caller {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        Self::named(&id_of(certificate)?)
    }

    /// The one with this SPIFFE id.
    pub(crate) fn named(id: &str) -> Option<Self> {
        HeaderValue::try_from(id).ok().map(Self)
    }

    /// Its SPIFFE id as a field's value.
    pub(crate) fn field(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Its SPIFFE id.
    pub(crate) fn id(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Who may send requests, by a document.
#[derive(Debug)]
pub(crate) struct Callers {
    mode: MtlsMode,
    own: String,
    listed: Vec<String>,
}

impl Callers {
    pub(crate) fn new(mtls: &Mtls) -> Self {
        Self { mode: mtls.mode, own: mtls.id.clone(), listed: mtls.callers.clone() }
    }

    /// Whether nobody is let in but by TLS.
    pub(crate) fn asks_for_tls(&self) -> bool {
        self.mode == MtlsMode::Strict
    }

    /// Whether a request with this caller is let in; else the word for why not.
    fn check(&self, caller: Option<&Caller>) -> Result<(), &'static str> {
        if self.mode == MtlsMode::Off {
            return Ok(());
        }
        match caller.map(Caller::id) {
            Some(_) if self.listed.is_empty() => Ok(()),
            Some(id) if id == self.own || self.listed.iter().any(|listed| listed == id) => Ok(()),
            Some(_) => Err(reasons::CALLER_DENIED),
            None if self.asks_for_tls() || !self.listed.is_empty() => Err(reasons::TLS_REQUIRED),
            None => Ok(()),
        }
    }
}

/// How it is known who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown<'a> {
    /// By its connection.
    Here(Option<&'a Caller>),
    /// Another pod of this service has let it in already, and says so under its MAC.
    There(Option<&'a Caller>),
}

/// Lets a request in or not, and tells the app who sent it.
pub(crate) fn step(
    callers: Option<&Callers>,
    shown: Shown<'_>,
    fields: &mut HeaderMap,
) -> Result<(), &'static str> {
    strip(fields);
    if let (Some(callers), Shown::Here(caller)) = (callers, shown) {
        callers.check(caller)?;
    }
    let (Shown::Here(caller) | Shown::There(caller)) = shown;
    if let Some(caller) = caller {
        fields.insert(CALLER, caller.0.clone());
    }
    Ok(())
}

/// Removes what only a certificate may say. Servers that make variables of fields take `_` for `-`.
fn strip(fields: &mut HeaderMap) {
    fields.remove(CALLER);
    let poses = |name: &&HeaderName| {
        let (name, own) = (name.as_str().as_bytes(), headers::CALLER.as_bytes());
        name.len() == own.len() && name.contains(&b'_') && {
            let same = |(one, other): (&u8, &u8)| one == other || (*one == b'_' && *other == b'-');
            name.iter().zip(own).all(same)
        }
    };
    while let Some(name) = fields.keys().find(poses).cloned() {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "spiffe://cluster.local/ns/shop/svc/order";
    const CART: &str = "spiffe://cluster.local/ns/shop/svc/cart";
    const OTHER: &str = "spiffe://cluster.local/ns/shop/svc/other";

    #[test]
    fn who_is_let_in() {
        use MtlsMode::{Off, Permissive, Strict};
        const TLS: Result<(), &str> = Err(reasons::TLS_REQUIRED);
        const DENIED: Result<(), &str> = Err(reasons::CALLER_DENIED);
        for (mode, listed, [plain, own, cart, other]) in [
            (Off, vec![], [Ok(()); 4]),
            (Off, vec![CART], [Ok(()); 4]),
            (Permissive, vec![], [Ok(()); 4]),
            (Permissive, vec![CART], [TLS, Ok(()), Ok(()), DENIED]),
            (Strict, vec![], [TLS, Ok(()), Ok(()), Ok(())]),
            (Strict, vec![CART], [TLS, Ok(()), Ok(()), DENIED]),
        ] {
            let listed = listed.into_iter().map(str::to_owned).collect();
            let callers = Callers { mode, own: OWN.to_owned(), listed };
            let check = |id: Option<&str>| callers.check(id.and_then(Caller::named).as_ref());
            assert_eq!(check(None), plain, "{callers:?}");
            for (id, expected) in [(OWN, own), (CART, cart), (OTHER, other)] {
                assert_eq!(check(Some(id)), expected, "{callers:?} {id}");
            }
        }
    }

    #[test]
    fn only_a_certificate_tells_the_app() {
        let mut fields = HeaderMap::new();
        for name in ["x-shop-caller", "x_shop_caller", "x-shop_caller", "x-shop-callers"] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static("me"));
        }
        let cart = Caller::named(CART);
        assert_eq!(step(None, Shown::Here(cart.as_ref()), &mut fields), Ok(()));
        assert_eq!(fields.len(), 2);
        assert_eq!(fields.get(CALLER).map(HeaderValue::as_bytes), Some(CART.as_bytes()));
        assert_eq!(step(None, Shown::There(cart.as_ref()), &mut fields), Ok(()));
        assert_eq!(fields.get(CALLER).map(HeaderValue::as_bytes), Some(CART.as_bytes()));
        assert_eq!(step(None, Shown::There(None), &mut fields), Ok(()));
        assert_eq!(fields.get(CALLER), None);
    }
}
