//! Looks at the bytes of an HTTP/1 connection for requests that two servers could frame differently.
//!
//! A proxy must not pass on what the app might cut into other requests than it did itself (request smuggling, RFC 9112
//! section 11.2). hyper's parser accepts some of that and leaves no trace of it, so the bytes are followed here beside it: heads
//! must be lines that end in CRLF, with at most one `Content-Length` of digits or one `Transfer-Encoding: chunked`, never
//! both; chunk sizes must be plain. Nothing is changed or buffered; the first doubtful request and all after it are refused.

/// Longest line that is looked at; hyper refuses longer heads itself.
const MAX_LINE: usize = 64 * 1024;
/// Longest line of a chunk's size with extensions.
const MAX_CHUNK_LINE: usize = 4 * 1024;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    head: Head,
    /// A line whose end has not come yet.
    partial: Vec<u8>,
    heads: u64,
    doubtful: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    RequestLine,
    Headers,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Whether the request with this number (from 0) is doubtful, or follows on one that is.
    pub(super) fn is_doubtful(&self, request: u64) -> bool {
        self.doubtful.is_some_and(|first| request >= first)
    }

    /// Follows bytes that were read.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.doubtful.is_none() {
            bytes = match self.state {
                State::Body(left) => self.skip(bytes, left, State::Body, State::RequestLine),
                State::Chunk(left) => self.skip(bytes, left, State::Chunk, State::ChunkSize),
                _ => self.take_line(bytes),
            };
        }
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, more: fn(u64) -> State, end: State) -> &'a [u8] {
        let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - skipped as u64;
        self.state = if left == 0 { end } else { more(left) };
        bytes.get(skipped..).unwrap_or_default()
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.partial.extend_from_slice(bytes);
            let limit = if self.state == State::ChunkSize { MAX_CHUNK_LINE } else { MAX_LINE };
            if self.partial.len() > limit {
                self.doubt();
            }
            return &[];
        };
        let (line, rest) = bytes.split_at(end + 1);
        let followed = if self.partial.is_empty() {
            self.line(line)
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(line);
            self.line(&whole)
        };
        if followed.is_none() {
            self.doubt();
        }
        rest
    }

    /// `None`: doubtful.
    fn line(&mut self, line: &[u8]) -> Option<()> {
        let line = line.strip_suffix(b"\r\n")?;
        if line.contains(&b'\r') {
            return None;
        }
        self.state = match self.state {
            // Empty lines before a request are from clients that end a body with one (RFC 9112 section 2.2).
            State::RequestLine | State::Trailers if line.is_empty() => State::RequestLine,
            State::RequestLine => {
                self.head = Head::default();
                State::Headers
            }
            State::Headers if line.is_empty() => self.end_of_head()?,
            State::Headers => {
                self.header(line)?;
                State::Headers
            }
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailers,
                size => State::Chunk(size.checked_add(2)?),
            },
            other => other,
        };
        Some(())
    }

    fn header(&mut self, line: &[u8]) -> Option<()> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii();
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            if !plain || self.head.length.is_some() {
                return None;
            }
            self.head.length = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return None;
            }
            self.head.chunked = true;
        }
        Some(())
    }

    fn end_of_head(&mut self) -> Option<State> {
        let next = match (self.head.length, self.head.chunked) {
            (Some(_), true) => return None,
            (None, true) => State::ChunkSize,
            (None | Some(0), false) => State::RequestLine,
            (Some(length), false) => State::Body(length),
        };
        self.heads += 1;
        Some(next)
    }

    /// Doubt in a head is about that request; doubt in a body's chunks is about what follows it, and the body itself is refused
    /// with it if it has not begun to be served.
    fn doubt(&mut self) {
        let in_body = matches!(self.state, State::ChunkSize | State::Trailers);
        self.doubtful = Some(if in_body { self.heads.saturating_sub(1) } else { self.heads });
        self.partial = Vec::new();
    }
}

/// Hexadecimal digits, and extensions that are dropped with the chunk's head.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let plain = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    if plain { u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of the first doubtful request, whatever pieces the bytes come in.
    fn first_doubtful(bytes: &str) -> Option<u64> {
        let mut answers = Vec::new();
        for piece in [1, 2, 3, 7, 1_000] {
            let mut framing = Framing::default();
            for part in bytes.as_bytes().chunks(piece) {
                framing.observe(part);
            }
            answers.push(framing.doubtful);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        answers[0]
    }

    #[test]
    fn plain_requests_pass() {
        let requests = concat!(
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nab\ncd",
            "\r\nPOST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n",
            "3;name=value\r\na\nb\r\n0A\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        );
        assert_eq!(first_doubtful(requests), None);
    }

    #[test]
    fn doubtful_requests_do_not() {
        let heads = [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "content-length:\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "bare: line\n",
            "carriage: re\rturn\r\n",
            "no colon\r\n",
        ];
        for head in heads {
            let bytes =
                format!("GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\n{head}\r\nhello");
            assert_eq!(first_doubtful(&bytes), Some(1), "{head:?}");
        }
    }

    #[test]
    fn chunk_sizes_must_be_plain() {
        for size in ["5 ", " 5", "0x5", "-5", "", "fffffffffffffffff", "5\n"] {
            let bytes =
                format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\nhello\r\n0\r\n\r\n");
            assert_eq!(first_doubtful(&bytes), Some(0), "{size:?}");
        }
    }
}
