//! FaultPolicies: which of them count, until when, and what sidecars are told of them.
//!
//! Each ends at a time that is fixed when it is created, a day later at the latest, and that stands in the document: sidecars end it
//! by themselves. Here it is taken out of the document then, so that what is written is what is so.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use shop_crds::{
    FaultPolicySpec, Percent, Reason, Span,
    fault::{FaultMatch, FaultRole},
    status::{Colour, FaultState},
};

use crate::{
    document::Role,
    observed::{FaultPolicy, Policy},
    view::{Draft, View, after},
};

/// Longest life of a fault.
pub const LONGEST: Duration = Duration::from_hours(24);
/// Most of them at a time for one service; the oldest count. Sidecars take no more.
pub const MAX_PER_SERVICE: usize = 8;

/// A fault as sidecars are told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the policy.
    pub policy: String,
    /// When it is over, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Share of requests, in parts per 10,000.
    pub share: u32,
    /// Their path.
    pub path: Option<String>,
    /// Their method.
    pub method: Option<String>,
    /// Their header fields.
    pub headers: Vec<(String, String)>,
    /// The dependency that they are calls to.
    pub dependency: Option<String>,
    /// How long they wait, and how much longer at random, in milliseconds.
    pub delay: Option<(u64, u64)>,
    /// What happens then.
    pub end: Option<FaultEnd>,
}

/// What happens instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEnd {
    /// An answer by the sidecar.
    Abort {
        /// Its status.
        status: u16,
        /// Its status for gRPC.
        grpc: Option<u8>,
    },
    /// None.
    Drop,
}

/// Whether a policy counts, apart from the services that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Until then.
    On(Timestamp),
    /// Since then not any more.
    Over(Timestamp),
    /// Never; why, and what to write instead.
    Refused(String),
}

/// Whether a policy counts now. `policies` are the ShopPolicies of its namespace, which may forbid it.
pub fn standing(fault: &FaultPolicy, policies: &[Policy], now: Timestamp) -> Standing {
    let spec = match &fault.spec {
        Ok(spec) => spec,
        Err(error) => {
            return Standing::Refused(format!("spec: {error}; upgrade the operator, or correct it"));
        }
    };
    let forbids = |policy: &&Policy| policy.spec.as_ref().is_ok_and(|spec| spec.forbid_faults);
    if let Some(policy) = policies.iter().find(forbids) {
        let name = &policy.name;
        return Standing::Refused(format!(
            "ShopPolicy {name} forbids faults in this namespace (spec.forbidFaults)"
        ));
    }
    let latest = after(fault.created, LONGEST);
    let until = match (&spec.expires, spec.duration) {
        (Some(Time(expires)), None) if *expires > latest => {
            return Standing::Refused(format!(
                "spec.expires is more than 24 h after it was created: write {latest} or earlier"
            ));
        }
        (Some(Time(expires)), None) => *expires,
        (None, Some(duration)) => after(fault.created, duration.duration()).min(latest),
        _ => return Standing::Refused("it has no end: write either spec.expires or spec.duration".into()),
    };
    // The API server keeps times in whole seconds.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    if until <= now { Standing::Over(until) } else { Standing::On(until) }
}

/// Whether a policy names a ShopService, by its name or by its labels.
pub fn selects(spec: &FaultPolicySpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    match &spec.selector {
        Some(selector) => selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value)),
        None => spec.services.iter().any(|service| service == name),
    }
}

/// Of the policies that name a service those that count now, in order, with their ends: the oldest, as many as sidecars take.
pub fn active<'a>(
    faults: impl IntoIterator<Item = &'a FaultPolicy>,
    policies: &[Policy],
    now: Timestamp,
) -> Vec<(&'a FaultPolicy, Timestamp)> {
    let mut on: Vec<_> = faults
        .into_iter()
        .filter_map(|fault| match standing(fault, policies, now) {
            Standing::On(until) => Some((fault, until)),
            Standing::Over(_) | Standing::Refused(_) => None,
        })
        .collect();
    on.sort_by(|(left, _), (right, _)| (left.created, &left.name).cmp(&(right.created, &right.name)));
    on.truncate(MAX_PER_SERVICE);
    on
}

