//! Who sent a request, and what is said of that to whoever gets it next.
//!
//! Fields that name a sender are believed from another sidecar of this service, under its MAC, and from proxies that the
//! document names. From anybody else they are removed: an app that reads `X-Forwarded-For` reads what is true.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use shop_contract::headers::HANDOVER;
use shop_flow::hops::{self, Element};

use crate::config::Snapshot;
use crate::handover::{self, Handover, Purpose};
use crate::tls::callers::{Caller, Shown};

const HANDOVER_NAME: HeaderName = HeaderName::from_static(HANDOVER);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its address; an IPv4 address whatever the socket speaks.
    pub(super) address: IpAddr,
    /// The same as a field's value, made once for all requests.
    text: HeaderValue,
    /// The service that it is, by its certificate.
    pub(super) caller: Option<Caller>,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let text = HeaderValue::try_from(address.to_string());
        // Never the other value: an address is digits, letters, dots and colons.
        Self { address, text: text.unwrap_or(HeaderValue::from_static("unknown")), caller: None }
    }
}

/// Who sent a request.
#[derive(Debug)]
pub(super) struct Sender {
    /// Address of the client: for limits, for keeping it on one side of a split, and for logs.
    pub(super) client: IpAddr,
    /// What the sidecar says that handed it over, if one did.
    pub(super) from: Option<Handover>,
}

impl Sender {
    /// How it is known which service it was.
    pub(super) fn shown<'a>(&'a self, peer: &'a Peer) -> Shown<'a> {
        match &self.from {
            Some(from) => Shown::There(from.caller.as_ref()),
            None => Shown::Here(peer.caller.as_ref()),
        }
    }

    /// The service that it was, if that is known.
    pub(super) fn caller<'a>(&'a self, peer: &'a Peer) -> Option<&'a Caller> {
        let (Shown::Here(caller) | Shown::There(caller)) = self.shown(peer);
        caller
    }
}

/// Finds out who sent a request, and leaves of the fields that name a sender what is true.
pub(super) fn identify(
    snapshot: &Snapshot,
    peer: &Peer,
    host: &HeaderValue,
    fields: &mut HeaderMap,
) -> Sender {
    if let Some(from) = handed_over(snapshot, fields) {
        // The first sidecar has said already who sent the request.
        return Sender { client: from.client, from: Some(from) };
    }
    let trusted = |address: IpAddr| snapshot.trusted_hops.iter().any(|network| network.contains(address));
    let client = if trusted(peer.address) {
        believe(peer, host, fields, trusted)
    } else {
        forget(fields);
        fields.insert(FORWARDED_FOR, peer.text.clone());
        fields.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        fields.insert(FORWARDED_HOST, host.clone());
        peer.address
    };
    Sender { client, from: None }
}

fn handed_over(snapshot: &Snapshot, fields: &mut HeaderMap) -> Option<Handover> {
    let header = fields.remove(HANDOVER_NAME)?;
    let sent_to = |purpose| match purpose {
        Purpose::Answer => snapshot.hand_off.as_ref().map(|route| route.targets.to_revision),
        Purpose::Copy => snapshot.mirror.as_ref().map(|mirror| mirror.targets.to_revision),
        Purpose::Connection => None,
    };
    let opened = handover::open(&snapshot.keys, &snapshot.document.identity, sent_to, &header);
    opened.filter(|opened| opened.purpose != Purpose::Connection)
}

/// Removes what anybody could have written.
fn forget(fields: &mut HeaderMap) {
    let names_a_sender = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with("x-forwarded-") || name == header::FORWARDED.as_str() || name == "x-real-ip"
    };
    // Of the most requests there is none, and an empty list takes no memory.
    let found: Vec<HeaderName> = fields.keys().filter(names_a_sender).cloned().collect();
    for name in found {
        fields.remove(name);
    }
}

/// Follows what trusted proxies say, and keeps of it the way from the client to here.
fn believe(
    peer: &Peer,
    host: &HeaderValue,
    fields: &mut HeaderMap,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut told: Vec<Element> = if fields.contains_key(FORWARDED_FOR) {
        let values = fields.get_all(FORWARDED_FOR).iter().rev();
        let texts = values.flat_map(|value| value.to_str().unwrap_or("unknown").rsplit(','));
        let texts = texts.filter(|text| !text.trim().is_empty()).take(hops::MAX_HOPS);
        texts.map(|text| Element { address: hops::address(text), ..Element::default() }).collect()
    } else {
        let values = fields.get_all(header::FORWARDED).iter().rev();
        let elements =
            values.flat_map(|value| hops::forwarded(value.to_str().unwrap_or_default()).into_iter().rev());
        elements.take(hops::MAX_HOPS).collect()
    };
    let client = hops::client(peer.address, told.iter().map(|element| element.address), trusted);
    told.truncate(client.hops);
    let way = told.iter().rev().filter_map(|element| element.address);
    let mut chain = String::new();
    for address in way {
        chain.push_str(&address.to_string());
        chain.push_str(", ");
    }
    chain.push_str(&peer.address.to_string());
    // Never the default: addresses, commas and spaces.
    fields.insert(FORWARDED_FOR, HeaderValue::try_from(chain).unwrap_or_else(|_| peer.text.clone()));
    fields.remove(header::FORWARDED);
    let first = told.pop().unwrap_or_default();
    let said = |value: Option<String>| value.and_then(|value| HeaderValue::try_from(value).ok());
    fields
        .entry(FORWARDED_PROTO)
        .or_insert_with(|| said(first.proto).unwrap_or(HeaderValue::from_static("http")));
    fields.entry(FORWARDED_HOST).or_insert_with(|| said(first.host).unwrap_or_else(|| host.clone()));
    client.address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn believed(fields: &[(&'static str, &'static str)]) -> (String, HeaderMap) {
        let mut fields = map(fields);
        let peer = Peer::new("::ffff:10.0.0.1".parse().expect("address"));
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let client = believe(&peer, &HeaderValue::from_static("shop"), &mut fields, trusted);
        (client.to_string(), fields)
    }

    #[test]
    fn the_way_from_the_client_is_kept() {
        let (client, fields) = believed(&[
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=7.7.7.7"),
        ]);
        assert_eq!(client, "1.1.1.1");
        let expected = map(&[
            ("x-forwarded-for", "1.1.1.1, 10.0.0.2, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-host", "shop"),
        ]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn forwarded_is_read_where_there_is_nothing_else() {
        let (client, fields) = believed(&[(
            "forwarded",
            "for=6.6.6.6, for=\"1.1.1.1:5\";proto=https;host=a, for=10.0.0.2;proto=http",
        )]);
        assert_eq!(client, "1.1.1.1");
        let expected = map(&[
            ("x-forwarded-for", "1.1.1.1, 10.0.0.2, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
        ]);
        assert_eq!(fields, expected);
        assert_eq!(believed(&[]).0, "10.0.0.1");
    }

    #[test]
    fn nothing_of_a_stranger_is_left() {
        let mut fields = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-far", "1"),
        ]);
        forget(&mut fields);
        assert_eq!(fields, map(&[("x-far", "1")]));
    }
}
