//! Which requests another revision answers: by what they carry, by who sent them, or by counting.
//!
//! Names are resolved when a document is accepted; a request costs a look at its header fields, and nothing while the
//! document names none.

mod cookie;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use shop_contract::{HandOff, Match, Sticky};
use shop_flow::split::{Split, Sum};
use shop_flow::sticky;

use crate::auth::UserId;

/// Says of each request whether it is handed over.
#[derive(Debug)]
pub struct Choice {
    conditions: Vec<Condition>,
    key: Option<Key>,
    /// The candidate's revision.
    seed: u64,
    split: Split,
}

impl Choice {
    /// The choice of a document. `sum` is what the pod's requests add up to.
    pub fn new(hand_off: &HandOff, sum: Arc<Sum>) -> Self {
        Self {
            conditions: hand_off.matches.iter().map(Condition::new).collect(),
            key: hand_off.sticky.as_ref().and_then(Key::new),
            seed: hand_off.to_revision.unsigned_abs(),
            split: Split::new(hand_off.share, sum),
        }
    }

    /// Whether a request is one to hand over. A request without the key that users are told apart by is counted.
    pub fn takes(&self, headers: &HeaderMap, client: IpAddr, user: Option<&UserId>) -> bool {
        if self.conditions.iter().any(|condition| condition.fits(headers)) {
            return true;
        }
        let hash = self.key.as_ref().and_then(|key| key.hash(self.seed, headers, client, user));
        hash.map_or_else(|| self.split.next(), |hash| sticky::is_in(hash, self.split.share()))
    }
}

/// A cookie's name and value.
type Cookie = (Box<[u8]>, Box<[u8]>);

/// What a request must have to be handed over whatever the share.
#[derive(Debug)]
struct Condition {
    header: Option<(HeaderName, Box<[u8]>)>,
    cookie: Option<Cookie>,
    /// Never fits: what it asks for cannot be asked. Accepted documents have none of these.
    never: bool,
}

impl Condition {
    fn new(wanted: &Match) -> Self {
        let header = wanted.header.as_ref().and_then(|pair| {
            let name = HeaderName::from_bytes(pair.name.as_bytes()).ok()?;
            Some((name, pair.value.as_bytes().into()))
        });
        let cookie =
            wanted.cookie.as_ref().map(|pair| (pair.name.as_bytes().into(), pair.value.as_bytes().into()));
        let never = header.is_some() != wanted.header.is_some() || (header.is_none() && cookie.is_none());
        Self { header, cookie, never }
    }

    fn fits(&self, headers: &HeaderMap) -> bool {
        let has_header = self.header.as_ref().is_none_or(|(name, value)| {
            headers.get_all(name).iter().any(|found| found.as_bytes() == &**value)
        });
        let has_cookie = || {
            self.cookie
                .as_ref()
                .is_none_or(|(name, value)| cookie::values(headers, name).any(|found| found == &**value))
        };
        !self.never && has_header && has_cookie()
    }
}

/// What users are told apart by.
#[derive(Debug)]
enum Key {
    Header(HeaderName),
    Cookie(Box<[u8]>),
    Client,
    User,
}

impl Key {
    fn new(sticky: &Sticky) -> Option<Self> {
        Some(match sticky {
            Sticky::Header(name) => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            Sticky::Cookie(name) => Self::Cookie(name.as_bytes().into()),
            Sticky::Client => Self::Client,
            Sticky::User => Self::User,
        })
    }

    /// `None`: the request does not say who sent it.
    fn hash(&self, seed: u64, headers: &HeaderMap, client: IpAddr, user: Option<&UserId>) -> Option<u64> {
        let of = |value: &[u8]| (!value.is_empty()).then(|| sticky::hash(seed, value));
        match self {
            Self::Header(name) => of(headers.get(name)?.as_bytes()),
            Self::User => of(user?.as_str().as_bytes()),
            Self::Cookie(name) => of(cookie::values(headers, name).next()?),
            // An IPv4 address is the same one whether the socket speaks IPv6 or not.
            Self::Client => match client.to_canonical() {
                IpAddr::V4(address) => of(&address.octets()),
                IpAddr::V6(address) => of(&address.octets()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
