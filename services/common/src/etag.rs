//! Conditional requests (RFC 9110, section 13): whether the client already has what would be sent.

/// Whether an `If-None-Match` value names `etag`, compared weakly as the RFC asks for.
///
/// `etag` is a strong tag with its quotes. Tags made here hold no comma, so that the list can be split at commas.
///
/// ```
/// use shop_common::etag::is_known;
/// assert!(is_known(r#""a1", W/"b2""#, r#""b2""#));
/// assert!(is_known("*", r#""b2""#));
/// assert!(!is_known(r#""a1""#, r#""b2""#));
/// ```
pub fn is_known(if_none_match: &str, etag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn an_empty_or_unquoted_value_is_not_known() {
        assert!(!is_known("", r#""b2""#));
        assert!(!is_known("b2", r#""b2""#));
    }
}