/// What the sidecars of a revision are told.
pub(crate) fn of_revision(view: &View<'_>, role: Role, colour: Colour) -> Vec<Fault> {
    let on = active(&view.observed.faults, &view.observed.policies, view.now);
    let fits = |matches: &FaultMatch| {
        let is_role = |wanted: FaultRole| match wanted {
            FaultRole::Active => role == Role::Active,
            FaultRole::Candidate => role == Role::Candidate,
        };
        matches.colour.is_none_or(|wanted| wanted == colour) && matches.role.is_none_or(is_role)
    };
    on.into_iter()
        .filter_map(|(fault, until)| {
            let spec = fault.spec.as_ref().ok()?;
            spec.matches.as_ref().is_none_or(fits).then(|| told(&fault.name, spec, until))
        })
        // Sidecars refuse what does nothing, and with it the whole document.
        .filter(|fault| fault.share > 0 && (fault.delay.is_some() || fault.end.is_some()))
        .collect()
}

fn told(policy: &str, spec: &FaultPolicySpec, until: Timestamp) -> Fault {
    let matches = spec.matches.clone().unwrap_or_default();
    let millis = |span: Span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX);
    let end = match &spec.abort {
        Some(abort) => Some(FaultEnd::Abort {
            status: u16::try_from(abort.status).unwrap_or(503),
            grpc: abort.grpc_status.and_then(|code| u8::try_from(code).ok()),
        }),
        None => spec.drop.then_some(FaultEnd::Drop),
    };
    Fault {
        policy: policy.to_owned(),
        until_unix_ms: u64::try_from(until.as_millisecond()).unwrap_or(0),
        share: spec.share.per_10_000(),
        path: matches.path,
        method: matches.method,
        headers: matches.header.unwrap_or_default().into_iter().collect(),
        dependency: spec.dependency.clone(),
        delay: spec
            .delay
            .as_ref()
            .map(|delay| (millis(delay.fixed), delay.jitter.map_or(0, millis)))
            // Nothing is no delay, and sidecars take none.
            .filter(|delay| *delay != (0, 0)),
        end,
    }
}

/// What a policy does, for people: `delay 200ms, then 503, for 5% of POST /orders in the candidate`.
pub fn sentence(spec: &FaultPolicySpec) -> String {
    let mut text = String::new();
    if let Some(delay) = &spec.delay {
        let _ = write!(text, "delay {}", delay.fixed);
        if let Some(jitter) = delay.jitter.filter(|jitter| *jitter != Span::default()) {
            let _ = write!(text, " to {}", Span::millis(added(delay.fixed, jitter)));
        }
    }
    let end = match &spec.abort {
        Some(abort) => Some(format!("status {}", abort.status)),
        None => spec.drop.then(|| "no answer".to_owned()),
    };
    if let Some(end) = end {
        let then = if text.is_empty() { "" } else { ", then " };
        let _ = write!(text, "{then}{end}");
    }
    let share = if spec.share == Percent::ALL { "all".to_owned() } else { format!("{} of", spec.share) };
    let _ = write!(text, ", for {share} ");
    let matches = spec.matches.clone().unwrap_or_default();
    match (&matches.method, &matches.path) {
        (None, None) => text.push_str(if spec.dependency.is_some() { "calls" } else { "requests" }),
        (method, path) => {
            let words: Vec<&str> = [method, path].into_iter().flatten().map(String::as_str).collect();
            text.push_str(&words.join(" "));
        }
    }
    for (name, value) in matches.header.iter().flatten() {
        let _ = write!(text, " with {name}: {value}");
    }
    if let Some(dependency) = &spec.dependency {
        let _ = write!(text, " to {dependency}");
    }
    match matches.role {
        Some(FaultRole::Active) => text.push_str(" in the active revision"),
        Some(FaultRole::Candidate) => text.push_str(" in the candidate"),
        None => {}
    }
    if let Some(colour) = matches.colour {
        let _ = write!(text, " in {}", colour.as_str());
    }
    text
}

fn added(left: Span, right: Span) -> u64 {
    u64::try_from((left.duration() + right.duration()).as_millis()).unwrap_or(u64::MAX)
}

/// Says in the status which faults are on, so that nobody takes them for the service's own; and tells of each that comes or goes.
pub(crate) fn describe(view: &View<'_>, draft: &mut Draft) {
    let on = active(&view.observed.faults, &view.observed.policies, view.now);
    if let Some(first) = on.iter().map(|(_, until)| *until).min() {
        draft.wake(first);
    }
    let now: Vec<FaultState> = on
        .into_iter()
        .filter_map(|(fault, until)| {
            let what = sentence(fault.spec.as_ref().ok()?).chars().take(512).collect();
            Some(FaultState { policy: fault.name.clone(), until: Time(until), what })
        })
        .collect();
    let before = std::mem::take(&mut draft.status.faults);
    for fault in now.iter().filter(|fault| before.iter().all(|known| known.policy != fault.policy)) {
        let FaultState { policy, until, what } = fault;
        let message = format!("FaultPolicy {policy} injects {what}, until {}", until.0);
        draft.tell(true, Reason::FaultsInjected, message);
    }
    for fault in before.iter().filter(|known| now.iter().all(|fault| fault.policy != known.policy)) {
        draft.tell(
            false,
            Reason::FaultsEnded,
            format!("FaultPolicy {} injects nothing any more", fault.policy),
        );
    }
    draft.status.faults = now;
}

