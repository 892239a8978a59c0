//! Who sent a request that came through other proxies: each of them tells whom it got it from (`X-Forwarded-For`, or
//! `Forwarded`, RFC 7239), and is believed only as far as it is trusted itself.

use std::net::{IpAddr, SocketAddr};

/// Hops that are looked at; what is further away is not believed.
pub const MAX_HOPS: usize = 32;

/// The sender, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// How many of the told hops lie on the way, it included: 0 when it is the connection's other end.
    pub hops: usize,
}

/// Walks from the connection's other end to the first that is not trusted. `told`: what the proxies tell, the nearest first;
/// `None` for what is no address, behind which nothing is believed.
pub fn client(
    peer: IpAddr,
    told: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Client {
    let mut client = Client { address: peer, hops: 0 };
    for hop in told.take(MAX_HOPS) {
        let Some(address) = hop.filter(|_| is_trusted(client.address)) else { break };
        client = Client { address, hops: client.hops + 1 };
    }
    client
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
pub fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

/// What one proxy tells in `Forwarded`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Whom it got the request from; `None` if it does not say, or hides it.
    pub address: Option<IpAddr>,
    /// `http` or `https`.
    pub proto: Option<String>,
    /// `Host` as it got it.
    pub host: Option<String>,
}

/// The elements of a `Forwarded` field, as they are written. What is malformed has no address.
pub fn forwarded(value: &str) -> Vec<Element> {
    split(value, ',').map(element).collect()
}

fn element(text: &str) -> Element {
    let mut element = Element::default();
    for pair in split(text, ';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = quoted.unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "for" => element.address = address(value),
            "proto" => element.proto = Some(value.to_owned()),
            "host" => element.host = Some(value.to_owned()),
            _ => {}
        }
    }
    element
}

/// Splits at a mark that is not inside of quotes.
fn split(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        c == mark && !quoted
    });
    parts.map(|part| part.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    /// Hops in 10.0.0.0/8 are trusted.
    fn found(peer: &str, chain: &str) -> (String, usize) {
        let told = chain.rsplit(',').filter(|part| !part.is_empty()).map(address);
        let trusted = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
        let client = client(ip(peer), told, trusted);
        (client.address.to_string(), client.hops)
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        for (peer, chain, client, hops) in [
            ("1.1.1.1", "9.9.9.9", "1.1.1.1", 0),
            ("10.0.0.1", "", "10.0.0.1", 0),
            ("10.0.0.1", "9.9.9.9", "9.9.9.9", 1),
            // What the client itself wrote stands to the left of it.
            ("10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.2", "9.9.9.9", 2),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", 2),
            ("10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2", 1),
            ("10.0.0.1", "6.6.6.6,,", "6.6.6.6", 1),
        ] {
            assert_eq!(found(peer, chain), (client.to_owned(), hops), "{peer} {chain}");
        }
        let long = "10.0.0.2,".repeat(100);
        assert_eq!(found("10.0.0.1", &format!("9.9.9.9,{long}")), ("10.0.0.2".into(), MAX_HOPS));
    }

    #[test]
    fn addresses_as_proxies_write_them() {
        for (text, expected) in [
            (" 1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4:5", Some("1.2.3.4")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
            ("1.2.3.4, 5", None),
        ] {
            assert_eq!(address(text), expected.map(ip), "{text}");
        }
    }

    #[test]
    fn forwarded_has_one_element_per_hop() {
        let read =
            forwarded(r#"For="[2001:db8::1]:47"; proto=https;host="a,b;c", for=1.2.3.4;by=x,, for=_a"#);
        let addresses: Vec<_> = read.iter().map(|element| element.address).collect();
        assert_eq!(addresses, [Some(ip("2001:db8::1")), Some(ip("1.2.3.4")), None, None]);
        let first = read.first().expect("an element");
        assert_eq!((first.proto.as_deref(), first.host.as_deref()), (Some("https"), Some("a,b;c")));
        // A quote that never ends takes everything with it.
        assert_eq!(forwarded(r#"for="1.2.3.4, for=5.6.7.8"#), [Element::default()]);
    }
}
