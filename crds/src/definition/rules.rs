//! What the API server checks on the object alone, in CEL, and the sentence that a user reads when it does not hold.
//!
//! Each rule sits on the field that it is about, so that the refusal names it. What needs the cluster is a condition instead.

mod analysis;
mod auth;
mod canary;
mod dependency;
mod fault;
mod limits;
mod policy;
mod tcp;
mod telemetry;

/// One rule of a definition.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The kind that has it.
    pub kind: &'static str,
    /// The field it sits on: `spec.config[].mountPath`.
    pub path: &'static str,
    /// The expression; `self` is the field.
    pub rule: String,
    /// What to write instead.
    pub message: String,
}

const NAME: &str = "'^[a-z]([-a-z0-9]*[a-z0-9])?$'";
const PERCENT: &str = "'^(100([.]0{1,2})?|[0-9]{1,2}([.][0-9]{1,2})?)%$'";
const SPAN: &str = "'^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?([0-9]{1,9}ms)?$'";
const WHOLE_SECONDS: &str = "'^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$'";

/// An IPv4 address, or a range of them.
const RANGE_V4: &str = "'^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?$'";
/// The same of IPv6, without IPv4 in it.
const RANGE_V6: &str = "'^(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:|([0-9a-fA-F]{1,4}:){1,6}(:[0-9a-fA-F]{1,4}){1,1}|([0-9a-fA-F]{1,4}:){1,5}(:[0-9a-fA-F]{1,4}){1,2}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4}){1,3}|([0-9a-fA-F]{1,4}:){1,3}(:[0-9a-fA-F]{1,4}){1,4}|([0-9a-fA-F]{1,4}:){1,2}(:[0-9a-fA-F]{1,4}){1,5}|([0-9a-fA-F]{1,4}:){1,1}(:[0-9a-fA-F]{1,4}){1,6}|:((:[0-9a-fA-F]{1,4}){1,7}|:))(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$'";

/// Every rule of all definitions.
pub fn rules() -> Vec<Rule> {
    let mut rules = [
        name(),
        container(),
        config(),
        environment(),
        probes(),
        release(),
        service(),
        decision(),
        policy::rules(),
    ]
    .concat();
    rules.extend(canary::rules());
    rules.extend(limits::rules());
    rules.extend(dependency::rules());
    rules.extend(telemetry::rules());
    rules.extend(auth::rules());
    rules.extend(resources("spec.resources", "spec.resources.requests{}", "spec.resources.limits{}"));
    rules.extend(resources(
        "spec.sidecar.resources",
        "spec.sidecar.resources.requests{}",
        "spec.sidecar.resources.limits{}",
    ));
    rules.extend(analysis::rules());
    rules.extend(fault::rules());
    rules.extend(sidecar());
    rules.extend(tcp::rules());
    rules
}

fn shop(path: &'static str, rule: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule { kind: "ShopService", path, rule: rule.into(), message: message.into() }
}

fn name() -> Vec<Rule> {
    vec![
        shop(
            "metadata.name",
            "self.size() <= 40",
            "write a name of at most 40 characters: Services and Deployments get it with a suffix, such as -preview",
        ),
        shop(
            "metadata.name",
            format!("self.matches({NAME})"),
            "write a name of lower-case letters, digits and '-' that begins with a letter, as in order or user-v2: a Service gets it",
        ),
    ]
}

fn container() -> Vec<Rule> {
    vec![
        shop(
            "spec.image",
            r"!self.matches('\\s')",
            "write an image reference without spaces, as in registry.example/shop/order:1.4.2",
        ),
        shop(
            "spec.port",
            "self < 9440 || self > 9442",
            "9440 to 9442 are the sidecar's ports: let the container listen on another one, as 8080, and write that",
        ),
        shop(
            "spec.command[]",
            "self != ''",
            "write the program and its arguments, each not empty, or leave command out",
        ),
    ]
}

fn config() -> Vec<Rule> {
    vec![
        shop(
            "spec.config",
            "self.all(x, self.all(y, !y.mountPath.startsWith(x.mountPath + '/')))",
            "a mountPath must not lie inside of another entry's: write directories beside each other",
        ),
        shop(
            "spec.config[]",
            "has(self.configMap) != has(self.secret)",
            "write exactly one of configMap and secret",
        ),
        shop(
            "spec.config[].mountPath",
            r"self.matches('^(/[^/:]+)+$') && !self.matches('/\\.\\.?(/|$)')",
            "write an absolute directory other than '/', without '.', '..', ':' and without '/' at the end, as in /etc/order",
        ),
        shop(
            "spec.config[].mountPath",
            "!['/etc/shop/', '/var/lib/shop/'].exists(own, (self + '/').startsWith(own) || own.startsWith(self + '/'))",
            "/etc/shop and /var/lib/shop are the sidecar's: write another directory that does not contain them, as in /etc/order",
        ),
    ]
}

