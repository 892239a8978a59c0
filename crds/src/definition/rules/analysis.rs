//! `spec.release.analysis`: bounds, checks and their times.

use super::{PERCENT, Rule, SPAN, between, shop};

pub(super) fn rules() -> Vec<Rule> {
    [whole(), bounds(), checks(), asked()].concat()
}

fn span(path: &'static str, shortest: &str, longest: &str, example: &str) -> Rule {
    shop(
        path,
        format!("self.matches({SPAN}) && {}", between(shortest, longest)),
        format!(
            "write a duration from {shortest} to {longest}, a number and a unit (ms, s, m, h), as in {example}"
        ),
    )
}

fn percentage(path: &'static str, example: &str) -> Rule {
    shop(
        path,
        format!("self.matches({PERCENT})"),
        format!("write a percentage from 0% to 100% with at most two decimals, as in {example}"),
    )
}

fn whole() -> Vec<Rule> {
    vec![
        shop(
            "spec.release.analysis",
            "has(self.successRate) || has(self.latencyP99) || has(self.checks)",
            "say what is looked at: write successRate, latencyP99 or checks, as in successRate: {min: 99.5%}",
        ),
        shop(
            "spec.release",
            "!has(self.analysis) || !has(self.analysis.when) || !('verifying' in self.analysis.when) || has(self.analysis.checks) || \
             has(self.canary) && has(self.canary.mirror)",
            "before the promotion nobody uses the new revision: write analysis.checks or canary.mirror, or leave verifying out",
        ),
        shop(
            "spec.release",
            "!has(self.canary) || has(self.analysis) || !self.canary.steps.exists(step, has(step.analysis))",
            "a step of kind analysis runs release.analysis: write that, as in analysis: {successRate: {min: 99.5%}}",
        ),
        span("spec.release.analysis.duration", "1s", "24h", "60s"),
        span("spec.release.analysis.timeout", "1s", "48h", "10m"),
    ]
}

fn bounds() -> Vec<Rule> {
    vec![
        shop(
            "spec.release.analysis.successRate",
            "has(self.min) || has(self.maxDrop)",
            "write min or maxDrop, as in successRate: {min: 99.5%, maxDrop: 1%}",
        ),
        percentage("spec.release.analysis.successRate.min", "99.5%"),
        percentage("spec.release.analysis.successRate.maxDrop", "1%"),
        shop(
            "spec.release.analysis.latencyP99",
            "has(self.max) || has(self.maxIncrease)",
            "write max or maxIncrease, as in latencyP99: {max: 300ms, maxIncrease: 50%}",
        ),
        span("spec.release.analysis.latencyP99.max", "1ms", "60s", "300ms"),
        percentage("spec.release.analysis.latencyP99.maxIncrease", "50%"),
    ]
}

fn checks() -> Vec<Rule> {
    vec![
        shop(
            "spec.release.analysis.checks[]",
            "[has(self.prometheus), has(self.webhook), has(self.job)].filter(x, x).size() == 1",
            "write exactly one of prometheus, webhook and job",
        ),
        shop(
            "spec.release.analysis.checks[].name",
            "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "write a name of lower-case letters, digits and '-' that begins with a letter, as in error-budget",
        ),
        span("spec.release.analysis.checks[].interval", "1s", "1h", "10s"),
        span("spec.release.analysis.checks[].job.timeout", "1s", "24h", "5m"),
    ]
}

fn asked() -> Vec<Rule> {
    let url = |path| {
        shop(
            path,
            r"self.matches('^https?://[^/@\\s]+(/\\S*)?$')",
            "write http:// or https://, a host and a path, without a user, as in http://prometheus.monitoring:9090",
        )
    };
    vec![
        url("spec.release.analysis.checks[].prometheus.address"),
        shop(
            "spec.release.analysis.checks[].prometheus",
            "has(self.min) || has(self.max)",
            "write the least or the greatest number that passes, as in max: 0.01",
        ),
        url("spec.release.analysis.checks[].webhook.url"),
        shop(
            "spec.release.analysis.checks[].webhook",
            "has(self.jsonPath) == (has(self.min) || has(self.max) || has(self.equals))",
            "jsonPath names a value, and min, max or equals says which ones pass: write both or neither",
        ),
        shop(
            "spec.release.analysis.checks[].webhook",
            "!has(self.equals) || !has(self.min) && !has(self.max)",
            "write either equals or min and max",
        ),
        shop(
            "spec.release.analysis.checks[].webhook.jsonPath",
            r"self.matches('^\\$([.][A-Za-z0-9_-]+|\\[[0-9]+\\]|\\[\'[^\']+\'\\])*$')",
            "write the way to one value, as in $.checks[0].ratio",
        ),
    ]
}
