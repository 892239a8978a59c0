//! Heads: where one ends, and what it says.

use core::mem::MaybeUninit;

use super::{Bad, Framing, host};

/// Fields in a head, beyond which it is refused.
pub const MAX_FIELDS: usize = 100;
/// Bytes of empty lines that are skipped before a head: some clients end a body with one (RFC 9112 section 2.2).
const MAX_EMPTY: usize = 4;

/// A field's name and value.
pub type Field<'b> = httparse::Header<'b>;
/// Room for a head's fields.
pub type Slots<'b> = [MaybeUninit<Field<'b>>; MAX_FIELDS];

/// Room for a head's fields, not filled yet.
pub fn slots<'b>() -> Slots<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// The same for trailers.
pub fn empty<'b>() -> [Field<'b>; MAX_FIELDS] {
    [httparse::EMPTY_HEADER; MAX_FIELDS]
}

/// Looks for the end of a head in bytes that come in pieces. Every byte is looked at once.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    at: usize,
    line: usize,
    skip: usize,
    begun: bool,
}

/// Where a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bytes of empty lines before it.
    pub skip: usize,
    /// Its bytes, with the empty line at its end.
    pub length: usize,
}

impl Scan {
    /// `bytes`: all that came since the last head. Lines must end in CRLF. After a head was found, the scan begins anew.
    pub fn advance(&mut self, bytes: &[u8], longest: usize) -> Result<Option<Found>, Bad> {
        while let Some(offset) = memchr::memchr(b'\n', bytes.get(self.at..).unwrap_or_default()) {
            let end = self.at + offset;
            if end <= self.line || bytes.get(end - 1) != Some(&b'\r') {
                return Err(Bad::Malformed);
            }
            let is_empty = end - self.line == 1;
            self.at = end + 1;
            self.line = end + 1;
            if !is_empty {
                self.begun = true;
            } else if self.begun {
                let found = Found { skip: self.skip, length: self.at - self.skip };
                *self = Self::default();
                return if found.length <= longest { Ok(Some(found)) } else { Err(Bad::TooLarge) };
            } else {
                self.skip = self.at;
                if self.skip > MAX_EMPTY {
                    return Err(Bad::Malformed);
                }
            }
        }
        self.at = bytes.len();
        if bytes.len() - self.skip > longest { Err(Bad::TooLarge) } else { Ok(None) }
    }
}

/// A request's head that is beyond doubt.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// As it came.
    pub method: &'b str,
    /// As it came.
    pub target: &'b str,
    /// HTTP/1.0, else 1.1.
    pub is_http10: bool,
    /// In their order.
    pub fields: &'h [Field<'b>],
    /// Of the body.
    pub framing: Framing,
    /// Whether the client may send another request after this one.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub expects_continue: bool,
}

/// Reads a request's head, as [`Scan`] found it.
pub fn request<'h, 'b>(head: &'b [u8], slots: &'h mut Slots<'b>) -> Result<Request<'h, 'b>, Bad> {
    let mut read = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    is_whole(config.parse_request_with_uninit_headers(&mut read, head, slots), head)?;
    let (Some(method), Some(target), Some(version)) = (read.method, read.path, read.version) else {
        return Err(Bad::Malformed);
    };
    let fields: &'h [Field<'b>] = read.headers;
    let is_http10 = version == 0;
    let known = Known::of(fields, is_http10)?;
    is_target(method, target)?;
    // Only HTTP/1.0 does without.
    if !known.host.unwrap_or(is_http10) {
        return Err(Bad::Malformed);
    }
    let framing = match (known.length, known.chunked) {
        (None | Some(0), false) => Framing::Empty,
        (Some(length), false) => Framing::Length(length),
        (_, true) => Framing::Chunked,
    };
    let expects_continue = known.expects_continue && !is_http10 && framing != Framing::Empty;
    Ok(Request {
        method,
        target,
        is_http10,
        fields,
        framing,
        keep_alive: known.keep_alive(is_http10),
        expects_continue,
    })
}

