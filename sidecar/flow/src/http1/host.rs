//! Which values name a host (RFC 9110 section 7.2).

/// Whether it is a host with or without a port: no user, no path, no list.
pub fn is_valid(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (inside, after) = rest.split_at(end);
            let plain = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if inside.is_empty() || !inside.iter().all(plain) {
                return false;
            }
            match after {
                b"]" => return true,
                [_, b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        None => match host.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (name, port) = host.split_at(colon);
                (name, port.get(1..))
            }
            None => (host, None),
        },
    };
    !name.is_empty() && name.iter().copied().all(is_name) && port.is_none_or(is_port)
}

fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
    });
    number.is_some_and(|number| u16::try_from(number).is_ok())
}

/// Of the characters that RFC 3986 allows, the comma is left out: some read a list.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["a", "a.b:80", "127.0.0.1:65535", "[::1]", "[::1]:80", "a_b", "a:", "xn--a"] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "u@a", "a,b", "a:b", "a:65536", "[::1", "[]", "[::1]x", "[g]", "a\0",
            "a:80:80",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}
