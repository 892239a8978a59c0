//! Calls out: as a plan says them, with every rule written out, and as sidecars read them; and back.

use shop_contract::{CircuitBreaker, Dependency, DependencyTls, Fallback};
use shop_crds::{
    Percent, Span,
    service::dependency::{self as planned, Balance, Bulkhead, DependencyProtocol, FixedAnswer, LastGood},
};

fn millis(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}

// Every number is bounded by the definition.
fn number<N: TryFrom<i32> + Default>(number: Option<i32>) -> N {
    number.and_then(|number| N::try_from(number).ok()).unwrap_or_default()
}

fn back<N: TryInto<i32>>(number: N) -> Option<i32> {
    number.try_into().ok()
}

/// `peer`: the id of its sidecars, where they are called by TLS.
pub(super) fn dependency(one: &planned::Dependency, peer: Option<&String>) -> Dependency {
    let span = |span: Option<Span>| span.map(millis).unwrap_or_default();
    Dependency {
        name: one.name.clone(),
        host: one.host.clone(),
        tls: match (&one.host, one.tls) {
            (Some(host), Some(true)) => Some(DependencyTls::Host(name_of(host))),
            (Some(_), _) => None,
            (None, _) => peer.cloned().map(DependencyTls::Sidecar),
        },
        protocol: match one.protocol {
            None | Some(DependencyProtocol::Http) => shop_contract::DependencyProtocol::Http,
            Some(DependencyProtocol::Tcp) => shop_contract::DependencyProtocol::Tcp,
        },
        local_port: one.local_port.map(|port| number(Some(port))),
        timeout_ms: span(one.timeout),
        try_timeout_ms: one.try_timeout.map(millis),
        retries: number(one.retries),
        balance: match one.balance {
            Balance::LeastRequest => shop_contract::Balance::LeastRequest,
            Balance::RoundRobin => shop_contract::Balance::RoundRobin,
            Balance::Random => shop_contract::Balance::Random,
            Balance::Weighted => shop_contract::Balance::Weighted,
            Balance::ConsistentHash => shop_contract::Balance::ConsistentHash,
        },
        hash_header: one.hash_header.clone(),
        circuit_breaker: one.circuit_breaker.as_ref().map(|breaker| CircuitBreaker {
            requests: number(breaker.requests),
            error_percent: breaker.errors.map_or(100, |errors| errors.per_10_000().div_ceil(100)),
            window_ms: span(breaker.window),
            open_ms: span(breaker.open),
            trials: number(breaker.trials),
        }),
        max_in_flight: one.bulkhead.as_ref().map(|bulkhead| number(Some(bulkhead.max_in_flight))),
        fallback: one.fallback.as_ref().and_then(fallback),
    }
}

// `pay.example.com:8443` has a certificate for `pay.example.com`.
fn name_of(host: &str) -> String {
    host.split_once(':').map_or(host, |(name, _)| name).to_owned()
}

fn fallback(fallback: &planned::Fallback) -> Option<Fallback> {
    match (&fallback.answer, &fallback.last_good) {
        (Some(answer), _) => Some(Fallback::Answer {
            status: number(answer.status),
            content_type: answer.content_type.clone().unwrap_or_default(),
            body: answer.body.clone(),
        }),
        (None, Some(last)) => Some(Fallback::LastGood {
            paths: last.paths.clone(),
            max_age_ms: last.max_age.map(millis).unwrap_or_default(),
        }),
        (None, None) => None,
    }
}

pub(super) fn stored(one: &Dependency) -> planned::Dependency {
    let span = |millis| Some(Span::millis(millis));
    planned::Dependency {
        name: one.name.clone(),
        host: one.host.clone(),
        tls: matches!(one.tls, Some(DependencyTls::Host(_))).then_some(true),
        protocol: match one.protocol {
            shop_contract::DependencyProtocol::Http => None,
            shop_contract::DependencyProtocol::Tcp => Some(DependencyProtocol::Tcp),
        },
        local_port: one.local_port.map(i32::from),
        timeout: span(one.timeout_ms),
        try_timeout: one.try_timeout_ms.map(Span::millis),
        retries: back(one.retries),
        balance: match one.balance {
            shop_contract::Balance::LeastRequest => Balance::LeastRequest,
            shop_contract::Balance::RoundRobin => Balance::RoundRobin,
            shop_contract::Balance::Random => Balance::Random,
            shop_contract::Balance::Weighted => Balance::Weighted,
            shop_contract::Balance::ConsistentHash => Balance::ConsistentHash,
        },
        hash_header: one.hash_header.clone(),
        circuit_breaker: one.circuit_breaker.as_ref().map(|breaker| planned::CircuitBreaker {
            requests: back(breaker.requests),
            errors: Some(Percent::parts(breaker.error_percent.saturating_mul(100))),
            window: span(breaker.window_ms),
            open: span(breaker.open_ms),
            trials: back(breaker.trials),
        }),
        bulkhead: one.max_in_flight.and_then(back).map(|max_in_flight| Bulkhead { max_in_flight }),
        fallback: one.fallback.as_ref().map(|fallback| match fallback {
            Fallback::Answer { status, content_type, body } => planned::Fallback {
                answer: Some(FixedAnswer {
                    status: back(*status),
                    content_type: Some(content_type.clone()),
                    body: body.clone(),
                }),
                last_good: None,
            },
            Fallback::LastGood { paths, max_age_ms } => planned::Fallback {
                answer: None,
                last_good: Some(LastGood { paths: paths.clone(), max_age: span(*max_age_ms) }),
            },
        }),
    }
}
