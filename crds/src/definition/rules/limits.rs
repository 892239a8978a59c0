//! `spec.limits`.

use super::{Rule, SPAN, between, shop};

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
