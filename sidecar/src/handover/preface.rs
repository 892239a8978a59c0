//! The same for a connection whose protocol is tcp: the seal stands before its first byte, and the receiver says when its app
//! has the connection, so that one that was not taken can go elsewhere with nothing lost.
//!
//! Both are told from an app's own bytes by a mark that no protocol begins with. Each is sent in one piece on a connection that
//! is new, and shorter than any network's packets: it comes whole with the first read, or it is none. So nobody's first bytes are
//! held back because they might become a mark.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderValue;
use shop_contract::Identity;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::{Behalf, Handover, MacKeys, Purpose};
use crate::upstream::Opened;

/// Before a seal. 0xf5 is in no text, and no protocol's first byte that is known of.
const MARK: &[u8; 16] = b"\xf5\x9e\x00\r\nshop-seal\r\n";
/// Says that the app has the connection.
pub(crate) const TAKEN: &[u8; 16] = b"\xf5\x9e\x00\r\nshop-took\r\n";
/// Bytes of a seal's length.
const LENGTH: usize = 2;
/// Longest seal: a key id, two numbers, an address and a MAC.
const LONGEST: usize = 1_024;
/// How long the receiver may take to say that its app has the connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a sidecar says first on a connection that it hands to `to_revision`.
pub(crate) fn seal(keys: &MacKeys, identity: &Identity, to_revision: i64, client: IpAddr) -> Vec<u8> {
    let behalf = Behalf { client, user: None, caller: None };
    let text = super::seal(keys, identity, to_revision, behalf, Purpose::Connection);
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [MARK, &length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Says who comes, and waits until the other side's app has the connection. `None`: it has not.
pub(crate) async fn introduce(mut opened: Opened, seal: &[u8]) -> Option<Opened> {
    let said = async {
        opened.stream.write_all(seal).await.ok()?;
        opened.stream.flush().await.ok()?;
        let mut first = Vec::with_capacity(LONGEST);
        while first.len() < TAKEN.len() && TAKEN.starts_with(&first) {
            opened.stream.read_buf(&mut first).await.ok().filter(|read| *read > 0)?;
        }
        // An app that speaks first may be quicker than its sidecar, which then says nothing.
        if first.starts_with(TAKEN) {
            first.drain(..TAKEN.len());
        }
        Some(first)
    };
    let first = tokio::time::timeout(PATIENCE, said).await.ok()??;
    Some(Opened { first, ..opened })
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The client's.
    Plain,
    /// A seal's, of which some are missing.
    More,
    /// A seal's, with its text here.
    Sealed(Range<usize>),
}

fn look(first: &[u8]) -> Look {
    let Some(rest) = first.strip_prefix(MARK) else { return Look::Plain };
    let Some((length, text)) = rest.split_first_chunk::<LENGTH>() else { return Look::More };
    let (length, begin) = (usize::from(u16::from_be_bytes(*length)), MARK.len() + LENGTH);
    match text.len() {
        _ if length > LONGEST => Look::Plain,
        have if have < length => Look::More,
        _ => Look::Sealed(begin..begin + length),
    }
}

/// A client's bytes, without the seal that may stand before them.
#[derive(Debug)]
pub(crate) struct Unsealed<R, O> {
    inner: R,
    /// Opens a seal.
    open: O,
    /// What was read of the first bytes, and not passed on.
    first: Vec<u8>,
    /// Whether it is known what they are.
    is_known: bool,
}

impl<R: AsyncRead + Unpin, O: Fn(&HeaderValue) -> Option<Handover> + Unpin> Unsealed<R, O> {
    /// `open` tells of a seal what it says, if its MAC is valid.
    pub(crate) fn new(inner: R, open: O) -> Self {
        Self { inner, open, first: Vec::new(), is_known: false }
    }

    /// Waits for the first bytes. `None`: they are the client's own, or there are none.
    pub(crate) async fn first(&mut self) -> io::Result<Option<Handover>> {
        std::future::poll_fn(|context| self.poll_first(context)).await
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Handover>>> {
        let mut handover = None;
        while !self.is_known {
            let mut space = [0; LONGEST];
            let mut space = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut space))?;
            self.first.extend_from_slice(space.filled());
            self.is_known = match look(&self.first) {
                Look::More if !space.filled().is_empty() => false,
                Look::Plain | Look::More => true,
                Look::Sealed(text) => {
                    let end = text.end;
                    let text = HeaderValue::from_bytes(self.first.get(text).unwrap_or_default());
                    // Nobody else begins like this: it is for another pod, or forged, and nothing that an app should read.
                    handover = text.ok().and_then(|text| (self.open)(&text));
                    if handover.is_none() {
                        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                    }
                    self.first.drain(..end);
                    true
                }
            };
        }
        Poll::Ready(Ok(handover))
    }
}

impl<R: AsyncRead + Unpin, O: Fn(&HeaderValue) -> Option<Handover> + Unpin> AsyncRead for Unsealed<R, O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_known {
            ready!(self.poll_first(context))?;
        }
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..length).unwrap_or_default());
        self.first.drain(..length);
        if self.first.is_empty() {
            self.first = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> MacKeys {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("k1"), [7; 32]).expect("written");
        let names = shop_contract::HandoverKeys { current: "k1".into(), next: None };
        MacKeys::read(directory.path(), &names).expect("keys")
    }

    fn identity(revision: i64) -> Identity {
        Identity { namespace: "shop".into(), service: "order".into(), service_uid: "u1".into(), revision }
    }

    async fn received(pieces: &[&[u8]]) -> (io::Result<Option<Handover>>, Vec<u8>) {
        let keys = keys();
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let open = |seal: &HeaderValue| super::super::open(&keys, &identity(8), |_| None, seal);
        let mut caller = Unsealed::new(far, open);
        let (first, ()) = tokio::join!(caller.first(), async {
            for piece in pieces {
                near.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
            drop(near);
        });
        let mut rest = Vec::new();
        let _ = caller.read_to_end(&mut rest).await;
        (first, rest)
    }

    #[tokio::test]
    async fn a_seal_is_taken_off_and_what_follows_is_not_touched() {
        let seal = seal(&keys(), &identity(7), 8, [10, 0, 0, 1].into());
        let (begin, end) = seal.split_at(40);
        let both = [&seal[..], b"hello"].concat();
        for pieces in [vec![&both[..]], vec![&seal, b"hello"], vec![begin, end, b"hello"]] {
            let (first, rest) = received(&pieces).await;
            let from = first.expect("read").expect("sealed");
            assert_eq!((from.from_revision, from.client), (7, [10, 0, 0, 1].into()));
            assert_eq!((from.purpose, &rest[..]), (Purpose::Connection, &b"hello"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_no_seal_passes_at_once() {
        let almost = &MARK[..15];
        for plain in [&b"hello"[..], almost, b"\xf5", b"\x16\x03\x01", b"v1;k1;7;::1;AA", TAKEN, b""] {
            let (first, rest) = received(&[plain]).await;
            assert_eq!((first.expect("read"), &rest[..]), (None, plain));
        }
        assert_eq!(look(&MARK[..15]), Look::Plain);
        assert_eq!(look(MARK), Look::More);
    }

    #[tokio::test]
    async fn a_forged_seal_is_no_way_in() {
        let mut forged = seal(&keys(), &identity(7), 8, [10, 0, 0, 1].into());
        let at = forged.iter().rposition(|byte| *byte == b';').expect("fields") - 1;
        forged[at] ^= 1;
        assert!(received(&[&forged]).await.0.is_err());
        let elsewhere = seal(&keys(), &identity(7), 9, [10, 0, 0, 1].into());
        assert!(received(&[&elsewhere]).await.0.is_err());
        // A header of a request is none of a connection: its purpose is under the MAC.
        let behalf = Behalf { client: [10, 0, 0, 1].into(), user: None, caller: None };
        let header = super::super::seal(&keys(), &identity(7), 8, behalf, Purpose::Answer);
        let text = header.to_str().expect("text").replace("v1;", "c1;");
        let length = u16::try_from(text.len()).expect("short").to_be_bytes();
        assert!(received(&[&[MARK, &length[..], text.as_bytes()].concat()]).await.0.is_err());
    }
}
