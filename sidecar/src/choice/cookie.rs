//! Finds a cookie in a request (RFC 6265 section 4.2).

use http::{HeaderMap, header};

/// Cookies that are looked at in one request. Browsers keep about 180 per site; what comes after this many is not read.
const MOST: usize = 256;

/// Values of the cookie with this name, in the order of the request; names are compared exactly. There may be several: of a
/// page and of the folder above it.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(header::COOKIE).iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).take(MOST);
    pairs.filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        (found.trim_ascii() == name).then(|| unquoted(value.trim_ascii()))
    })
}

/// A value may stand in double quotes, which are not part of it.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(fields: &[&str], name: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, HeaderValue::try_from(*field).expect("header"));
        }
        values(&headers, name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn finds_what_browsers_send() {
        assert_eq!(found(&["session=abc; beta=1"], "beta"), ["1"]);
        assert_eq!(found(&["session=abc;beta = \"1\" "], "beta"), ["1"]);
        assert_eq!(found(&["beta=1; beta=2", "beta=3"], "beta"), ["1", "2", "3"]);
        assert_eq!(found(&["token=a=b=="], "token"), ["a=b=="]);
        assert_eq!(found(&["beta="], "beta"), [""]);
    }

    #[test]
    fn is_not_misled() {
        for field in ["Beta=1", "xbeta=1", "beta", "other=beta=1", "=beta", ";;;", "", "\"beta=1\""] {
            assert_eq!(found(&[field], "beta"), Vec::<String>::new(), "{field}");
        }
    }

    #[test]
    fn reads_so_many_and_no_more() {
        let many = |before: usize| format!("{}beta=1", "a=1; ".repeat(before));
        assert_eq!(found(&[&many(MOST - 1)], "beta"), ["1"]);
        assert_eq!(found(&[&many(MOST)], "beta"), Vec::<String>::new());
        assert_eq!(found(&["a=1"; MOST], "beta"), Vec::<String>::new());
    }
}
