//! The HTTP/1 codec against raw bytes: whatever pieces they come in, and against an encoder that knows what they mean.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use shop_flow::http1::body::{Decoded, Decoder};
use shop_flow::http1::head::{self, Found, Scan};
use shop_flow::http1::{Bad, Framing};

const LONGEST: usize = 8 * 1024;

/// The first head in bytes that come in pieces of these sizes.
fn scan(bytes: &[u8], pieces: &[usize]) -> Result<Option<Found>, Bad> {
    let (mut scan, mut have) = (Scan::default(), 0);
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
    while have < bytes.len() {
        have = have.saturating_add(sizes.next().unwrap_or(1)).min(bytes.len());
        if let Some(found) = scan.advance(&bytes[..have], LONGEST)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Data, trailers, and how many bytes were taken.
type Body = (Vec<u8>, Vec<u8>, usize);

/// What is in a body that comes in pieces; `None` while more is needed.
fn decode(bytes: &[u8], framing: Framing, pieces: &[usize]) -> Result<Option<Body>, Bad> {
    let (mut decoder, mut data) = (Decoder::new(framing), Vec::new());
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
    let (mut at, mut have) = (0, 0);
    loop {
        let skipped = match decoder.decode(&bytes[at..have])? {
            Decoded::Data { skip, length } => {
                data.extend_from_slice(&bytes[at + skip..at + skip + length]);
                skip + length
            }
            Decoded::End { skip, trailers } => {
                let end = at + skip + trailers;
                return Ok(Some((data, bytes[at + skip..end].to_vec(), end)));
            }
            Decoded::More { skip } if have == bytes.len() => {
                assert!(at + skip <= have);
                return Ok(None);
            }
            Decoded::More { skip } => {
                have = have.saturating_add(sizes.next().unwrap_or(1)).min(bytes.len());
                skip
            }
        };
        at += skipped;
    }
}

/// Chunks as a lenient sender may write them.
fn chunked() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (
        prop::collection::vec(any::<u8>(), 1..40),
        0_usize..4,
        prop::bool::ANY,
        "(;[a-z]{1,5}(=[a-z]{1,5})?)?",
    );
    prop::collection::vec(chunk, 0..6).prop_map(|chunks| {
        let (mut wire, mut data) = (Vec::new(), Vec::new());
        for (bytes, zeros, upper, extension) in chunks {
            let size = if upper { format!("{:X}", bytes.len()) } else { format!("{:x}", bytes.len()) };
            wire.extend_from_slice(format!("{}{size}{extension}\r\n", "0".repeat(zeros)).as_bytes());
            wire.extend_from_slice(&bytes);
            wire.extend_from_slice(b"\r\n");
            data.extend_from_slice(&bytes);
        }
        wire.extend_from_slice(b"0\r\n");
        (wire, data)
    })
}

/// Bytes that are nearly a head.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "host: a",
        "content-length: 5",
        "content-length: 0",
        "transfer-encoding: chunked",
        " ",
        "x",
        ":",
        "\0",
        "connection: close",
        "\r\n\r\n",
    ]);
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn a_head_is_the_same_in_all_pieces(bytes in nearly_a_head(), pieces in prop::collection::vec(1_usize..9, 0..60)) {
        let whole = scan(&bytes, &[]);
        let cut = scan(&bytes, &pieces);
        // In pieces the head is found before bytes after it are seen.
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn what_is_taken_for_a_head_is_framed_beyond_doubt(bytes in nearly_a_head()) {
        let Ok(Some(found)) = scan(&bytes, &[]) else { return Ok(()) };
        let text = &bytes[found.skip..found.skip + found.length];
        prop_assert!(text.ends_with(b"\r\n\r\n"));
        let mut slots = head::slots();
        let Ok(read) = head::request(text, &mut slots) else { return Ok(()) };
        // Counted by a reader that knows nothing but lines.
        let lower = String::from_utf8_lossy(text).to_ascii_lowercase();
        let lengths = lower.matches("content-length").count();
        let codings = lower.matches("transfer-encoding").count();
        prop_assert!(lengths + codings <= 1, "{}", lower);
        prop_assert_eq!(read.framing == Framing::Chunked, codings == 1);
        prop_assert_eq!(read.framing == Framing::Length(5), lower.contains("content-length: 5\r\n"));
        prop_assert!(lower.split("\r\n").all(|line| !line.contains(['\r', '\n', '\0'])));
    }

    #[test]
    fn chunks_are_their_data(
        (wire, data) in chunked(),
        trailers in prop::sample::select(vec!["\r\n", "a: b\r\n\r\n", "a: b\r\nc: d\r\n\r\n"]),
        after in prop::collection::vec(any::<u8>(), 0..9),
        pieces in prop::collection::vec(1_usize..9, 0..300),
    ) {
        let whole = [&wire, trailers.as_bytes()].concat();
        let sent = [whole.as_slice(), &after].concat();
        let (read, told, end) = decode(&sent, Framing::Chunked, &pieces).expect("sound").expect("whole");
        prop_assert_eq!((read, end), (data, whole.len()));
        prop_assert_eq!(told, if trailers == "\r\n" { "" } else { trailers }.as_bytes());
        // None of its beginnings is a whole body.
        for cut in 0..whole.len() {
            prop_assert_eq!(decode(&whole[..cut], Framing::Chunked, &[]), Ok(None));
        }
    }

    #[test]
    fn any_bytes_are_the_same_in_all_pieces(
        bytes in prop::collection::vec(prop::sample::select(b"0123af\r\n\r\n\r\n;= x".to_vec()), 0..60),
        pieces in prop::collection::vec(1_usize..5, 0..60),
    ) {
        let whole = decode(&bytes, Framing::Chunked, &[]);
        prop_assert_eq!(whole, decode(&bytes, Framing::Chunked, &pieces));
    }

    #[test]
    fn a_length_is_kept(bytes in prop::collection::vec(any::<u8>(), 0..60), length in 0_u64..80, pieces in prop::collection::vec(1_usize..5, 0..60)) {
        let read = decode(&bytes, Framing::Length(length), &pieces).expect("sound");
        let expected = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
        prop_assert_eq!(read, expected.map(|data| (data.to_vec(), Vec::new(), data.len())));
    }
}

#[test]
fn limits_hold() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
    let read = |text: &str| head::request(text.as_bytes(), &mut head::slots()).map(|read| read.fields.len());
    assert_eq!(read(&fields(head::MAX_FIELDS)), Ok(head::MAX_FIELDS));
    assert_eq!(read(&fields(head::MAX_FIELDS + 1)), Err(Bad::TooLarge));
    assert_eq!(scan(&[b'a'; LONGEST + 1], &[]), Err(Bad::TooLarge));
    let trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(10_000));
    assert_eq!(decode(trailers.as_bytes(), Framing::Chunked, &[]), Err(Bad::TooLarge));
    let extension = format!("1;{}\r\nx\r\n", "x".repeat(1_000)).repeat(20);
    assert_eq!(decode(extension.as_bytes(), Framing::Chunked, &[]), Err(Bad::Malformed));
    assert_eq!(decode(&[b'0'; 5_000], Framing::Chunked, &[]), Err(Bad::Malformed));
}

#[test]
fn only_what_ends_with_the_connection_may() {
    for (framing, may) in [
        (Framing::Empty, true),
        (Framing::UntilEnd, true),
        (Framing::Length(1), false),
        (Framing::Chunked, false),
    ] {
        assert_eq!(Decoder::new(framing).end().is_ok(), may, "{framing:?}");
    }
}
