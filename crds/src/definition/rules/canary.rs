//! `spec.release.canary`: steps, and which requests go where.

use super::{PERCENT, Rule, SPAN, between, shop};

/// A token of RFC 9110 section 5.6.2, as names of headers and cookies are.
pub(super) const TOKEN: &str = "'^[A-Za-z0-9!#$%&*+.^_`|~-]{1,128}$'";

pub(super) fn rules() -> Vec<Rule> {
    [strategy(), steps(), requests(), mirror()].concat()
}

fn percentage(path: &'static str) -> Rule {
    shop(
        path,
        format!("self.matches({PERCENT})"),
        "write a percentage from 0% to 100% with at most two decimals, as in 5%, 0.1% or 50%",
    )
}

fn strategy() -> Vec<Rule> {
    vec![
        shop(
            "spec.release",
            "!has(self.strategy) || self.strategy != 'canary' || has(self.canary)",
            "strategy canary goes by canary.steps: write at least one, as in canary: {steps: [{weight: 5%}, {pause: 60s}]}",
        ),
        shop(
            "spec.release",
            "!has(self.canary) || has(self.strategy) && self.strategy == 'canary'",
            "canary says how strategy canary goes: write strategy: canary with it, or leave it out",
        ),
    ]
}

fn steps() -> Vec<Rule> {
    vec![
        shop(
            "spec.release.canary.steps[]",
            "[has(self.weight), has(self.pause), has(self.replicas), has(self.analysis)].filter(x, x).size() == 1",
            "write exactly one of weight, pause, replicas and analysis in a step",
        ),
        percentage("spec.release.canary.steps[].weight"),
        percentage("spec.release.canary.steps[].replicas"),
        shop(
            "spec.release.canary.steps[].pause",
            format!("self == 'manual' || self.matches({SPAN}) && {}", between("0s", "168h")),
            "write a duration from 0s to 168h, a number and a unit (ms, s, m, h), as in 60s, or manual",
        ),
    ]
}

fn requests() -> Vec<Rule> {
    let name = |path, example: &str| {
        shop(
            path,
            format!("self.all(key, key.matches({TOKEN}))"),
            format!("write a name of at most 128 letters, digits and '-', and its value, as in {example}"),
        )
    };
    vec![
        shop(
            "spec.release.canary.match[]",
            "has(self.header) || has(self.cookie)",
            "write a header, a cookie, or both, as in header: {user-tier: premium}",
        ),
        name("spec.release.canary.match[].header", "user-tier: premium"),
        name("spec.release.canary.match[].cookie", "beta: \"1\""),
        shop(
            "spec.release.canary.match[].header{}",
            "self.matches('^[!-~]([ -~]{0,251}[!-~])?$')",
            "write the header's value: 1 to 253 ASCII characters without spaces around it",
        ),
        shop(
            "spec.release.canary.match[].cookie{}",
            r#"self.matches('^[!-~]{1,253}$') && !self.matches('[",;\\\\]')"#,
            "write the cookie's value: 1 to 253 ASCII characters without spaces, quotes, ',', ';' and '\\'",
        ),
        shop(
            "spec.release.canary.sticky",
            "[has(self.header), has(self.cookie), has(self.client) && self.client, has(self.user) && self.user].filter(x, x).size() == 1",
            "write exactly one of header: <name>, cookie: <name>, client: true and user: true",
        ),
        shop(
            "spec.release.canary.sticky.header",
            format!("self.matches({TOKEN})"),
            "write the name of a header, as in x-user-id",
        ),
        shop(
            "spec.release.canary.sticky.cookie",
            format!("self.matches({TOKEN})"),
            "write the name of a cookie, as in session",
        ),
    ]
}

fn mirror() -> Vec<Rule> {
    vec![
        percentage("spec.release.canary.mirror.share"),
        shop(
            "spec.release.canary.mirror.methods[]",
            "self.matches('^[A-Z]{1,32}$')",
            "write methods in capitals, as in GET",
        ),
    ]
}
