//! Rules of a FaultPolicy. What needs its age (that it is over within a day) is its condition `Active`.

use super::canary::TOKEN;
use super::{NAME, PERCENT, Rule, SPAN, between};

pub(super) fn rules() -> Vec<Rule> {
    let rule = |path, rule: String, message: &str| Rule {
        kind: "FaultPolicy",
        path,
        rule,
        message: message.to_owned(),
    };
    let delay = format!("self.matches({SPAN}) && {}", between("0s", "30s"));
    let delay_message = "write a duration from 0s to 30s, a number and a unit (ms, s), as in 200ms";
    vec![
        rule(
            "spec",
            "has(self.expires) != has(self.duration)".into(),
            "a fault has an end: write either expires, a time as in \"2026-11-22T18:00:00Z\", or duration, as in 10m",
        ),
        rule(
            "spec",
            "has(self.services) != has(self.selector)".into(),
            "say whose sidecars inject it: write either services, as in [order], or selector: {matchLabels: {tier: front}}",
        ),
        rule(
            "spec",
            "has(self.delay) || has(self.abort) || has(self.drop) && self.drop".into(),
            "say what is injected: write delay, abort or drop, or delay with one of the others",
        ),
        rule(
            "spec",
            "!(has(self.abort) && has(self.drop) && self.drop)".into(),
            "a request is either answered or dropped: write one of abort and drop",
        ),
        rule(
            "spec.services",
            "self.size() > 0".into(),
            "write at least one name of a ShopService, as in [order]",
        ),
        rule(
            "spec.services[]",
            format!("self.matches({NAME})"),
            "write the name of a ShopService, lower-case letters, digits and '-', as in order",
        ),
        rule(
            "spec.selector.matchLabels",
            "self.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))".into(),
            "write labels as Kubernetes takes them, as in tier: front",
        ),
        rule(
            "spec.dependency",
            format!("self.matches({NAME})"),
            "write a name of dependsOn, as in inventory",
        ),
        rule(
            "spec.match.path",
            r"self.matches('^/[^\\s?#%]*$')".into(),
            "write a path that begins with '/', without spaces, '?', '#' and '%', as in /orders/{id}",
        ),
        rule(
            "spec.match.method",
            "self.matches('^[A-Z]{1,32}$')".into(),
            "write the method in capitals, as in POST",
        ),
        rule(
            "spec.match.header",
            format!("self.all(key, key.matches({TOKEN}))"),
            "write the name of a header of at most 128 letters, digits and '-', and its value, as in x-drill: \"yes\"",
        ),
        rule(
            "spec.match.header{}",
            "self.matches('^[!-~]([ -~]{0,251}[!-~])?$')".into(),
            "write the value of the header: 1 to 253 ASCII characters without spaces around it",
        ),
        rule(
            "spec.share",
            format!("self.matches({PERCENT}) && !self.matches('^0{{1,2}}([.]0{{1,2}})?%$')"),
            "write a percentage above 0% with at most two decimals, as in 5%, 0.1% or 100%",
        ),
        rule("spec.delay.fixed", delay.clone(), delay_message),
        rule("spec.delay.jitter", delay, delay_message),
        rule(
            "spec.duration",
            format!("self.matches({SPAN}) && {}", between("1s", "24h")),
            "write a duration from 1s to 24h, a number and a unit (s, m, h), as in 10m",
        ),
    ]
}
