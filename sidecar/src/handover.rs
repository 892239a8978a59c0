//! The header of a request that another revision handed over: who it came from, under a MAC of the service's key.
//!
//! Without the MAC any client could claim to be somebody else and skip what the first sidecar has checked. The text is
//! `v1;<key id>;<from revision>;<client address>;<MAC in base64>`, with `m1` of a copy that nobody waits for, and `c1` of a
//! connection that is not HTTP, before whose bytes it stands. Where the first sidecar has verified a token, what it says of the
//! user follows the address, and the words are `v2` and `m2`; where the caller has shown a certificate, its SPIFFE id follows
//! that, and they are `v3` and `m3`, with both `v4` and `m4`. The MAC is
//! HMAC-SHA256 and covers service and receiving revision too, so that a header taken from one revision is worth nothing at
//! another.

pub(crate) mod preface;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use http::HeaderValue;
use shop_contract::{HandoverKeys, Identity};

use crate::auth::{UserId, Verified};
use crate::tls::callers::Caller;

/// Bytes of a MAC key; a shorter one is refused.
const KEY_BYTES: usize = 32;

/// Why the keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The document names something that cannot be a file name.
    #[error("handoverKeys names {0:?}, which is not a key id; write letters, digits, '-', '_' or '.'")]
    Id(String),
    /// The Secret does not hold it (yet).
    #[error("the mounted Secret has no key {0:?} yet; write it to the Secret first")]
    Missing(String),
    /// Too short to be safe.
    #[error("key {0:?} in the mounted Secret is shorter than 32 bytes; write 32 random bytes")]
    Short(String),
}

/// The keys that a document names, read from the mounted Secret.
#[derive(Clone)]
pub struct MacKeys {
    current: (String, hmac::Key),
    accepted: HashMap<String, hmac::Key>,
    /// Tells sets of keys apart without keeping the keys themselves.
    fingerprint: Vec<u8>,
}

impl std::fmt::Debug for MacKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MacKeys").field("current", &self.current.0).finish_non_exhaustive()
    }
}

impl MacKeys {
    /// Reads the current key, which must be there, and the next one, which may come later.
    pub fn read(directory: &Path, names: &HandoverKeys) -> Result<Self, KeyError> {
        let current = read_key(directory, &names.current)?;
        let mut fingerprint = mark(&names.current, &current);
        let mut accepted = HashMap::from([(names.current.clone(), current.clone())]);
        if let Some(next) = &names.next
            && let Ok(key) = read_key(directory, next)
        {
            fingerprint.extend(mark(next, &key));
            accepted.insert(next.clone(), key);
        }
        Ok(Self { current: (names.current.clone(), current), accepted, fingerprint })
    }

    /// Id of the key in use, and a MAC by it.
    pub fn sign(&self, claim: &[u8]) -> (&str, hmac::Tag) {
        (&self.current.0, hmac::sign(&self.current.1, claim))
    }

    /// Whether it is a MAC by an accepted key.
    pub fn verify(&self, id: &str, claim: &[u8], mac: &[u8]) -> bool {
        self.accepted.get(id).is_some_and(|key| hmac::verify(key, claim, mac).is_ok())
    }

    /// A secret of all pods of the service for another purpose; another one when the key in use changes.
    pub fn derive(&self, purpose: &str) -> [u8; 16] {
        let mac = hmac::sign(&self.current.1, purpose.as_bytes());
        let mut secret = [0; 16];
        secret.iter_mut().zip(mac.as_ref()).for_each(|(to, from)| *to = *from);
        secret
    }

    /// Whether both hold the same keys under the same ids.
    pub fn same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

fn mark(id: &str, key: &hmac::Key) -> Vec<u8> {
    hmac::sign(key, format!("shop-key-fingerprint\n{id}").as_bytes()).as_ref().to_vec()
}

fn read_key(directory: &Path, id: &str) -> Result<hmac::Key, KeyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
        return Err(KeyError::Id(id.to_owned()));
    }
    let bytes = std::fs::read(directory.join(id)).map_err(|_| KeyError::Missing(id.to_owned()))?;
    if bytes.len() < KEY_BYTES {
        return Err(KeyError::Short(id.to_owned()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// What a request comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An answer for a user.
    Answer,
    /// A copy: the user is answered elsewhere.
    Copy,
    /// A whole connection, of which nothing is known but its bytes.
    Connection,
}

impl Purpose {
    fn word(self, told: Told<'_>) -> &'static str {
        let words = match self {
            Self::Answer => ["v1", "v2", "v3", "v4"],
            Self::Copy => ["m1", "m2", "m3", "m4"],
            Self::Connection => ["c1", "c2", "c3", "c4"],
        };
        let [none, user, caller, both] = words;
        match (told.user.is_some(), told.caller.is_some()) {
            (false, false) => none,
            (true, false) => user,
            (false, true) => caller,
            (true, true) => both,
        }
    }

    /// What a word says: what for, whether of a user, and whether of a caller.
    fn of(word: &str) -> Option<(Self, bool, bool)> {
        let (purpose, number) = match word.split_at_checked(1)? {
            ("v", number) => (Self::Answer, number),
            ("m", number) => (Self::Copy, number),
            ("c", number) => (Self::Connection, number),
            _ => return None,
        };
        match number {
            "1" => Some((purpose, false, false)),
            "2" => Some((purpose, true, false)),
            "3" => Some((purpose, false, true)),
            "4" => Some((purpose, true, true)),
            _ => None,
        }
    }
}

/// What is told of who sent a request, beside its address.
#[derive(Clone, Copy)]
struct Told<'a> {
    user: Option<&'a str>,
    caller: Option<&'a str>,
}

/// On whose behalf a request is handed over.
#[derive(Clone, Copy, Debug)]
pub struct Behalf<'a> {
    /// Address of the client.
    pub client: IpAddr,
    /// What is known of the user.
    pub user: Option<&'a Verified>,
    /// The service that sent it, by its certificate.
    pub(crate) caller: Option<&'a Caller>,
}

impl Behalf<'_> {
    /// The verified user of the request, if there is one.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.and_then(|verified| verified.user.as_ref())
    }
}

