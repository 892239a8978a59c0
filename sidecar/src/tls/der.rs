//! When a certificate ends: the one thing of it that is shown, and that the library which verifies it does not tell.
//!
//! Walks the DER of RFC 5280 section 4.1 to `validity`, and no further. Whether the certificate is one was checked before.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::UnixTime;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter`, in seconds since 1970.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, _, rest) = any(validity)?;
    let (tag, text, _) = any(rest)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Whether the time of a certificate that was verified once is over. A session that is resumed brings the one that was verified when
/// it began.
pub(super) fn is_over(certificate: &[u8]) -> bool {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    not_after(certificate).is_none_or(|end| now > end)
}

fn time(tag: u8, text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let text = match tag {
        // RFC 5280 section 4.1.2.5.1: from 50 on it is 19xx.
        UTC_TIME if text.len() == 12 => format!("{}{text}", if text >= "50" { "19" } else { "20" }),
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Content of the element of this tag at the beginning, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(bytes)?;
    (found == tag).then_some((content, rest))
}

fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000010Z", Some(10)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (UTC_TIME, "20500101000000Z", None),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
        ] {
            assert_eq!(time(tag, text), expected, "{text}");
        }
    }

    #[test]
    fn of_a_certificate() {
        let mut asked = rcgen::CertificateParams::default();
        asked.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = asked.self_signed(&key).expect("certificate");
        assert_eq!((not_after(certificate.der()), is_over(certificate.der())), (Some(1_927_843_200), false));
        assert!(is_over(b""), "what cannot be read is not good");
        for cut in 0..certificate.der().len().min(150) {
            // Whatever it says, it ends.
            let _ = not_after(&certificate.der()[..cut]);
        }
    }
}
