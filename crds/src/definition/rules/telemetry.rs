//! Rules of what the sidecar tells of requests.

use super::{PERCENT, Rule, shop};

/// A path whose segments are plain, or stand for anything.
const ROUTE: &str = r"'^(/([A-Za-z0-9._~!$&()+,;=:@%-]*|\\{[A-Za-z0-9_]+\\}))*(/\\{\\*[A-Za-z0-9_]+\\})?$'";

pub(super) fn rules() -> Vec<Rule> {
    let of_policy = |rule: Rule| Rule { kind: "ShopPolicy", ..rule };
    vec![
        endpoint("spec.tracing.endpoint"),
        percentage("spec.tracing.sample.errors"),
        percentage("spec.tracing.sample.slow"),
        percentage("spec.tracing.sample.rest"),
        percentage("spec.accessLog.sample"),
        of_policy(endpoint("spec.defaults.tracing.endpoint")),
        of_policy(percentage("spec.defaults.tracing.sample.errors")),
        of_policy(percentage("spec.defaults.tracing.sample.slow")),
        of_policy(percentage("spec.defaults.tracing.sample.rest")),
        of_policy(percentage("spec.defaults.accessLog.sample")),
        shop(
            "spec.metrics.routes[]",
            format!("self.matches({ROUTE})"),
            "write a path, with {name} for a segment that is different each time, as in /orders/{id}",
        ),
    ]
}

fn endpoint(path: &'static str) -> Rule {
    shop(
        path,
        r"self.matches('^http://[^/@?#\\s]+(/[^?#\\s]*)?$')",
        "write an address that begins with http://, without user and query, as in http://otel.monitoring:4317",
    )
}

fn percentage(path: &'static str) -> Rule {
    shop(
        path,
        format!("self.matches({PERCENT})"),
        "write a percentage from 0% to 100% with at most two decimals, as in 5%, 0.1% or 50%",
    )
}