/// Follows every message while faults are on.
pub(crate) fn note(draft: &Draft) -> Option<String> {
    let (first, rest) = draft.status.faults.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!("; FaultPolicy {}{more} injects faults until {}", first.policy, first.until.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(name: &str, created: &str, changes: serde_json::Value) -> FaultPolicy {
        let mut spec =
            json!({"services": ["order"], "share": "5%", "abort": {"status": 503}, "duration": "10m"});
        let serde_json::Value::Object(changes) = changes else { panic!("an object") };
        for (field, value) in changes {
            spec[field.as_str()] = value;
        }
        let spec: Result<FaultPolicySpec, _> = serde_json::from_value(spec);
        let spec = spec.map_err(|error| error.to_string());
        FaultPolicy { name: name.into(), created: created.parse().unwrap(), spec }
    }

    const BORN: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_end_is_counted_from_the_creation() {
        let drill = fault("drill", BORN, json!({}));
        assert_eq!(standing(&drill, &[], at(BORN)), Standing::On(at("2026-11-22T12:10:00Z")));
        let over = at("2026-11-22T12:10:00Z");
        assert_eq!(standing(&drill, &[], over), Standing::Over(over));
        let expires = |text: &str| fault("drill", BORN, json!({"duration": null, "expires": text}));
        let whole_day = expires("2026-11-23T12:00:00Z");
        assert_eq!(standing(&whole_day, &[], at(BORN)), Standing::On(at("2026-11-23T12:00:00Z")));
        let Standing::Refused(why) = standing(&expires("2026-11-23T12:00:01Z"), &[], at(BORN)) else {
            panic!()
        };
        assert!(why.contains("write 2026-11-23T12:00:00Z or earlier"), "{why}");
        let endless = fault("drill", BORN, json!({"duration": null}));
        assert!(matches!(standing(&endless, &[], at(BORN)), Standing::Refused(_)));
    }

    #[test]
    fn a_namespace_can_forbid_them() {
        let spec = serde_json::from_value(json!({"forbidFaults": true})).map_err(|_| String::new());
        let policy = Policy { name: "calm".into(), spec };
        let Standing::Refused(why) = standing(&fault("drill", BORN, json!({})), &[policy], at(BORN)) else {
            panic!()
        };
        assert!(why.contains("ShopPolicy calm forbids"), "{why}");
    }

    #[test]
    fn the_oldest_count_and_no_more_than_sidecars_take() {
        let mut all: Vec<_> =
            (0..10).map(|n| fault(&format!("f{n}"), "2026-11-22T12:00:01Z", json!({}))).collect();
        all.push(fault("z-older", BORN, json!({})));
        all.push(fault("over", "2026-11-20T12:00:00Z", json!({})));
        let on = active(&all, &[], at("2026-11-22T12:01:00Z"));
        let names: Vec<&str> = on.iter().map(|(fault, _)| fault.name.as_str()).collect();
        assert_eq!(names, ["z-older", "f0", "f1", "f2", "f3", "f4", "f5", "f6"]);
    }

    #[test]
    fn services_are_named_or_selected() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let by_name = fault("f", BORN, json!({})).spec.unwrap();
        assert!(selects(&by_name, "order", &labels) && !selects(&by_name, "stock", &labels));
        let wanted = json!({"services": [], "selector": {"matchLabels": {"tier": "front"}}});
        let by_label = fault("f", BORN, wanted).spec.unwrap();
        assert!(selects(&by_label, "stock", &labels) && !selects(&by_label, "order", &BTreeMap::new()));
    }

    #[test]
    fn what_it_does_is_a_sentence() {
        for (changes, expected) in [
            (json!({}), "status 503, for 5% of requests"),
            (
                json!({"delay": {"fixed": "200ms", "jitter": "100ms"}, "share": "100%",
                    "match": {"method": "POST", "path": "/orders", "role": "candidate"}}),
                "delay 200ms to 300ms, then status 503, for all POST /orders in the candidate",
            ),
            (
                json!({"abort": null, "drop": true, "dependency": "inventory", "match": {"header": {"x-a": "b"}}}),
                "no answer, for 5% of calls with x-a: b to inventory",
            ),
        ] {
            assert_eq!(sentence(&fault("f", BORN, changes).spec.unwrap()), expected);
        }
    }
}
