//! Follows the frames of a WebSocket from app to client, so that a close frame can be put between two of them.
//!
//! RFC 6455 section 5.2: two bytes, then 0, 2 or 8 bytes of length, then the mask (never from a server), then the payload.

/// Opcode of a close frame.
const CLOSE: u8 = 0x8;

/// A close frame with status 1012, "service restart": the client is to connect again, and reaches another pod.
pub(super) const SERVICE_RESTART: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

/// Position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 14],
    have: usize,
    payload: u64,
    closed: bool,
}

impl Frames {
    /// Follows bytes that are passed on.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            bytes = rest;
            self.end_head();
        }
    }

    /// Whether the last frame is complete.
    pub(super) fn between_frames(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Whether a close frame was passed on: nothing may follow it.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    fn end_head(&mut self) {
        let [first, second, ..] = self.head;
        if self.have < 2 {
            return;
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + length_bytes + mask_bytes {
            return;
        }
        let long = self.head.get(2..2 + length_bytes).unwrap_or_default();
        self.payload = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.closed |= first & 0x0f == CLOSE;
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_where_a_frame_ends() {
        let mut long = vec![0x82, 126, 1, 0];
        long.extend([7; 256]);
        let mut longest = vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        longest.resize(10 + 65_536, 0x88);
        let masked = vec![0x81, 0x82, 1, 2, 3, 4, 5, 6];
        for frame in [vec![0x81, 2, 0x88, 0x88], vec![0x89, 0], long, longest, masked] {
            for piece in [1, 2, 3, 1_000] {
                let mut frames = Frames::default();
                let (last, rest) = frame.split_last().expect("bytes");
                rest.chunks(piece).for_each(|part| frames.advance(part));
                assert!(!frames.between_frames());
                frames.advance(&[*last]);
                assert!(frames.between_frames() && !frames.closed());
            }
        }
    }

    #[test]
    fn sees_the_close_frame() {
        let mut frames = Frames::default();
        frames.advance(&[0x81, 1, b'x']);
        frames.advance(&SERVICE_RESTART);
        assert!(frames.between_frames() && frames.closed());
        assert_eq!(u16::from_be_bytes([SERVICE_RESTART[2], SERVICE_RESTART[3]]), 1012);
    }
}
