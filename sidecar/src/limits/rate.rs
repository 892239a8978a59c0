//! How often callers may ask, by address, user and route; and which addresses may not ask at all.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use shop_contract::{Network, Per, Rate, reasons};
use shop_flow::limit::rate::{Rule, Verdict};

use super::keys::{KeyMaker, Keys};
use super::peers::{Suspension, Teller};
use super::route::Route;
use super::{Asked, Refusal, Shared, whole_seconds};
use crate::telemetry::Telemetry;
use crate::upstream::Body;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The rules of a document.
#[derive(Debug)]
pub(super) struct Rates {
    rules: Vec<Resolved>,
    user: Option<HeaderName>,
    allow: Vec<Network>,
    deny: Vec<Network>,
    /// `RateLimit-Policy`.
    policy: HeaderValue,
    maker: KeyMaker,
    keys: Arc<Keys>,
    telemetry: Arc<Telemetry>,
    teller: Teller,
}

#[derive(Debug)]
struct Resolved {
    /// What this pod admits.
    rule: Rule,
    per: Per,
    route: Option<Route>,
    /// Tells its keys from those of other rules.
    seed: u64,
    /// In `RateLimit`, with its quotes.
    name: Box<str>,
}

/// What the rules for addresses say of a request that may come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screened {
    /// No rule is for its address.
    is_exempt: bool,
    least: Option<Least>,
}

/// The rule that has the least left.
#[derive(Clone, Copy, Debug)]
struct Least {
    rule: usize,
    left: u32,
    whole_in: Duration,
}

/// What the caller of an admitted request is told: of the rule that has the least left.
#[derive(Clone, Debug)]
pub(super) struct Told {
    limit: HeaderValue,
    policy: HeaderValue,
}

impl Told {
    /// Puts it into an answer's fields, unless the app has limits of its own to tell.
    pub(super) fn tell(&self, fields: &mut HeaderMap) {
        if !fields.contains_key(RATE_LIMIT) {
            fields.insert(RATE_LIMIT, self.limit.clone());
            fields.insert(RATE_LIMIT_POLICY, self.policy.clone());
        }
    }
}

impl Rates {
    /// `None`: nobody is limited.
    pub(super) fn new(
        limits: &shop_contract::Limits,
        secret: &[u8; 16],
        pods: u32,
        shared: &Shared,
    ) -> Option<Self> {
        if limits.rate.is_empty() && limits.deny.is_empty() {
            return None;
        }
        let maker = KeyMaker::new(secret);
        let rules: Vec<_> = limits
            .rate
            .iter()
            .enumerate()
            .map(|(at, rate)| {
                let before = limits.rate.iter().take(at);
                let alike = before.clone().filter(|other| shape(other) == shape(rate)).count();
                let same = before.filter(|other| other.per == rate.per).count();
                let number = if same == 0 { String::new() } else { format!("-{}", same + 1) };
                Resolved {
                    rule: rule(rate).shared(if rate.sticky { 1 } else { pods }),
                    per: rate.per,
                    route: rate.matches.as_ref().map(Route::new),
                    seed: maker.key(alike as u64, shape(rate).as_bytes()),
                    name: format!("\"{}{number}\"", rate.per.as_str()).into(),
                }
            })
            .collect();
        let policies = rules.iter().zip(&limits.rate).map(|(rule, rate)| {
            format!(
                "{};q={};w={}",
                rule.name,
                rate.requests,
                whole_seconds(Duration::from_millis(rate.window_ms))
            )
        });
        let policy = policies.collect::<Vec<_>>().join(", ");
        let networks = |list: &[String]| list.iter().filter_map(|one| one.parse().ok()).collect();
        Some(Self {
            // Never the default: it is words, digits and `";=, `.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            rules,
            user: limits.user.as_ref().and_then(|user| HeaderName::from_bytes(user.header.as_bytes()).ok()),
            allow: networks(&limits.allow),
            deny: networks(&limits.deny),
            maker,
            keys: Arc::clone(&shared.keys),
            telemetry: Arc::clone(&shared.telemetry),
            teller: shared.teller.clone(),
        })
    }

