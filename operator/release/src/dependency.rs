//! What a revision calls: which services and on which ports belongs to it, how that is done is the live spec's.

use serde::{Deserialize, Serialize};
use shop_crds::{
    Percent, ShopServiceSpec,
    service::dependency::{
        Balance, CircuitBreaker, Dependency, DependencyProtocol, Fallback, FixedAnswer, LastGood, defaults,
    },
};

/// The part of a dependency that makes a revision: the container is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Called {
    /// `name`.
    pub name: String,
    /// `localPort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i32>,
    /// `protocol`, if it is not HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<DependencyProtocol>,
    /// `host`: kept with a revision, but makes none.
    #[serde(skip)]
    pub(crate) host: Option<String>,
}

/// What is kept of a dependency with its revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptDependency {
    /// `name`.
    pub name: String,
    /// `localPort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i32>,
    /// `protocol`, if it is not HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<DependencyProtocol>,
    /// `host` when the revision was cut, for when the live spec does not name the dependency any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What makes a revision of a spec's dependencies.
pub(crate) fn called(spec: &ShopServiceSpec) -> Vec<Called> {
    let called = |one: &Dependency| Called {
        name: one.name.clone(),
        local_port: one.local_port,
        protocol: one.protocol.filter(|protocol| *protocol != DependencyProtocol::Http),
        host: one.host.clone(),
    };
    let mut all: Vec<Called> = spec.depends_on.iter().map(called).collect();
    // In which order they are written makes no revision.
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// What is kept with a revision.
pub(crate) fn kept(called: &[Called]) -> Vec<KeptDependency> {
    let kept = |one: &Called| KeptDependency {
        name: one.name.clone(),
        local_port: one.local_port,
        protocol: one.protocol.filter(|protocol| *protocol != DependencyProtocol::Http),
        host: one.host.clone(),
    };
    called.iter().map(kept).collect()
}

/// The dependencies of a revision, with every rule written out: by the live spec where it names them, else as without any wish.
pub(crate) fn of_revision(kept: &[KeptDependency], spec: &ShopServiceSpec) -> Vec<Dependency> {
    let of = |kept: &KeptDependency| {
        let live = spec.depends_on.iter().find(|one| one.name == kept.name);
        let rules = live.cloned().unwrap_or_else(|| bare(&kept.name, kept.host.clone()));
        whole(Dependency { local_port: kept.local_port, protocol: kept.protocol, ..rules })
    };
    kept.iter().map(of).collect()
}

fn bare(name: &str, host: Option<String>) -> Dependency {
    Dependency {
        name: name.to_owned(),
        host,
        tls: None,
        protocol: None,
        local_port: None,
        timeout: None,
        try_timeout: None,
        retries: None,
        balance: Balance::default(),
        hash_header: None,
        circuit_breaker: None,
        bulkhead: None,
        fallback: None,
    }
}

fn whole(rules: Dependency) -> Dependency {
    let breaker = |breaker: CircuitBreaker| CircuitBreaker {
        requests: breaker.requests.or(Some(defaults::REQUESTS)),
        errors: breaker.errors.or(Some(Percent::parts(defaults::ERRORS * 100))),
        window: breaker.window.or(Some(defaults::WINDOW)),
        open: breaker.open.or(Some(defaults::OPEN)),
        trials: breaker.trials.or(Some(defaults::TRIALS)),
    };
    let answer = |answer: FixedAnswer| FixedAnswer {
        status: answer.status.or(Some(200)),
        content_type: answer.content_type.or_else(|| Some("application/json".to_owned())),
        ..answer
    };
    let last = |last: LastGood| LastGood { max_age: last.max_age.or(Some(defaults::MAX_AGE)), ..last };
    Dependency {
        tls: rules.tls.filter(|tls| *tls && rules.host.is_some()),
        timeout: rules.timeout.or(Some(defaults::TIMEOUT)),
        retries: rules.retries.or(Some(defaults::RETRIES)),
        circuit_breaker: rules.circuit_breaker.map(breaker),
        fallback: rules.fallback.map(|fallback| Fallback {
            answer: fallback.answer.map(answer),
            last_good: fallback.last_good.map(last),
        }),
        ..rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(depends_on: &serde_json::Value) -> ShopServiceSpec {
        serde_json::from_value(serde_json::json!({"image": "a:1", "port": 8080, "dependsOn": depends_on}))
            .unwrap()
    }

    #[test]
    fn only_names_ports_and_protocols_make_a_revision() {
        let hash = |depends_on: serde_json::Value| {
            crate::Inputs::resolve(&spec(&depends_on), &crate::Observed::default()).unwrap().hash()
        };
        let plain = hash(serde_json::json!([{"name": "fakepay"}, {"name": "inventory", "localPort": 7001}]));
        let same = hash(serde_json::json!([
            {"name": "inventory", "localPort": 7001, "protocol": "http", "timeout": "1s", "retries": 0, "balance": "random", "bulkhead": {"maxInFlight": 1}},
            {"name": "fakepay", "host": "pay.example.com", "circuitBreaker": {}, "fallback": {"answer": {"body": ""}}},
        ]));
        assert_eq!(plain, same);
        for other in [
            serde_json::json!([]),
            serde_json::json!([{"name": "fakepay"}]),
            serde_json::json!([{"name": "fakepay"}, {"name": "inventory", "localPort": 7002}]),
            serde_json::json!([{"name": "fakepay"}, {"name": "inventory", "localPort": 7001, "protocol": "tcp"}]),
        ] {
            assert_ne!(plain, hash(other));
        }
    }

    #[test]
    fn a_revision_keeps_whom_it_calls_and_the_live_spec_says_how() {
        let cut = spec(&serde_json::json!([
            {"name": "inventory", "localPort": 7001, "timeout": "1s"},
            {"name": "fakepay", "host": "pay.example.com"},
        ]));
        let kept = kept(&called(&cut));
        let live = spec(&serde_json::json!([
            {"name": "inventory", "localPort": 7002, "retries": 5, "circuitBreaker": {}},
            {"name": "payment"},
        ]));
        let [fakepay, inventory] = <[Dependency; 2]>::try_from(of_revision(&kept, &live)).unwrap();
        assert_eq!((inventory.local_port, inventory.retries), (Some(7001), Some(5)));
        assert_eq!(inventory.timeout, Some(defaults::TIMEOUT));
        assert_eq!(inventory.circuit_breaker.unwrap().errors, Some(Percent::parts(5_000)));
        assert_eq!((fakepay.host.as_deref(), fakepay.retries), (Some("pay.example.com"), Some(2)));
    }
}