/// What a valid header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The revision that handed the request over.
    pub from_revision: i64,
    /// Address of the client that sent it there.
    pub client: IpAddr,
    /// What for.
    pub purpose: Purpose,
    /// What that revision says of the user, as [`Verified::seal`] writes it.
    pub user: Option<Box<str>>,
    /// The service that sent it there, by its certificate.
    pub(crate) caller: Option<Caller>,
}

/// The header for a request that `identity`'s revision hands to `to_revision`.
pub fn seal(
    keys: &MacKeys,
    identity: &Identity,
    to_revision: i64,
    behalf: Behalf<'_>,
    purpose: Purpose,
) -> HeaderValue {
    let (id, key) = &keys.current;
    let (from, client) = (identity.revision, behalf.client);
    let user = behalf.user.and_then(Verified::seal);
    let told = Told { user: user.as_deref(), caller: behalf.caller.map(Caller::id) };
    let mac = hmac::sign(key, claim(identity, (from, to_revision), client, told, purpose).as_bytes());
    let (word, mac) = (purpose.word(told), BASE64.encode(mac));
    let text = match (told.user, told.caller) {
        (None, None) => format!("{word};{id};{from};{client};{mac}"),
        (Some(one), None) | (None, Some(one)) => format!("{word};{id};{from};{client};{one};{mac}"),
        (Some(user), Some(caller)) => format!("{word};{id};{from};{client};{user};{caller};{mac}"),
    };
    // Never the default: key ids are checked, and the rest is digits, dots, colons, base64 and a SPIFFE id.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// What the header says, if its MAC is one of this service's for `identity`'s revision. `sent_to` is where that revision hands
/// requests of a purpose itself: a Service may lead such a one back to it, and it must not go round for ever.
pub fn open(
    keys: &MacKeys,
    identity: &Identity,
    sent_to: impl FnOnce(Purpose) -> Option<i64>,
    header: &HeaderValue,
) -> Option<Handover> {
    let mut parts = header.to_str().ok()?.split(';');
    let (word, id, from, client) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (purpose, with_user, with_caller) = Purpose::of(word)?;
    let user = if with_user { Some(parts.next()?) } else { None };
    let caller = if with_caller { Some(parts.next()?) } else { None };
    let mac = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    let key = keys.accepted.get(id)?;
    let (from_revision, client) = (from.parse().ok()?, client.parse().ok()?);
    let to = if from_revision == identity.revision { sent_to(purpose)? } else { identity.revision };
    let mac = BASE64.decode(mac).ok()?;
    let claim = claim(identity, (from_revision, to), client, Told { user, caller }, purpose);
    hmac::verify(key, claim.as_bytes(), &mac).ok()?;
    let caller = caller.and_then(Caller::named);
    Some(Handover { from_revision, client, purpose, user: user.map(Into::into), caller })
}

/// The bytes under the MAC.
fn claim(
    identity: &Identity,
    (from, to): (i64, i64),
    client: IpAddr,
    told: Told<'_>,
    purpose: Purpose,
) -> String {
    let (word, namespace, uid) = (purpose.word(told), &identity.namespace, &identity.service_uid);
    let mut claim = format!("shop-handover-{word}\n{namespace}\n{uid}\n{from}\n{to}\n{client}");
    for one in [told.user, told.caller].into_iter().flatten() {
        claim.push('\n');
        claim.push_str(one);
    }
    claim
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(revision: i64) -> Identity {
        Identity { namespace: "shop".into(), service: "order".into(), service_uid: "u1".into(), revision }
    }

    fn by(client: IpAddr) -> Behalf<'static> {
        Behalf { client, user: None, caller: None }
    }

    fn nowhere(_: Purpose) -> Option<i64> {
        None
    }

    fn keys(names: &HandoverKeys, files: &[(&str, u8)]) -> Result<MacKeys, KeyError> {
        let directory = tempfile::tempdir().expect("temporary directory");
        for (name, byte) in files {
            std::fs::write(directory.path().join(name), [*byte; 32]).expect("written");
        }
        MacKeys::read(directory.path(), names)
    }

    fn names(current: &str, next: Option<&str>) -> HandoverKeys {
        HandoverKeys { current: current.into(), next: next.map(Into::into) }
    }

    #[test]
    fn only_the_named_revision_opens_it() {
        let keys = keys(&names("k1", None), &[("k1", 1)]).expect("keys");
        let client = "2001:db8::1".parse().expect("address");
        let copy = seal(&keys, &identity(7), 8, by(client), Purpose::Copy);
        let opened = Handover { from_revision: 7, client, purpose: Purpose::Copy, user: None, caller: None };
        assert_eq!(open(&keys, &identity(8), nowhere, &copy), Some(opened));
        let turned = copy.to_str().expect("text").replace("m1;", "v1;");
        assert_eq!(open(&keys, &identity(8), nowhere, &HeaderValue::try_from(turned).expect("header")), None);
        let header = seal(&keys, &identity(7), 8, by(client), Purpose::Answer);
        let opened =
            Handover { from_revision: 7, client, purpose: Purpose::Answer, user: None, caller: None };
        assert_eq!(open(&keys, &identity(8), nowhere, &header), Some(opened));
        assert_eq!(open(&keys, &identity(9), nowhere, &header), None);
        let forged = header.to_str().expect("text").replace("2001:db8::1", "2001:db8::2");
        assert_eq!(open(&keys, &identity(8), nowhere, &HeaderValue::try_from(forged).expect("header")), None);
        for garbage in ["", "v1", "v1;k1;7;::1;", "v2;k1;7;::1;AA", "v1;k1;7;::1;AA;", "v1;nokey;7;::1;AA"] {
            assert_eq!(
                open(&keys, &identity(8), nowhere, &HeaderValue::from_static(garbage)),
                None,
                "{garbage}"
            );
        }
    }

    #[test]
    fn what_comes_back_is_known_by_whoever_sent_it() {
        let keys = keys(&names("k1", None), &[("k1", 1)]).expect("keys");
        let client = "10.0.0.1".parse().expect("address");
        let header = seal(&keys, &identity(7), 8, by(client), Purpose::Answer);
        let opened =
            Handover { from_revision: 7, client, purpose: Purpose::Answer, user: None, caller: None };
        assert_eq!(open(&keys, &identity(7), |_| Some(8), &header), Some(opened));
        assert_eq!(open(&keys, &identity(7), |_| Some(9), &header), None);
        assert_eq!(open(&keys, &identity(7), nowhere, &header), None);
    }

    #[test]
    fn a_caller_is_told_under_the_mac() {
        let keys = keys(&names("k1", None), &[("k1", 1)]).expect("keys");
        let client = "10.0.0.1".parse().expect("address");
        let caller = Caller::named("spiffe://cluster.local/ns/shop/svc/cart");
        for purpose in [Purpose::Answer, Purpose::Copy] {
            let behalf = Behalf { caller: caller.as_ref(), ..by(client) };
            let header = seal(&keys, &identity(7), 8, behalf, purpose);
            let opened = Handover { from_revision: 7, client, purpose, user: None, caller: caller.clone() };
            assert_eq!(open(&keys, &identity(8), nowhere, &header), Some(opened));
            let text = header.to_str().expect("text");
            for forged in [text.replace("cart", "gateway"), text.replacen('3', "2", 1)] {
                let forged = HeaderValue::try_from(forged).expect("header");
                assert_eq!(open(&keys, &identity(8), nowhere, &forged), None);
            }
        }
    }

    #[test]
    fn a_rotation_loses_no_request() {
        let client = "10.0.0.1".parse().expect("address");
        let files = [("k1", 1), ("k2", 2)];
        let before = keys(&names("k1", Some("k2")), &files).expect("keys");
        let after = keys(&names("k2", Some("k1")), &files).expect("keys");
        for (sender, receiver) in [(&before, &after), (&after, &before)] {
            assert!(
                open(
                    receiver,
                    &identity(8),
                    nowhere,
                    &seal(sender, &identity(7), 8, by(client), Purpose::Answer)
                )
                .is_some()
            );
        }
    }

    #[test]
    fn keys_must_be_there_and_long_enough() {
        assert!(matches!(keys(&names("k1", None), &[]), Err(KeyError::Missing(_))));
        assert!(matches!(keys(&names("../k1", None), &[]), Err(KeyError::Id(_))));
        assert!(keys(&names("k1", Some("k2")), &[("k1", 1)]).is_ok(), "the next key may come later");
    }
}
