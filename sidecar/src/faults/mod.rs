//! Faults that a FaultPolicy asks for. Resolved when a document is accepted; without one, a request pays a branch.
//!
//! A fault stands in the place of what it is about: one on requests in the place of the app, after tokens and limits; one on calls
//! in the place of a pod that is called, so that retries, circuit breaker and fallback do what they would.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Request, StatusCode};
use shop_contract::{Delay, Fault, FaultEnd, RouteMatch};
use shop_flow::fault::Rule;

use crate::limits::Route;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::FaultKind;

/// Faults on the requests of one direction.
#[derive(Debug)]
pub struct Faults(Vec<Armed>);

#[derive(Debug)]
struct Armed {
    policy: Arc<str>,
    rule: Rule,
    route: Option<Route>,
    headers: Vec<(HeaderName, HeaderValue)>,
    end: Option<End>,
}

/// What happens to a request that is struck.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Who asked for it.
    pub policy: Arc<str>,
    /// It waits first.
    pub delay: Duration,
    /// Then this; `None`: it goes on.
    pub end: Option<End>,
}

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An answer by the sidecar.
    Abort {
        /// Its status.
        status: StatusCode,
        /// What a gRPC caller gets; `None`: what stands for the status.
        grpc: Option<HeaderValue>,
    },
    /// None at all.
    Drop,
}

impl Faults {
    /// Those of a document on requests that come in, or on calls to a dependency. `None`: there are none.
    pub fn new(all: &[Fault], dependency: Option<&str>) -> Option<Self> {
        let fitting = all.iter().filter(|fault| fault.dependency.as_deref() == dependency);
        let armed: Vec<_> = fitting.filter_map(Armed::new).collect();
        (!armed.is_empty()).then_some(Self(armed))
    }

    /// What happens to a request: the first fault that strikes it counts, so that it has one.
    pub fn strike<B>(&self, request: &Request<B>, metrics: &Metrics) -> Option<Strike> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let strike = self.0.iter().filter(|armed| armed.fits(request)).find_map(|armed| {
            let delay = armed.rule.strikes(now, rand::random())?;
            Some(Strike { policy: Arc::clone(&armed.policy), delay, end: armed.end.clone() })
        })?;
        if !strike.delay.is_zero() {
            metrics.fault(FaultKind::Delay);
        }
        match &strike.end {
            Some(End::Abort { .. }) => metrics.fault(FaultKind::Abort),
            Some(End::Drop) => metrics.fault(FaultKind::Drop),
            None => {}
        }
        Some(strike)
    }
}

impl Armed {
    /// `None` for a name, value or status that no request has; accepted documents have none of these.
    fn new(fault: &Fault) -> Option<Self> {
        let matches = fault.matches.clone().unwrap_or_default();
        let route = RouteMatch { path: matches.path, method: matches.method };
        let headers = matches.headers.iter().map(|pair| {
            let name = HeaderName::from_bytes(pair.name.as_bytes()).ok()?;
            Some((name, HeaderValue::try_from(pair.value.as_str()).ok()?))
        });
        let Delay { fixed_ms, jitter_ms } = fault.delay.unwrap_or(Delay { fixed_ms: 0, jitter_ms: 0 });
        let end = match fault.end {
            None => None,
            Some(FaultEnd::Drop) => Some(End::Drop),
            Some(FaultEnd::Abort { status, grpc_status }) => Some(End::Abort {
                status: StatusCode::from_u16(status).ok()?,
                grpc: grpc_status.map(|code| HeaderValue::from(u16::from(code))),
            }),
        };
        Some(Self {
            policy: fault.policy.as_str().into(),
            rule: Rule {
                share: fault.share,
                until_unix_ms: fault.until_unix_ms,
                delay: Duration::from_millis(fixed_ms),
                jitter: Duration::from_millis(jitter_ms),
            },
            route: (route != RouteMatch::default()).then(|| Route::new(&route)),
            headers: headers.collect::<Option<_>>()?,
            end,
        })
    }

    fn fits<B>(&self, request: &Request<B>) -> bool {
        let route = |route: &Route| route.fits(request.method(), request.uri().path());
        let has = |(name, value): &(HeaderName, HeaderValue)| {
            request.headers().get_all(name).iter().any(|found| found == value)
        };
        self.route.as_ref().is_none_or(route) && self.headers.iter().all(has)
    }
}
