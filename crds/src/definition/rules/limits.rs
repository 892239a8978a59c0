//! `spec.limits`.

use super::canary::TOKEN;
use super::{RANGE_V4, RANGE_V6, Rule, SPAN, between, shop};

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![
        shop(
            "spec.limits.requestTimeout",
            format!("self.matches({SPAN}) && {}", between("1ms", "24h")),
            "write a duration from 1ms to 24h, a number and a unit (ms, s, m, h), as in 15s",
        ),
        shop(
            "spec.limits.maxBodyBytes",
            "string(self).matches('^[1-9][0-9]{0,14}(k|M|G|Ki|Mi|Gi)?$')",
            "write a number of bytes of at least 1, with a unit if need be, as in 1Mi",
        ),
        shop(
            "spec.limits.priority[]",
            "has(self.match.path) || has(self.match.method)",
            "write a path, a method, or both, as in match: {path: /orders, method: POST}",
        ),
    ];
    for (field, longest) in [
        ("spec.limits.timeouts.header", "5m"),
        ("spec.limits.timeouts.body", "1h"),
        ("spec.limits.timeouts.idle", "24h"),
    ] {
        rules.push(shop(
            field,
            format!("self.matches({SPAN}) && {}", between("1s", longest)),
            format!("write a duration from 1s to {longest}, a number and a unit (s, m, h), as in 10s"),
        ));
    }
    for field in ["spec.limits.rate[].window", "spec.limits.rate[].suspend"] {
        rules.push(shop(
            field,
            format!("self.matches({SPAN}) && {}", between("100ms", "24h")),
            "write a duration from 100ms to 24h, a number and a unit (ms, s, m, h), as in 1m",
        ));
    }
    rules.push(shop(
        "spec.limits.user.header",
        format!("self.matches({TOKEN})"),
        "write the name of a header, as in x-user-id",
    ));
    for field in ["spec.limits.allow[]", "spec.limits.deny[]"] {
        rules.push(shop(
            field,
            format!("self.matches({RANGE_V4}) || self.matches({RANGE_V6})"),
            "write a range of addresses, as in 10.0.0.0/8 or 2001:db8::/32, or one address",
        ));
    }
    rules.extend(route("spec.limits.rate[].match.path", "spec.limits.rate[].match.method"));
    rules.extend(route("spec.limits.priority[].match.path", "spec.limits.priority[].match.method"));
    rules
}

fn route(path: &'static str, method: &'static str) -> Vec<Rule> {
    vec![
        shop(
            path,
            r"self.matches('^/[^\\s?#%]*$')",
            "write a path that begins with '/', without spaces, '?', '#' and '%', as in /orders",
        ),
        shop(method, "self.matches('^[A-Z]{1,32}$')", "write a method in capitals, as in POST"),
    ]
}
