//! What a service with `protocol: tcp` cannot have: nothing is known of its connections but their bytes.

use super::{Rule, shop};

pub(super) fn rules() -> Vec<Rule> {
    let unless_tcp =
        |rule: &str, message: &str| shop("spec", format!("self.protocol != 'tcp' || {rule}"), message);
    vec![
        unless_tcp(
            "!has(self.probes)",
            "probes ask by HTTP, and with protocol: tcp a connection to the port is enough: leave probes out, or write exec probes under pod",
        ),
        unless_tcp(
            "!has(self.auth) || !has(self.auth.jwt)",
            "a connection with protocol: tcp carries no token: leave auth.jwt out",
        ),
        unless_tcp(
            "!has(self.limits) || ![has(self.limits.concurrency), has(self.limits.requestTimeout), has(self.limits.maxBodyBytes), has(self.limits.priority), has(self.limits.user)].exists(x, x)",
            "connections with protocol: tcp are limited by limits.rate per ip, allow and deny, and by sidecar.maxConnections: leave the other limits out",
        ),
        unless_tcp(
            "!has(self.limits) || !has(self.limits.rate) || self.limits.rate.all(x, x.per == 'ip' && !has(x.match))",
            "of a connection with protocol: tcp only the address is known: write limits.rate per: ip, without match",
        ),
        unless_tcp(
            "!has(self.release) || !has(self.release.canary) || !has(self.release.canary.match) && !has(self.release.canary.mirror)",
            "connections with protocol: tcp have no headers, and nobody can copy them: leave canary.match and canary.mirror out",
        ),
        unless_tcp(
            "!has(self.release) || !has(self.release.canary) || !has(self.release.canary.sticky) || has(self.release.canary.sticky.client)",
            "of a connection with protocol: tcp only the address is known: write canary.sticky: {client: true}, or leave it out",
        ),
        unless_tcp(
            "!has(self.release) || !has(self.release.analysis) || !has(self.release.analysis.latencyP99)",
            "how long a connection with protocol: tcp lasts says nothing about the app: leave analysis.latencyP99 out, successRate counts connections",
        ),
        unless_tcp(
            "!has(self.sidecar) || !has(self.sidecar.trustedHops)",
            "what proxies say of a client stands in headers, which protocol: tcp has not: leave sidecar.trustedHops out",
        ),
        unless_tcp("!has(self.metrics)", "connections with protocol: tcp have no routes: leave metrics out"),
    ]
}
