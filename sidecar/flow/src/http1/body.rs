//! Bodies: which bytes are data, and where the body ends.

use super::head::Scan;
use super::{Bad, Framing};

/// Longest line of a chunk's size with its extensions.
const MAX_LINE: usize = 4 * 1024;
/// Extensions of all chunks of a body.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Longest trailer section.
pub const MAX_TRAILERS: usize = 8 * 1024;

/// Follows one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    UntilEnd,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Framing, then data.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of data.
        length: usize,
    },
    /// Framing, and then more is needed.
    More {
        /// Bytes of framing.
        skip: usize,
    },
    /// Framing, then the trailer section, if there is one, and the body has ended.
    End {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of the trailer section with its empty line; 0 without one.
        trailers: usize,
    },
}

impl Decoder {
    /// Of a body that has not begun.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilEnd => State::UntilEnd,
        };
        Self { state, extensions: 0 }
    }

    /// Whether the whole body has been told.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that are still to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// `bytes`: those that follow what was told before. All that is told is taken.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, Bad> {
        let mut skip = 0;
        loop {
            let rest = bytes.get(skip..).unwrap_or_default();
            self.state = match self.state {
                State::Done => return Ok(Decoded::End { skip, trailers: 0 }),
                State::Length(left) => {
                    return Ok(self.data(skip, rest.len(), left, State::Length, State::Done));
                }
                State::Chunk(left) => {
                    return Ok(self.data(skip, rest.len(), left, State::Chunk, State::ChunkEnd));
                }
                State::UntilEnd if rest.is_empty() => return Ok(Decoded::More { skip }),
                State::UntilEnd => return Ok(Decoded::Data { skip, length: rest.len() }),
                State::Size => {
                    let Some(end) = line(rest, MAX_LINE)? else { return Ok(Decoded::More { skip }) };
                    let size = self.size(rest.get(..end).unwrap_or_default())?;
                    skip += end + 2;
                    if size == 0 { State::Trailers } else { State::Chunk(size) }
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        State::Size
                    }
                    [] | [b'\r'] => return Ok(Decoded::More { skip }),
                    _ => return Err(Bad::Malformed),
                },
                State::Trailers => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        State::Done
                    }
                    [] | [b'\r'] => return Ok(Decoded::More { skip }),
                    _ => {
                        let found = Scan::default().advance(rest, MAX_TRAILERS)?;
                        let Some(found) = found else { return Ok(Decoded::More { skip }) };
                        self.state = State::Done;
                        return Ok(Decoded::End { skip, trailers: found.length });
                    }
                },
            };
        }
    }

    /// The connection has ended.
    pub fn end(&mut self) -> Result<(), Bad> {
        match self.state {
            State::Done => Ok(()),
            State::UntilEnd => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Bad::CutOff),
        }
    }

    fn data(&mut self, skip: usize, have: usize, left: u64, more: fn(u64) -> State, end: State) -> Decoded {
        if have == 0 {
            return Decoded::More { skip };
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(have);
        let left = left - length as u64;
        self.state = if left == 0 { end } else { more(left) };
        Decoded::Data { skip, length }
    }

    /// Hexadecimal digits; extensions are dropped.
    fn size(&mut self, line: &[u8]) -> Result<u64, Bad> {
        let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let (digits, extension) = line.split_at(digits);
        self.extensions += extension.len();
        let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        if !(1..=15).contains(&digits.len())
            || self.extensions > MAX_EXTENSIONS
            || extension.iter().any(control)
        {
            return Err(Bad::Malformed);
        }
        digits.iter().try_fold(0, |size, byte| {
            let digit = char::from(*byte).to_digit(16).ok_or(Bad::Malformed)?;
            Ok(size << 4 | u64::from(digit))
        })
    }
}

/// Where a line ends, without its CRLF.
fn line(bytes: &[u8], longest: usize) -> Result<Option<usize>, Bad> {
    let Some(feed) = memchr::memchr(b'\n', bytes.get(..longest).unwrap_or(bytes)) else {
        return if bytes.len() >= longest { Err(Bad::Malformed) } else { Ok(None) };
    };
    let end = feed.checked_sub(1).ok_or(Bad::Malformed)?;
    if bytes.get(end) == Some(&b'\r') { Ok(Some(end)) } else { Err(Bad::Malformed) }
}
