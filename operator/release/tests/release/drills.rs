//! Faults that a FaultPolicy asks for: which revisions' sidecars are told, how long, and that everybody sees it.

use serde_json::{Value, json};
use shop_crds::{Reason, status::Phase};
use shop_release::{FaultPolicy, Policy};

use crate::{running, world::World};

/// For ten minutes from now.
fn drill(world: &World, name: &str, matches: &Value) -> FaultPolicy {
    let spec = json!({"services": ["order"], "share": "5%", "abort": {"status": 503}, "duration": "10m", "match": matches});
    let spec = serde_json::from_value(spec).map_err(|error: serde_json::Error| error.to_string());
    FaultPolicy { name: name.into(), created: world.now, spec }
}

/// Names of the faults in a revision's document.
fn told(world: &World, revision: i64) -> Vec<String> {
    let config = world.observed.configs.iter().find(|config| config.revision == revision);
    let document = config.and_then(|config| config.document.as_ref());
    document.into_iter().flat_map(|document| &document.faults).map(|fault| fault.policy.clone()).collect()
}

fn events(world: &World, reason: Reason) -> usize {
    world.events.iter().filter(|event| event.reason == reason).count()
}

#[test]
fn a_fault_is_live_is_seen_and_ends_by_itself() {
    let mut world = running(2);
    let policy = drill(&world, "drill", &json!({"path": "/pay"}));
    let end = world.now + jiff::SignedDuration::from_mins(10);
    world.observed.faults = vec![policy];
    world.run(2);
    assert_eq!(told(&world, 1), ["drill"]);
    let fault = world.observed.configs[0].document.as_ref().unwrap().faults[0].clone();
    assert_eq!(fault.until_unix_ms, u64::try_from(end.as_second() * 1_000).unwrap());
    assert_eq!((world.status.last_revision, world.phase()), (1, Phase::Stable), "no new revision");
    let on = &world.status.faults;
    assert_eq!((on.len(), on[0].what.as_str()), (1, "status 503, for 5% of /pay"));
    assert!(world.status.message.as_ref().unwrap().contains("FaultPolicy drill injects faults until"));
    let generation = world.observed.configs[0].generation;
    world.run(30);
    assert_eq!(world.observed.configs[0].generation, generation, "nothing is written while nothing changes");
    world.pass(10 * 60_000);
    world.run(2);
    assert!(told(&world, 1).is_empty() && world.status.faults.is_empty());
    assert!(!world.status.message.as_ref().unwrap().contains("FaultPolicy"));
    assert_eq!((events(&world, Reason::FaultsInjected), events(&world, Reason::FaultsEnded)), (1, 1));
}

#[test]
fn only_the_revision_that_is_meant_is_struck() {
    let mut world = running(2);
    world.manual();
    world.observed.faults = vec![
        drill(&world, "in-candidate", &json!({"role": "candidate"})),
        drill(&world, "in-blue", &json!({"colour": "blue"})),
        drill(&world, "in-active", &json!({"role": "active"})),
    ];
    world.image("good-2");
    world.run_until(60, |world| world.phase() == Phase::Verifying);
    world.run(2);
    assert_eq!(told(&world, 1), ["in-active", "in-blue"]);
    assert_eq!(told(&world, 2), ["in-candidate"]);
    world.decide(shop_crds::Verb::Promote, 2);
    world.run_until(120, World::stable);
    assert_eq!((world.active(), told(&world, 2)), (2, vec!["in-active".to_owned()]));
}

#[test]
fn a_namespace_that_forbids_faults_has_none() {
    let mut world = running(2);
    world.observed.faults = vec![drill(&world, "drill", &json!({}))];
    let spec = serde_json::from_value(json!({"forbidFaults": true})).map_err(|_| String::new());
    world.observed.policies = vec![Policy { name: "calm".into(), spec }];
    world.run(2);
    assert!(told(&world, 1).is_empty() && world.status.faults.is_empty());
    world.observed.policies.clear();
    world.run(2);
    assert_eq!(told(&world, 1), ["drill"]);
}
