//! Where a request goes: the first segment after `/api/v1` names the service, and the rest is its path there.

use http::Method;

use super::Level;

/// A service behind the gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: &'static str,
    /// First segments of the paths that it answers.
    pub segments: &'static [&'static str],
    /// How soon it is left out when there is too much to do.
    pub level: Level,
    /// Whether what it last answered to everybody may be sent when it cannot be reached.
    pub last_good: bool,
}

const fn core(name: &'static str, segments: &'static [&'static str]) -> Backend {
    Backend { name, segments, level: Level::Core, last_good: false }
}

/// All services. What the list does not name is not reachable from outside.
pub const BACKENDS: [Backend; 8] = [
    core("user", &["users"]),
    Backend { last_good: true, ..core("product", &["products"]) },
    core("cart", &["cart"]),
    core("order", &["orders"]),
    core("inventory", &["inventory"]),
    core("payment", &["payments"]),
    Backend { level: Level::Minor, ..core("prices", &["prices"]) },
    Backend { level: Level::Async, ..core("chat", &["chat"]) },
];

/// Places that need no token: a path with all below it, and the methods.
const OPEN: [(&str, &[Method]); 8] = [
    ("/users/login", &[Method::POST]),
    ("/users/token/refresh", &[Method::POST]),
    ("/products", &[Method::GET, Method::HEAD]),
    ("/prices", &[Method::GET]),
    // The provider signs what it sends.
    ("/payments/callback", &[Method::POST]),
    // Where buyers come back to from the provider, without their token.
    ("/payments/return", &[Method::GET]),
    ("/.well-known/jwks.json", &[Method::GET]),
    // Registering; only this very path.
    ("/users", &[Method::POST]),
];

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// To which service.
    pub backend: &'static Backend,
    /// Its path there.
    pub path: String,
    /// Whether it needs no token.
    pub open: bool,
    /// Whether it is `/api/v1/me`: the caller's own account, whose id is not known yet.
    pub me: bool,
}

/// Where a request goes; `None`: nowhere.
pub fn place(method: &Method, path: &str) -> Option<Place> {
    let rest = path.strip_prefix("/api/v1").filter(|_| is_plain(path))?;
    let (_, segments) = rest.split_once('/')?;
    let first = segments.split('/').next().unwrap_or_default();
    let me = rest == "/me";
    let named = |one: &&Backend| one.segments.contains(&first) || (me && one.name == "user");
    let backend = BACKENDS.iter().find(named)?;
    Some(Place { backend, path: rest.to_owned(), open: is_open(method, rest), me })
}

fn is_open(method: &Method, path: &str) -> bool {
    OPEN.iter().any(|(open, methods)| {
        let below = path.strip_prefix(open);
        let fits =
            below.is_some_and(|below| below.is_empty() || (below.starts_with('/') && *open != "/users"));
        fits && methods.contains(method)
    })
}

/// Whether all servers read a path in the same way: nothing that one of them could take for a dot segment or a slash.
fn is_plain(path: &str) -> bool {
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let lower = path.to_ascii_lowercase();
    !trimmed.split('/').skip(1).any(odd)
        && !path.contains(['\\', ';'])
        && !["%2e", "%2f", "%5c", "%25", "%00", "%3b"].iter().any(|code| lower.contains(code))
}
