//! HTTP/2 on sockets, by the `h2` crate: bodies that come and go, signs of life, and streams as bytes.

mod alive;
mod receive;
mod send;
mod tunnel;

pub(crate) use alive::{Alive, State};
pub(crate) use receive::Received;
pub(crate) use send::{SendError, Sending};
pub(crate) use tunnel::{StreamReader, StreamWriter};

/// Bytes that the other side may send on a stream before somebody reads them.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// The same on a connection, all streams together.
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a stream that wait in memory for the other side to take them.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// Largest frame that is taken.
pub(crate) const MAX_FRAME: u32 = 16 * 1024;
