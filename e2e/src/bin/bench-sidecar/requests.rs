//! What the load sends: requests of users, each one of another trace.

use std::sync::Arc;

use crate::proxies::{Features, TRACED_PERCENT};
use crate::token::Mint;
use anyhow::Result;

/// Up to the trace's id.
const BEGIN: &str = "GET /products?page=2 HTTP/1.1\r\nhost: shop.example\r\ntraceparent: 00-";
/// After it: the parent's id, and whether the caller samples the trace.
const PARENT: &str = "-b7ad6b7169203331-0";
const REST: &str = "\r\nuser-agent: bench/1\r\naccept: application/json\r\naccept-encoding: gzip, br\r\n\
    x-request-id: 0af7651916cd43dd8448eb211c80319c\r\n";
/// Hexadecimal digits of a trace's id.
const TRACE: usize = 32;
/// Users whose tokens are all remembered, and more than are.
const FEW: usize = 64;
const MANY: usize = 30_000;
/// From one request to the next: it shares no factor with these numbers, so that all users come up.
const STEP: usize = 7;

/// All requests of a load.
#[derive(Clone, Debug)]
pub(crate) struct Requests(Arc<[Vec<u8>]>);

impl Requests {
    /// As the features need them: with a token, from few users or many.
    pub(crate) fn new(features: Features, mint: &Mint) -> Result<Self> {
        let tokens = match features {
            Features::AllUncached => mint.tokens(MANY)?,
            with if with.verifies() => mint.tokens(FEW)?,
            _ => Vec::new(),
        };
        if tokens.is_empty() {
            return Ok(Self::of([String::new()]));
        }
        Ok(Self::of(tokens.into_iter().map(|token| format!("authorization: Bearer {token}\r\n"))))
    }

    /// From so many senders, as a trusted proxy tells them apart.
    pub(crate) fn with_senders(&self, senders: u32) -> Self {
        let line = self.authorization();
        let address = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 | number);
        Self::of((0..senders).map(|number| format!("{line}x-forwarded-for: {}\r\n", address(number))))
    }

    fn of(lines: impl IntoIterator<Item = String>) -> Self {
        let trace = "0".repeat(TRACE);
        let request = |line: String| format!("{BEGIN}{trace}{PARENT}0{REST}{line}\r\n").into_bytes();
        Self(lines.into_iter().map(request).collect())
    }

    /// The line with a token, if there is one.
    fn authorization(&self) -> String {
        let first = self.0.first().map_or("", |request| std::str::from_utf8(request).unwrap_or_default());
        let line = first.lines().find(|line| line.starts_with("authorization"));
        line.map_or_else(String::new, |line| format!("{line}\r\n"))
    }

    /// Asks for a WebSocket (RFC 6455).
    pub(crate) fn handshake(&self) -> Vec<u8> {
        let line = self.authorization();
        format!(
            "GET /chat HTTP/1.1\r\nhost: shop.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{line}\r\n"
        )
        .into_bytes()
    }

    /// For the connection of this number.
    pub(crate) fn sender(&self, number: usize) -> Sender {
        Sender { requests: self.clone(), next: number, step: STEP, trace: number as u64, buffer: Vec::new() }
    }

    /// For one of so many connections that send every request once; how many it has to send.
    pub(crate) fn share(&self, number: usize, of: usize) -> (Sender, usize) {
        (Sender { step: of, ..self.sender(number) }, self.0.len().div_ceil(of.max(1)))
    }
}

/// What one connection sends, one after the other.
#[derive(Debug)]
pub(crate) struct Sender {
    requests: Requests,
    next: usize,
    step: usize,
    trace: u64,
    buffer: Vec<u8>,
}

impl Sender {
    /// The next request, of a trace of its own.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.next = (self.next + self.step) % self.requests.0.len().max(1);
        let request = self.requests.0.get(self.next).map_or(&[][..], Vec::as_slice);
        self.buffer.clear();
        self.buffer.extend_from_slice(request);
        self.trace = self.trace.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let (first, second) = (mixed(self.trace), mixed(self.trace ^ u64::MAX));
        let id = format!("{first:016x}{second:016x}");
        if let Some(place) = self.buffer.get_mut(BEGIN.len()..BEGIN.len() + TRACE) {
            place.copy_from_slice(id.as_bytes());
        }
        if second % 100 < u64::from(TRACED_PERCENT)
            && let Some(flag) = self.buffer.get_mut(BEGIN.len() + TRACE + PARENT.len())
        {
            *flag = b'1';
        }
        &self.buffer
    }
}

/// Spreads a counter over all bits (`SplitMix64`, Steele et al. 2014).
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_of_another_trace_and_five_in_a_hundred_are_sampled() {
        let requests = Requests::new(Features::All, &Mint::new().unwrap()).unwrap();
        let mut sender = requests.sender(3);
        let (mut traces, mut users, mut sampled) = (Vec::new(), std::collections::HashSet::new(), 0);
        for _ in 0..10_000 {
            let text = String::from_utf8(sender.next().to_vec()).unwrap();
            let trace = text.split("traceparent: ").nth(1).unwrap()[..55].to_owned();
            sampled += usize::from(trace.ends_with("-01"));
            assert!(text.ends_with("\r\n\r\n"));
            users.insert(text.split("Bearer ").nth(1).unwrap().to_owned());
            traces.push(trace);
        }
        traces.sort_unstable();
        traces.dedup();
        assert_eq!((traces.len(), users.len()), (10_000, FEW));
        assert!((400..600).contains(&sampled), "{sampled}");
    }

    #[test]
    fn senders_are_told_apart() {
        let requests = Requests::new(Features::Bare, &Mint::new().unwrap()).unwrap().with_senders(3);
        let lines = String::from_utf8(requests.0.concat()).unwrap();
        assert!(lines.contains("x-forwarded-for: 10.0.0.0\r\n\r\n") && lines.contains("10.0.0.2"));
        let mut sent = std::collections::HashSet::new();
        for number in 0..2 {
            let (mut sender, count) = requests.share(number, 2);
            sent.extend((0..count).map(|_| {
                let text = String::from_utf8(sender.next().to_vec()).unwrap();
                text.split("x-forwarded-for: ").nth(1).unwrap().to_owned()
            }));
        }
        assert_eq!(sent.len(), 3);
    }
}