fn environment() -> Vec<Rule> {
    vec![
        shop(
            "spec.env[].name",
            "self.matches('^[A-Za-z_.-][A-Za-z0-9_.-]*$')",
            "write a name of letters, digits, '_', '-' and '.' that does not begin with a digit, as in LOG_LEVEL",
        ),
        shop(
            "spec.env[]",
            "!has(self.valueFrom) || !has(self.value) || self.value == ''",
            "write either value or valueFrom, not both",
        ),
        shop(
            "spec.env[].valueFrom",
            "[has(self.configMapKeyRef), has(self.secretKeyRef), has(self.fieldRef), has(self.resourceFieldRef)].filter(x, x).size() == 1",
            "write exactly one of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef",
        ),
        shop(
            "spec.envFrom[]",
            "has(self.configMapRef) != has(self.secretRef)",
            "write exactly one of configMapRef and secretRef",
        ),
        shop(
            "spec.envFrom[].prefix",
            "self == '' || self.matches('^[A-Za-z_.-][A-Za-z0-9_.-]*$')",
            "write a prefix of letters, digits, '_', '-' and '.' that does not begin with a digit, as in DB_",
        ),
    ]
}

fn probes() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (path, period, timeout) in [
        ("spec.probes.readiness.path", "spec.probes.readiness.period", "spec.probes.readiness.timeout"),
        ("spec.probes.liveness.path", "spec.probes.liveness.period", "spec.probes.liveness.timeout"),
        ("spec.probes.startup.path", "spec.probes.startup.period", "spec.probes.startup.timeout"),
    ] {
        rules.push(shop(
            path,
            r"self.startsWith('/') && !self.matches('\\s')",
            "write a path that begins with '/', as in /healthz",
        ));
        for field in [period, timeout] {
            rules.push(shop(
                field,
                format!("self.matches({WHOLE_SECONDS}) && {}", between("1s", "1h")),
                "write whole seconds from 1s to 1h, as in 5s or 1m30s: the kubelet counts nothing shorter",
            ));
        }
    }
    rules
}

fn release() -> Vec<Rule> {
    let mut rules = [
        ("spec.release.settle", "0s", "10m", "2s"),
        ("spec.release.promoteAfter", "1s", "168h", "10m or 12h"),
        ("spec.release.drain.max", "1s", "24h", "30s or 10m"),
        ("spec.release.progressDeadline", "10s", "24h", "90s or 10m"),
        ("spec.release.confirm.timeout", "1s", "1m", "10s"),
        ("spec.release.confirm.interval", "1s", "1h", "30s or 5m"),
        ("spec.release.jobs.expand.timeout", "1s", "24h", "10m"),
        ("spec.release.jobs.contract.timeout", "1s", "24h", "10m"),
    ]
    .map(|(path, shortest, longest, example)| {
        shop(
            path,
            format!("self.matches({SPAN}) && {}", between(shortest, longest)),
            format!("write a duration from {shortest} to {longest}, a number and a unit (ms, s, m, h), as in {example}"),
        )
    })
    .to_vec();
    rules.push(shop(
        "spec.release",
        "!has(self.promoteAfter) || has(self.promote) && self.promote == 'manual'",
        "promoteAfter ends the wait for a decision: write promote: manual with it, or leave it out",
    ));
    rules.push(shop(
        "spec.release",
        "!has(self.promoteAfter) || !has(self.approvals) || self.approvals <= 1",
        "promoteAfter would promote without the people that approvals asks for: leave one of the two out",
    ));
    rules.push(shop(
        "spec.release",
        "!has(self.rollbackWindow) || !has(self.historyLimit) || self.rollbackWindow <= self.historyLimit",
        "a revision that is not kept cannot come back: write a historyLimit that is not below rollbackWindow",
    ));
    rules.push(shop(
        "spec.release.confirm.url",
        r"self.matches('^https?://[^\\s/@]+(/\\S*)?$')",
        "write an address that begins with http:// or https://, without a user, as in https://ci.example/may-release",
    ));
    for path in ["spec.release.jobs.expand.env[].name", "spec.release.jobs.contract.env[].name"] {
        rules.push(shop(
            path,
            "self.matches('^[A-Za-z_.-][A-Za-z0-9_.-]*$')",
            "write a name of letters, digits, '_', '-' and '.' that does not begin with a digit, as in LOG_LEVEL",
        ));
    }
    // CEL's durations know no days.
    rules.push(shop(
        "spec.release.keepOld",
        format!("self.matches('^[0-7]d$') || self.matches({SPAN}) && {}", between("0s", "168h")),
        "write a duration from 0s to 7d, a number and a unit (ms, s, m, h) or whole days, as in 30s, 2h or 1d",
    ));
    rules
}

