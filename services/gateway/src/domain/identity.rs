//! Who a request is from, as services behind the gateway are told; nobody else may say it.

use http::{HeaderMap, HeaderName};

/// The user's id: the same header that a sidecar tells.
pub const USER: HeaderName = HeaderName::from_static("x-user-id");
/// The user's roles, with commas between them.
pub const ROLES: HeaderName = HeaderName::from_static("x-user-roles");

/// Removes what others say of the user, also in spellings that some servers take for the same (`x_user_id`).
pub fn strip(headers: &mut HeaderMap) {
    let same =
        |name: &HeaderName| matches!(name.as_str().replace('_', "-").as_str(), "x-user-id" | "x-user-roles");
    let names: Vec<HeaderName> = headers.keys().filter(|name| same(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a field of a message goes on to the other side: all but those of the connection (RFC 9110 section 7.6.1), which
/// `listed` has those that `connection` names of.
pub fn carries_on(name: &HeaderName, listed: &[HeaderName]) -> bool {
    const HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    !HOP.contains(&name.as_str()) && !listed.contains(name)
}
