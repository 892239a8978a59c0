//! `spec.dependsOn`: what the container calls.

use super::{NAME, Rule, SPAN, between, shop};

/// A token of RFC 9110 section 5.6.2, as names of headers are.
const TOKEN: &str = "'^[A-Za-z0-9!#$%&*+.^_`|~-]{1,128}$'";

pub(super) fn rules() -> Vec<Rule> {
    [list(), one(), bytes(), times(), answers()].concat()
}

fn list() -> Vec<Rule> {
    vec![
        shop(
            "spec.dependsOn",
            "self.all(x, self.exists_one(y, y.name == x.name))",
            "two dependencies have one name: write each once",
        ),
        shop(
            "spec.dependsOn",
            "self.all(x, !has(x.localPort) || self.exists_one(y, has(y.localPort) && y.localPort == x.localPort))",
            "two dependencies have one localPort: write another port for each",
        ),
        shop(
            "spec",
            "!has(self.dependsOn) || self.dependsOn.all(x, !has(x.localPort) || x.localPort != self.port)",
            "a localPort of dependsOn is the port on which the container listens: write another one",
        ),
    ]
}

fn one() -> Vec<Rule> {
    vec![
        shop(
            "spec.dependsOn[].name",
            format!("self.matches({NAME})"),
            "write a name of lower-case letters, digits and '-' that begins with a letter, as in inventory",
        ),
        shop(
            "spec.dependsOn[].host",
            "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$')",
            "write a host in lower case, with its port unless that is 80 (with tls 443), as in pay.example.com or pay.example.com:8080",
        ),
        shop(
            "spec.dependsOn[]",
            "!has(self.tls) || !self.tls || has(self.host)",
            "tls is for a host outside: write host with it, or leave tls out; auth.mtls of a ShopService says how that is called",
        ),
        shop(
            "spec.dependsOn[].localPort",
            "self < 9440 || self > 9442",
            "9440 to 9442 are the sidecar's ports: write another one, as 7001",
        ),
        shop(
            "spec.dependsOn[].hashHeader",
            format!("self.matches({TOKEN})"),
            "write the name of a header, as in x-user-id",
        ),
        shop(
            "spec.dependsOn[]",
            "!has(self.hashHeader) || has(self.balance) && self.balance == 'consistentHash'",
            "hashHeader is the key of a consistent hash: write balance: consistentHash with it, or leave it out",
        ),
        shop(
            "spec.dependsOn[].circuitBreaker.errors",
            "self.matches('^(100|[1-9][0-9]?)%$')",
            "write a whole percentage from 1% to 100%, as in 50%",
        ),
    ]
}

fn bytes() -> Vec<Rule> {
    let unless_tcp = |rule: &str, message: &str| {
        shop("spec.dependsOn[]", format!("!has(self.protocol) || self.protocol != 'tcp' || {rule}"), message)
    };
    vec![
        unless_tcp(
            "has(self.localPort)",
            "bytes do not say where they want to go: write a localPort with protocol: tcp, as 7003",
        ),
        unless_tcp(
            "!has(self.host) || self.host.matches(':[0-9]{1,5}$')",
            "write the port of the host with protocol: tcp, as in postgres.example.com:5432",
        ),
        unless_tcp(
            "!has(self.balance) || self.balance in ['leastRequest', 'roundRobin', 'random']",
            "of connections with protocol: tcp nothing is known to balance by: write balance leastRequest, which counts them, roundRobin or random",
        ),
        unless_tcp(
            "!has(self.fallback)",
            "a connection with protocol: tcp cannot be answered in another's place: leave fallback out",
        ),
    ]
}

fn times() -> Vec<Rule> {
    [
        ("spec.dependsOn[].timeout", "1ms", "1h", "800ms or 15s"),
        ("spec.dependsOn[].tryTimeout", "1ms", "1h", "300ms"),
        ("spec.dependsOn[].circuitBreaker.window", "1s", "1h", "10s"),
        ("spec.dependsOn[].circuitBreaker.open", "100ms", "1h", "5s"),
        ("spec.dependsOn[].fallback.lastGood.maxAge", "1s", "24h", "5m"),
    ]
    .map(|(path, shortest, longest, example)| {
        shop(
            path,
            format!("self.matches({SPAN}) && {}", between(shortest, longest)),
            format!("write a duration from {shortest} to {longest}, a number and a unit (ms, s, m, h), as in {example}"),
        )
    })
    .to_vec()
}

fn answers() -> Vec<Rule> {
    vec![
        shop(
            "spec.dependsOn[].fallback",
            "has(self.answer) != has(self.lastGood)",
            "write exactly one of answer and lastGood",
        ),
        shop(
            "spec.dependsOn[].fallback.answer.contentType",
            "self.matches('^[!-~]([ -~]*[!-~])?$')",
            "write a media type, as in application/json",
        ),
        shop(
            "spec.dependsOn[].fallback.lastGood.paths[]",
            r"self.startsWith('/') && !self.matches('\\s')",
            "write the beginning of a path, as in /products",
        ),
    ]
}