/// The form is checked before it, and decides where this fails.
fn between(shortest: &str, longest: &str) -> String {
    format!(
        "self != '' && duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')"
    )
}

fn service() -> Vec<Rule> {
    vec![
        shop(
            "spec.service.portName",
            "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.matches('[a-z]')",
            "write a name of lower-case letters, digits and '-' with a letter, as in http, or \"\" for a port without a name",
        ),
        shop(
            "spec.adopt.deployment",
            "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            "write the name of a Deployment, as in order",
        ),
        shop(
            "spec.service.annotations",
            "self.all(key, !key.matches('^([^/]*[.])?shopkeeper[.]dev/'))",
            "annotations of shopkeeper.dev are written by the operator alone: leave them out",
        ),
        shop(
            "spec.service.annotations",
            "self.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
            "write keys as Kubernetes takes them: a name of letters, digits, '-', '_' and '.', after a DNS name and '/' if need be",
        ),
    ]
}

fn resources(whole: &'static str, requests: &'static str, limits: &'static str) -> Vec<Rule> {
    let amount = |path| {
        shop(
            path,
            "string(self).matches('^[0-9]+([.][0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$')",
            "write a quantity, as in 300m, 512Mi or 2",
        )
    };
    let known = "self.all(key, key in ['cpu', 'memory', 'ephemeral-storage'] || key.startsWith('hugepages-') || key.contains('/'))";
    let known_message = "write cpu, memory, ephemeral-storage, hugepages-<size>, or a device's name with its domain, as in example.com/gpu";
    let (requests_map, limits_map) = match whole {
        "spec.resources" => ("spec.resources.requests", "spec.resources.limits"),
        _ => ("spec.sidecar.resources.requests", "spec.sidecar.resources.limits"),
    };
    vec![
        amount(requests),
        amount(limits),
        shop(requests_map, known, known_message),
        shop(limits_map, known, known_message),
        shop(
            whole,
            "!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits) || \
             !isQuantity(string(self.requests[key])) || !isQuantity(string(self.limits[key])) || \
             !quantity(string(self.requests[key])).isGreaterThan(quantity(string(self.limits[key]))))",
            "a request must not be above the limit of the same name: lower the request, or raise the limit",
        ),
    ]
}

fn sidecar() -> Vec<Rule> {
    let at_least = |key: &str, least: &str| {
        format!(
            "!('{key}' in self) || !isQuantity(string(self['{key}'])) || !quantity(string(self['{key}'])).isLessThan(quantity('{least}'))"
        )
    };
    vec![
        shop(
            "spec.sidecar.resources.limits",
            at_least("memory", "32Mi"),
            "the sidecar needs 32Mi of memory: write that or more, as in 64Mi",
        ),
        shop(
            "spec.sidecar.resources.limits",
            at_least("cpu", "25m"),
            "the sidecar needs 25m of CPU: write that or more, or leave the limit out",
        ),
        shop(
            "spec.sidecar.trustedHops[]",
            format!("self.matches({RANGE_V4}) || self.matches({RANGE_V6})"),
            "write a range of addresses, as in 10.0.0.0/8 or 2001:db8::/32, or one address",
        ),
    ]
}

fn decision() -> Vec<Rule> {
    let rule =
        |path, rule: String, message: &str| Rule { kind: "ReleaseDecision", ..shop(path, rule, message) };
    vec![
        rule(
            "spec",
            "self == oldSelf".into(),
            "a decision is kept as it was made: create another one instead of changing it",
        ),
        rule(
            "spec",
            "!has(self.to) || self.verb == 'rollback'".into(),
            "spec.to says where a rollback goes: write it with verb: rollback, or leave it out",
        ),
        rule(
            "spec",
            "!has(self.to) || self.to != self.revision".into(),
            "spec.revision is left and spec.to is gone back to: write another number in spec.to, or leave it out",
        ),
        rule(
            "spec",
            "!has(self.full) || !self.full || self.verb == 'promote'".into(),
            "spec.full says how a promotion goes: write it with verb: promote, or leave it out",
        ),
        rule(
            "spec",
            "!has(self.force) || !self.force || self.verb in ['promote', 'rollback']".into(),
            "spec.force overrides what holds up a promotion or a rollback: write it with verb: promote or rollback, or leave it out",
        ),
        rule("spec.service", format!("self.matches({NAME})"), "write the name of a ShopService, as in order"),
        rule(
            "spec.digest",
            "self.matches('^sha256:[0-9a-f]{64}$')".into(),
            "write the image's digest, sha256: and 64 hexadecimal digits, or leave it out",
        ),
    ]
}
