//! HTTP/1 messages as bytes (RFC 9112), strictly: what two servers could read in two ways is an error.
//!
//! A head is found ([`head::Scan`]), read and judged ([`head::request`], [`head::response`]); a body is cut into data and framing
//! ([`body::Decoder`]). The tokens are read by `httparse`, which is lenient in places: what it lets through is judged here.

pub mod body;
pub mod head;
pub mod host;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not what the grammar allows, or framed in a way that is not beyond doubt.
    Malformed,
    /// A head or a trailer section with more bytes or fields than allowed.
    TooLarge,
    /// The connection ended before the message.
    CutOff,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All bytes until the connection ends; only answers.
    UntilEnd,
}