/// An answer's head that is beyond doubt.
#[derive(Debug)]
pub struct Response<'h, 'b> {
    /// From 100 to 999.
    pub status: u16,
    /// HTTP/1.0, else 1.1.
    pub is_http10: bool,
    /// In their order.
    pub fields: &'h [Field<'b>],
    /// Of the body.
    pub framing: Framing,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
}

/// Reads an answer's head, as [`Scan`] found it. `to_head`: it answers a HEAD request.
pub fn response<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut Slots<'b>,
    to_head: bool,
) -> Result<Response<'h, 'b>, Bad> {
    let mut read = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    is_whole(config.parse_response_with_uninit_headers(&mut read, head, slots), head)?;
    let (Some(status @ 100..), Some(version)) = (read.code, read.version) else { return Err(Bad::Malformed) };
    let fields: &'h [Field<'b>] = read.headers;
    let is_http10 = version == 0;
    let known = Known::of(fields, is_http10)?;
    let bodiless = to_head || matches!(status, 100..200 | 204 | 304);
    let framing = match (known.length, known.chunked) {
        _ if bodiless => Framing::Empty,
        (Some(0), false) => Framing::Empty,
        (Some(length), false) => Framing::Length(length),
        (_, true) => Framing::Chunked,
        (None, false) => Framing::UntilEnd,
    };
    let keep_alive = known.keep_alive(is_http10) && framing != Framing::UntilEnd;
    Ok(Response { status, is_http10, fields, framing, keep_alive })
}

/// Reads a trailer section, with the empty line at its end.
pub fn trailers<'h, 'b>(
    section: &'b [u8],
    slots: &'h mut [Field<'b>; MAX_FIELDS],
) -> Result<&'h [Field<'b>], Bad> {
    match httparse::parse_headers(section, slots) {
        Ok(httparse::Status::Complete((length, fields))) if length == section.len() => Ok(fields),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::TooLarge),
        _ => Err(Bad::Malformed),
    }
}

fn is_whole(read: httparse::Result<usize>, head: &[u8]) -> Result<(), Bad> {
    match read {
        Ok(httparse::Status::Complete(length)) if length == head.len() => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::TooLarge),
        _ => Err(Bad::Malformed),
    }
}

/// The four forms of RFC 9112 section 3.2, without a fragment.
fn is_target(method: &str, target: &str) -> Result<(), Bad> {
    let absolute = ["http://", "https://"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)));
    let fits = match method {
        "CONNECT" => true,
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || absolute,
    };
    if fits && !target.contains('#') { Ok(()) } else { Err(Bad::Malformed) }
}

/// What fields say that matter for the message itself.
#[derive(Default)]
struct Known {
    length: Option<u64>,
    chunked: bool,
    /// Whether it is one, and only one.
    host: Option<bool>,
    /// What `Connection` says about its end.
    stays: Option<bool>,
    expects_continue: bool,
}

impl Known {
    fn of(fields: &[Field<'_>], is_http10: bool) -> Result<Self, Bad> {
        let mut known = Self::default();
        for field in fields {
            // By length first: most fields are none of these.
            match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => {
                    known.host = Some(known.host.is_none() && host::is_valid(field.value));
                }
                6 if field.name.eq_ignore_ascii_case("expect") => {
                    known.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if field.name.eq_ignore_ascii_case("connection") => known.connection(field.value),
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    if known.length.is_some() {
                        return Err(Bad::Malformed);
                    }
                    known.length = Some(number(field.value)?);
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if known.chunked || is_http10 || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Bad::Malformed);
                    }
                    known.chunked = true;
                }
                _ => {}
            }
        }
        if known.chunked && known.length.is_some() { Err(Bad::Malformed) } else { Ok(known) }
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.stays = Some(false);
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.stays = self.stays.or(Some(true));
            }
        }
    }

    fn keep_alive(&self, is_http10: bool) -> bool {
        self.stays.unwrap_or(!is_http10)
    }
}

/// Digits, and nothing else.
fn number(value: &[u8]) -> Result<u64, Bad> {
    if value.is_empty() {
        return Err(Bad::Malformed);
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0')).ok_or(Bad::Malformed)?;
        number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or(Bad::Malformed)
    })
}
