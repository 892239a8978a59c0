use http::HeaderValue;
use shop_contract::Pair;

use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::try_from(*value).expect("value"));
    }
    headers
}

#[allow(clippy::unnecessary_wraps)]
fn pair(name: &str, value: &str) -> Option<Pair> {
    Some(Pair { name: name.into(), value: value.into() })
}

fn choice(share: u32, matches: Vec<Match>, sticky: Option<Sticky>) -> Choice {
    let hand_off = HandOff { matches, sticky, ..HandOff::new(8, share, "order:80".into(), true) };
    Choice::new(&hand_off, Arc::default())
}

#[test]
fn a_match_is_taken_at_share_zero_and_any_of_them_is_enough() {
    let matches = vec![
        Match { header: pair("User-Tier", "premium"), cookie: None },
        Match { header: None, cookie: pair("beta", "1") },
        Match { header: pair("x-a", "1"), cookie: pair("b", "2") },
    ];
    let choice = choice(0, matches, None);
    for (fields, taken) in [
        (&[][..], false),
        (&[("user-tier", "premium")], true),
        (&[("user-tier", "Premium")], false),
        (&[("user-tier", "basic"), ("user-tier", "premium")], true),
        (&[("cookie", "a=b; beta=1")], true),
        (&[("cookie", "beta=10")], false),
        (&[("x-a", "1")], false),
        (&[("cookie", "b=2")], false),
        (&[("x-a", "1"), ("cookie", "b=2")], true),
    ] {
        assert_eq!(choice.takes(&headers(fields), CLIENT, None), taken, "{fields:?}");
    }
}

#[test]
fn a_match_that_asks_for_nothing_takes_nothing() {
    let impossible = Match { header: pair("a b", "1"), cookie: None };
    let choice = choice(0, vec![Match::default(), impossible], None);
    assert!(!choice.takes(&HeaderMap::new(), CLIENT, None));
}

#[test]
fn matched_requests_are_not_counted_in_the_share() {
    let choice = choice(5_000, vec![Match { header: pair("x-a", "1"), cookie: None }], None);
    let (matched, other) = (headers(&[("x-a", "1")]), HeaderMap::new());
    let mut taken = 0;
    for _ in 0..100 {
        assert!(choice.takes(&matched, CLIENT, None));
        taken += usize::from(choice.takes(&other, CLIENT, None));
    }
    assert_eq!(taken, 50);
}

#[test]
fn a_user_stays_on_one_side_while_the_share_rises() {
    type Request = fn(u32) -> (HeaderMap, IpAddr);
    let kinds: [(Sticky, Request); 3] = [
        (Sticky::Header("X-User-Id".into()), |n| (headers(&[("x-user-id", &n.to_string())]), CLIENT)),
        (Sticky::Cookie("session".into()), |n| {
            (headers(&[("cookie", &format!("a=1; session=s{n}"))]), CLIENT)
        }),
        (Sticky::Client, |n| (HeaderMap::new(), IpAddr::V4((0x0a00_0000 + n).into()))),
    ];
    for (sticky, request) in kinds {
        let mut before = vec![false; 2_000];
        for share in [0, 100, 500, 2_500, 5_000, 10_000] {
            let choice = choice(share, Vec::new(), Some(sticky.clone()));
            let taken: Vec<bool> = (0..2_000)
                .map(|user| {
                    let (headers, client) = request(user);
                    let first = choice.takes(&headers, client, None);
                    assert_eq!(first, choice.takes(&headers, client, None));
                    first
                })
                .collect();
            assert!(before.iter().zip(&taken).all(|(before, now)| *now || !before), "{sticky:?} at {share}");
            let expected = f64::from(share) * 0.2;
            let number = taken.iter().filter(|taken| **taken).count() as f64;
            assert!((number - expected).abs() <= expected.sqrt() * 4.0, "{sticky:?} at {share}: {number}");
            before = taken;
        }
    }
}

#[test]
fn requests_without_the_key_are_counted() {
    for sticky in [Sticky::Header("x-user-id".into()), Sticky::Cookie("session".into())] {
        let choice = choice(2_500, Vec::new(), Some(sticky));
        let without = headers(&[("x-user-id", ""), ("cookie", "session=; other=1")]);
        assert_eq!((0..40).filter(|_| choice.takes(&without, CLIENT, None)).count(), 10);
    }
}

#[test]
fn an_address_is_the_same_client_on_both_kinds_of_socket() {
    let mapped = "::ffff:10.0.0.1".parse().expect("address");
    for share in [2_500, 5_000, 7_500] {
        let choice = choice(share, Vec::new(), Some(Sticky::Client));
        let none = HeaderMap::new();
        assert_eq!(choice.takes(&none, CLIENT, None), choice.takes(&none, mapped, None));
    }
}
