//! How often somebody may ask.

use std::time::Duration;

use shop_common::Code;
use shop_gateway::limits::{BURST, Limits, PER_ADDRESS, PER_USER_AND_MINUTE, SUSPENSION};

use crate::shop::{Shop, mirror, users};

fn code(result: Result<(), shop_common::Problem>) -> Option<Code> {
    result.err().map(|problem| problem.code())
}

#[test]
fn a_user_may_ask_in_bursts_and_is_suspended_beyond_the_minute() {
    let limits = Limits::new(Vec::new(), Vec::new(), vec!["mallory".to_owned()]);
    let at = Duration::from_millis;
    for _ in 0..BURST {
        assert_eq!(code(limits.user("ada", at(0))), None);
    }
    assert_eq!(code(limits.user("ada", at(0))), Some(Code::RateLimited));
    assert_eq!(code(limits.user("bob", at(0))), None, "others are not concerned");
    // Ten a second from now on.
    let mut admitted = BURST;
    let mut now = 100;
    while code(limits.user("ada", at(now))).is_none() {
        admitted += 1;
        now += 100;
    }
    assert_eq!(admitted, PER_USER_AND_MINUTE);
    assert_eq!(code(limits.user("ada", at(now + 100))), Some(Code::Suspended));
    let suspension = at(now) + SUSPENSION;
    assert_eq!(code(limits.user("ada", suspension.saturating_sub(at(1)))), Some(Code::Suspended));
    assert_eq!(code(limits.user("ada", suspension)), None);
    assert_eq!(code(limits.user("mallory", at(0))), Some(Code::AddressDenied));
}

#[test]
fn an_address_may_ask_so_often_and_some_may_not() {
    let networks = |text: &str| vec![text.parse().unwrap()];
    let limits = Limits::new(networks("10.1.0.0/16"), networks("2001:db8::/32"), Vec::new());
    let now = Duration::from_secs(1);
    for address in ["192.0.2.1", "2a00::1"] {
        let address = address.parse().unwrap();
        for _ in 0..PER_ADDRESS {
            assert_eq!(code(limits.address(address, now)), None);
        }
        assert_eq!(code(limits.address(address, now)), Some(Code::RateLimited));
    }
    assert_eq!(
        code(limits.address("2a00::2".parse().unwrap(), now)),
        Some(Code::RateLimited),
        "the same network"
    );
    assert_eq!(code(limits.address("2001:db8::1".parse().unwrap(), now)), Some(Code::AddressDenied));
    for _ in 0..2 * PER_ADDRESS {
        assert_eq!(code(limits.address("10.1.2.3".parse().unwrap(), now)), None);
    }
}

#[tokio::test]
async fn too_many_are_told_when_to_come_again() {
    let (users, orders) = (users(&[]).await, mirror().await);
    let flags = ["--user-url", &users.url(), "--order-url", &orders.url()];
    let shop = Shop::open(&flags).await;
    let (token, _) = shop.join("ada").await;
    let mut codes = Vec::new();
    // Two were for joining; no token at all counts for the address, too.
    for number in 0..PER_ADDRESS {
        let token = if number % 2 == 0 { token.as_str() } else { "" };
        let answer = shop.get("/api/v1/orders", token).await;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
        codes.push(answer.status.as_u16());
    }
    assert_eq!(codes[0], 200);
    assert_eq!(codes.iter().filter(|code| **code == 401).count(), 49, "{codes:?}");
    assert_eq!(codes[98..], [429, 429]);
    let sidecar = Shop::open(&[&flags[..], &["--sidecar", "limits"]].concat()).await;
    for _ in 0..2 * PER_ADDRESS {
        assert_eq!(sidecar.get("/api/v1/orders", &token).await.status, 200, "the sidecar sees to it");
    }
}
