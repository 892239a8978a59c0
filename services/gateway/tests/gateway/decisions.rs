//! What the gateway decides, by calling it.

use http::Method;
use shop_gateway::domain::{Level, Network, place};

#[test]
fn paths_lead_to_services() {
    for (method, path, expected) in [
        (Method::GET, "/api/v1/products", Some(("product", "/products", true))),
        (Method::GET, "/api/v1/products/MUG-0001/", Some(("product", "/products/MUG-0001/", true))),
        (Method::PUT, "/api/v1/products/MUG-0001", Some(("product", "/products/MUG-0001", false))),
        (Method::POST, "/api/v1/users", Some(("user", "/users", true))),
        (Method::POST, "/api/v1/users/0123", Some(("user", "/users/0123", false))),
        (Method::GET, "/api/v1/users", Some(("user", "/users", false))),
        (Method::POST, "/api/v1/users/login/mini-program", Some(("user", "/users/login/mini-program", true))),
        (Method::POST, "/api/v1/users/logout", Some(("user", "/users/logout", false))),
        (
            Method::POST,
            "/api/v1/payments/callback/fakepay",
            Some(("payment", "/payments/callback/fakepay", true)),
        ),
        (Method::POST, "/api/v1/orders", Some(("order", "/orders", false))),
        (Method::GET, "/api/v1/productsx", None),
        (Method::GET, "/api/v1/", None),
        (Method::GET, "/api/v2/products", None),
        (Method::GET, "/api/v1/products/..;/users", None),
        (Method::GET, "/api/v1/products/a%2Fb", None),
        (Method::GET, "/api/v1/products/./a", None),
    ] {
        let found = place(&method, path);
        let found = found.as_ref().map(|found| (found.backend.name, found.path.as_str(), found.open));
        assert_eq!(found, expected, "{method} {path}");
    }
}

#[test]
fn what_can_wait_is_left_out_first() {
    for (in_flight, core, minor, later) in [
        (0, true, true, true),
        (59, true, true, true),
        (60, true, true, false),
        (80, true, false, false),
        (100, false, false, false),
    ] {
        let takes = [Level::Core, Level::Minor, Level::Async].map(|level| level.takes(in_flight, 100));
        assert_eq!(takes, [core, minor, later], "{in_flight}");
    }
}

#[test]
fn networks_are_read_and_hold_their_addresses() {
    for (network, inside, outside) in [
        ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("0.0.0.0/0", "8.8.8.8", "::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("::/0", "::1", "127.0.0.1"),
    ] {
        let read: Network = network.parse().unwrap();
        assert!(read.contains(inside.parse().unwrap()), "{network}");
        assert!(!read.contains(outside.parse().unwrap()), "{network}");
    }
    for wrong in ["", "203.0.113.0/33", "203.0.113", "::/129", "a/8", "203.0.113.0/-1"] {
        assert!(wrong.parse::<Network>().unwrap_err().to_string().contains("203.0.113.0/24"), "{wrong}");
    }
}
