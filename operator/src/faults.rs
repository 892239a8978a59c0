//! What the status of each `FaultPolicy` says: whether it is on, for which services, until when.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use shop_crds::{FaultPolicyStatus, Reason};
use shop_release::{
    Policy,
    faults::{self, Standing},
};

use crate::cache::KnownFault;

/// The one condition.
const ACTIVE: &str = "Active";
/// Most characters of a condition's message.
const LONGEST_MESSAGE: usize = 1024;
/// Most services that a status names.
const MOST_SERVICES: usize = 100;

/// A namespace, as far as faults go.
pub struct Place<'a> {
    /// Its `FaultPolicies`.
    pub faults: &'a [Arc<KnownFault>],
    /// Its `ShopPolicies`.
    pub policies: &'a [Policy],
    /// Its ShopServices, with their labels.
    pub services: &'a [(String, BTreeMap<String, String>)],
}

/// What is so with a policy: the condition, the services that have it on, its end.
type Found = (bool, Reason, String, Vec<String>, Option<Timestamp>);

fn judge(known: &KnownFault, place: &Place<'_>, now: Timestamp) -> Found {
    let until = match faults::standing(&known.seen(), place.policies, now) {
        Standing::Refused(why) => return (false, Reason::FaultsRefused, why, Vec::new(), None),
        Standing::Over(since) => {
            return (false, Reason::FaultsEnded, format!("over since {since}"), Vec::new(), Some(since));
        }
        Standing::On(until) => until,
    };
    // One that cannot be read is refused above.
    let Ok(spec) = &known.spec else {
        return (false, Reason::FaultsRefused, String::new(), Vec::new(), None);
    };
    let named: Vec<_> =
        place.services.iter().filter(|(name, labels)| faults::selects(spec, name, labels)).collect();
    let seen: Vec<_> = place.faults.iter().map(|known| (known, known.seen())).collect();
    let is_on = |(name, labels): &(String, BTreeMap<String, String>)| {
        let of_service = seen
            .iter()
            .filter(|(fault, _)| fault.spec.as_ref().is_ok_and(|spec| faults::selects(spec, name, labels)));
        let on = faults::active(of_service.map(|(_, seen)| seen), place.policies, now);
        on.iter().any(|(fault, _)| fault.name == known.name)
    };
    let on: Vec<String> =
        named.iter().filter(|service| is_on(service)).map(|(name, _)| name.clone()).collect();
    if named.is_empty() {
        let why = "no ShopService of this namespace has that name or these labels".to_owned();
        return (false, Reason::FaultsUnused, why, on, Some(until));
    }
    if on.is_empty() {
        let most = faults::MAX_PER_SERVICE;
        let why = format!("{most} older FaultPolicies are on already for each of its services: delete one");
        return (false, Reason::FaultsRefused, why, on, Some(until));
    }
    let beyond = named.len() - on.len();
    let but = if beyond == 0 {
        String::new()
    } else {
        format!("; not in {beyond} services that have {} older ones", faults::MAX_PER_SERVICE)
    };
    (true, Reason::FaultsInjected, format!("{}{but}", faults::sentence(spec)), on, Some(until))
}

/// The status that a policy shall have, if it has another one that no later leader wrote.
pub fn wanted(
    known: &KnownFault,
    place: &Place<'_>,
    epoch: i64,
    now: Timestamp,
) -> Option<FaultPolicyStatus> {
    let (active, reason, message, mut services, until) = judge(known, place, now);
    services.truncate(MOST_SERVICES);
    let status = if active { "True" } else { "False" };
    let message: String = message.chars().take(LONGEST_MESSAGE).collect();
    let before = known.status.conditions.iter().find(|condition| condition.type_ == ACTIVE);
    let since =
        before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let wanted = FaultPolicyStatus {
        observed_generation: Some(known.generation),
        leader_epoch: epoch,
        services,
        until: until.map(Time),
        conditions: vec![Condition {
            type_: ACTIVE.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            observed_generation: Some(known.generation),
            last_transition_time: since.unwrap_or(now),
        }],
    };
    let same = FaultPolicyStatus { leader_epoch: epoch, ..known.status.clone() } == wanted;
    (!same && known.status.leader_epoch <= epoch).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(name: &str, service: &str) -> KnownFault {
        let spec = json!({"services": [service], "share": "5%", "drop": true, "duration": "10m"});
        KnownFault {
            namespace: "shop".into(),
            name: name.into(),
            uid: "u".into(),
            resource_version: "1".into(),
            generation: 3,
            created: "2026-11-22T12:00:00Z".parse().unwrap(),
            spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
            status: FaultPolicyStatus::default(),
        }
    }

    fn told(status: &FaultPolicyStatus) -> (&str, &str, &[String]) {
        let condition = &status.conditions[0];
        (&condition.status, &condition.reason, &status.services)
    }

    #[test]
    fn a_status_says_whether_it_is_on_and_where() {
        let now = "2026-11-22T12:01:00Z".parse().unwrap();
        let services = [("order".to_owned(), BTreeMap::new()), ("stock".to_owned(), BTreeMap::new())];
        let (mut drill, nobody) = (known("drill", "order"), known("nobody", "orders"));
        let all = [Arc::new(drill.clone()), Arc::new(nobody.clone())];
        let place = Place { faults: &all, policies: &[], services: &services };
        let status = wanted(&drill, &place, 4, now).unwrap();
        assert_eq!(told(&status), ("True", "FaultsInjected", &["order".to_owned()][..]));
        assert_eq!(status.conditions[0].message, "no answer, for 5% of requests");
        assert_eq!(status.until, Some(Time("2026-11-22T12:10:00Z".parse().unwrap())));
        drill.status = status;
        assert_eq!(wanted(&drill, &place, 5, now), None, "once for each change");
        let over = "2026-11-22T12:10:00Z".parse().unwrap();
        let status = wanted(&drill, &place, 5, over).unwrap();
        assert_eq!(told(&status), ("False", "FaultsEnded", &[][..]));
        drill.status.leader_epoch = 6;
        assert_eq!(wanted(&drill, &place, 5, over), None, "never over a later leader's");
        let status = wanted(&nobody, &place, 4, now).unwrap();
        assert_eq!(told(&status), ("False", "FaultsUnused", &[][..]));
    }

    #[test]
    fn the_ninth_is_refused() {
        let now = "2026-11-22T12:01:00Z".parse().unwrap();
        let services = [("order".to_owned(), BTreeMap::new())];
        let all: Vec<_> = (0..9).map(|n| Arc::new(known(&format!("f{n}"), "order"))).collect();
        let place = Place { faults: &all, policies: &[], services: &services };
        let word = |known: &KnownFault| told(&wanted(known, &place, 1, now).unwrap()).1.to_owned();
        let words: Vec<String> = all.iter().map(|known| word(known)).collect();
        assert!(words[..8].iter().all(|word| word == "FaultsInjected"), "{words:?}");
        assert_eq!(words[8], "FaultsRefused");
    }
}
