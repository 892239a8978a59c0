//! Ids of users and sessions, and secrets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An id that sorts by time: 48 bits of milliseconds since 1970 and 80 random ones, as 32 hexadecimal digits.
///
/// ```
/// use shop_user::domain::id;
/// assert!(id(1_800_000_000_000, &[0xff; 10]) < id(1_800_000_000_001, &[0; 10]));
/// ```
pub fn id(now_ms: i64, random: &[u8; 10]) -> String {
    let time = now_ms.to_be_bytes();
    let bytes = time.iter().skip(2).chain(random);
    bytes.fold(String::with_capacity(32), |text, byte| text + &format!("{byte:02x}"))
}

/// 256 random bits as text.
pub fn key(random: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}
