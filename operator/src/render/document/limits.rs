//! What is let in: as the spec says it with defaults filled in, as sidecars read it; and back.

use shop_contract as contract;
use shop_crds::{Amount, Span, service::limits};

pub(super) fn limits(limits: &limits::Limits) -> contract::Limits {
    contract::Limits {
        concurrency: limits.concurrency.as_ref().map(|concurrency| contract::Concurrency {
            max: number(concurrency.max),
            queue: number(concurrency.queue()),
        }),
        request_timeout_ms: limits.request_timeout.map(millis),
        timeouts: limits.timeouts.as_ref().map(|timeouts| contract::Timeouts {
            header_ms: timeouts.header.map(millis),
            body_ms: timeouts.body.map(millis),
            idle_ms: timeouts.idle.map(millis),
        }),
        max_body_bytes: limits.max_body_bytes.as_ref().and_then(Amount::units),
        priority: limits
            .priority
            .iter()
            .map(|rule| contract::Priority {
                matches: route(&rule.matches),
                class: match rule.class {
                    limits::PriorityClass::High => contract::PriorityClass::High,
                    limits::PriorityClass::Normal => contract::PriorityClass::Normal,
                    limits::PriorityClass::Low => contract::PriorityClass::Low,
                },
            })
            .collect(),
        rate: limits.rate.iter().map(rate).collect(),
        user: limits.user.as_ref().map(|user| contract::UserKey { header: user.header.clone() }),
        allow: limits.allow.clone(),
        deny: limits.deny.clone(),
    }
}

pub(super) fn stored_limits(limits: &contract::Limits) -> limits::Limits {
    limits::Limits {
        concurrency: limits.concurrency.map(|concurrency| limits::Concurrency {
            max: signed(concurrency.max),
            queue: Some(signed(concurrency.queue)),
        }),
        request_timeout: limits.request_timeout_ms.map(Span::millis),
        timeouts: limits.timeouts.map(|timeouts| limits::Timeouts {
            header: timeouts.header_ms.map(Span::millis),
            body: timeouts.body_ms.map(Span::millis),
            idle: timeouts.idle_ms.map(Span::millis),
        }),
        max_body_bytes: limits.max_body_bytes.map(|bytes| Amount(bytes.to_string())),
        priority: limits
            .priority
            .iter()
            .map(|rule| limits::Priority {
                matches: stored_route(&rule.matches),
                class: match rule.class {
                    contract::PriorityClass::High => limits::PriorityClass::High,
                    contract::PriorityClass::Normal => limits::PriorityClass::Normal,
                    contract::PriorityClass::Low => limits::PriorityClass::Low,
                },
            })
            .collect(),
        rate: limits.rate.iter().map(stored_rate).collect(),
        user: limits.user.as_ref().map(|user| limits::UserKey { header: user.header.clone() }),
        allow: limits.allow.clone(),
        deny: limits.deny.clone(),
    }
}

fn rate(rate: &limits::Rate) -> contract::Rate {
    contract::Rate {
        per: match rate.per {
            limits::Per::Ip => contract::Per::Ip,
            limits::Per::User => contract::Per::User,
            limits::Per::Route => contract::Per::Route,
        },
        requests: number(rate.requests),
        window_ms: millis(rate.window),
        burst: rate.burst.map(number),
        suspend_ms: rate.suspend.map(millis),
        matches: rate.matches.as_ref().map(route),
        sticky: rate.sticky,
    }
}

fn stored_rate(rate: &contract::Rate) -> limits::Rate {
    limits::Rate {
        per: match rate.per {
            contract::Per::Ip => limits::Per::Ip,
            contract::Per::User => limits::Per::User,
            contract::Per::Route => limits::Per::Route,
        },
        requests: signed(rate.requests),
        window: Span::millis(rate.window_ms),
        burst: rate.burst.map(signed),
        suspend: rate.suspend_ms.map(Span::millis),
        matches: rate.matches.as_ref().map(stored_route),
        sticky: rate.sticky,
    }
}

fn route(route: &limits::RouteMatch) -> contract::RouteMatch {
    contract::RouteMatch { path: route.path.clone(), method: route.method.clone() }
}

fn stored_route(route: &contract::RouteMatch) -> limits::RouteMatch {
    limits::RouteMatch { path: route.path.clone(), method: route.method.clone() }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX)
}

fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