    /// Whether a request may come from where it comes from: what costs little, before it is known who sent it.
    pub(super) fn check_address(
        &self,
        request: &Request<Body>,
        asked: &Asked<'_>,
    ) -> Result<Screened, Refusal> {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(asked.client));
        if !self.allow.is_empty() && is_in(&self.allow) {
            return Ok(Screened { is_exempt: true, least: None });
        }
        if !self.deny.is_empty() && is_in(&self.deny) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, reasons::ADDRESS_DENIED));
        }
        let least = self.take(request, asked, |per| per == Per::Ip, None)?;
        Ok(Screened { is_exempt: false, least })
    }

    /// Whether it may come by all other rules, and what its sender is told.
    pub(super) fn check(
        &self,
        request: &Request<Body>,
        asked: &Asked<'_>,
        screened: Screened,
    ) -> Result<Option<Told>, Refusal> {
        if screened.is_exempt {
            return Ok(None);
        }
        let least = self.take(request, asked, |per| per != Per::Ip, screened.least)?;
        let told =
            least.and_then(|least| Some(self.told(self.rules.get(least.rule)?, least.left, least.whole_in)));
        Ok(told)
    }

    /// Asks rules in turn; those before the one that refuses have counted the request. Answers which has the least left.
    fn take(
        &self,
        request: &Request<Body>,
        asked: &Asked<'_>,
        of: impl Fn(Per) -> bool,
        mut least: Option<Least>,
    ) -> Result<Option<Least>, Refusal> {
        let now = self.telemetry.clock.now();
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| of(rule.per)) {
            let fits = |route: &Route| route.fits(request.method(), request.uri().path());
            if !rule.route.as_ref().is_none_or(fits) {
                continue;
            }
            let Some(key) = self.key(rule, request, asked) else { continue };
            match self.keys.take(key, &rule.rule, now) {
                Verdict::Admitted { left, whole_in } => {
                    if least.is_none_or(|before| left < before.left) {
                        least = Some(Least { rule: at, left, whole_in });
                    }
                }
                refused => return Err(self.refuse(rule, key, refused)),
            }
        }
        Ok(least)
    }

    /// What a rule tells callers apart by; `None`: nothing of that is known.
    fn key(&self, rule: &Resolved, request: &Request<Body>, asked: &Asked<'_>) -> Option<u64> {
        match rule.per {
            Per::Route => Some(self.maker.key(rule.seed, b"")),
            Per::User => {
                let user = user(asked, self.user.as_ref(), request.headers())?;
                Some(self.maker.key(rule.seed, user))
            }
            Per::Ip => Some(match asked.client.to_canonical() {
                IpAddr::V4(address) => self.maker.key(rule.seed, &address.octets()),
                // Whoever has one address of these has all of them.
                IpAddr::V6(address) => {
                    let octets = address.octets();
                    self.maker.key(rule.seed, octets.get(..8).unwrap_or(&octets))
                }
            }),
        }
    }

    /// Another pod has suspended a key. No longer than any rule does.
    pub(super) fn suspend(&self, key: u64, left: Duration) {
        let longest = self.rules.iter().map(|rule| rule.rule.suspension()).max().unwrap_or_default();
        if !longest.is_zero() {
            self.keys.suspend(key, left.min(longest), self.telemetry.clock.now());
            self.telemetry.metrics.suspensions_heard.inc();
        }
    }

    fn refuse(&self, rule: &Resolved, key: u64, verdict: Verdict) -> Refusal {
        let metrics = &self.telemetry.metrics;
        metrics.rate_limited(rule.per);
        let (retry_after, reason) = match verdict {
            Verdict::Suspended { retry_after } => (retry_after, reasons::SUSPENDED),
            Verdict::Suspends { retry_after } => {
                metrics.suspensions.inc();
                if self.teller.try_send(Suspension::new(key, retry_after)).is_err() {
                    metrics.suspensions_untold.inc();
                }
                (retry_after, reasons::SUSPENDED)
            }
            Verdict::Refused { retry_after } | Verdict::Admitted { whole_in: retry_after, .. } => {
                (retry_after, reasons::RATE_LIMITED)
            }
        };
        Refusal {
            retry_after: Some(retry_after),
            rate: Some(self.told(rule, 0, retry_after)),
            ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason)
        }
    }

    /// `RateLimit` of draft-ietf-httpapi-ratelimit-headers.
    fn told(&self, rule: &Resolved, left: u32, resets_in: Duration) -> Told {
        let mut text = String::with_capacity(40);
        let _ = write!(text, "{};r={left};t={}", rule.name, whole_seconds(resets_in));
        let limit = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Told { limit, policy: self.policy.clone() }
    }
}

/// The user of a request: the verified one, or the one that the document's header names.
fn user<'a>(asked: &'a Asked<'_>, header: Option<&HeaderName>, fields: &'a HeaderMap) -> Option<&'a [u8]> {
    let named = || header.and_then(|name| fields.get(name)).map(HeaderValue::as_bytes);
    asked.user.map(str::as_bytes).or_else(named).filter(|user| !user.is_empty())
}

fn rule(rate: &Rate) -> Rule {
    let window = Duration::from_millis(rate.window_ms);
    let rule = match rate.burst {
        None => Rule::window(rate.requests, window),
        Some(burst) => Rule::bucket(rate.requests, window, burst),
    };
    rule.suspending(Duration::from_millis(rate.suspend_ms.unwrap_or(0)))
}

/// What a key's state depends on: a rule that changes its number of requests goes on with what was counted.
fn shape(rate: &Rate) -> String {
    let route = rate.matches.as_ref();
    let path = route.and_then(|route| route.path.as_deref()).unwrap_or("");
    let method = route.and_then(|route| route.method.as_deref()).unwrap_or("");
    let kind = if rate.burst.is_some() { "bucket" } else { "window" };
    format!("{}\n{kind}\n{}\n{path}\n{method}", rate.per.as_str(), rate.window_ms)
}
