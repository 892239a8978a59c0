//! Adopted Deployments: revision 0 as it stands, the first release, and the ways back.

use std::collections::BTreeMap;

use shop_crds::{
    Reason, Verb,
    service::{Adopt, release::Strategy},
    status::Phase,
};
use shop_release::{ServiceKind, StrangeDeployment, StrangePort, StrangeService, Strangers};

use crate::world::{World, spec};

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "order".to_owned())])
}

fn strangers(replicas: i32) -> Strangers {
    let deployment = StrangeDeployment {
        uid: "uid-plain".into(),
        resource_version: "7".into(),
        replicas,
        labels: labels(),
        images: vec!["good-0".into()],
        ..StrangeDeployment::default()
    };
    let target = serde_json::from_str("8080").unwrap();
    let port = StrangePort { name: "http".into(), port: 80, target, protocol: "TCP".into() };
    let service = StrangeService {
        uid: "uid-users".into(),
        resource_version: "8".into(),
        owner: None,
        leaving: false,
        kind: "ClusterIP".into(),
        headless: false,
        selector: labels(),
        ports: vec![port],
        unkept: Vec::new(),
    };
    Strangers { deployment: Some(deployment), service: Some(service) }
}

/// A ShopService for a Deployment that serves already.
fn plain(image: &str) -> World {
    let mut world = World::new(spec(image, 3));
    world.observed.strangers = Some(strangers(3));
    world.apply(|spec| spec.adopt = Some(Adopt { deployment: "order".into() }));
    world
}

fn adopted() -> World {
    let mut world = plain("good-0");
    world.run(20);
    assert!(world.stable() && world.active() == 0, "{}", world.describe());
    world
}

fn users(world: &World) -> Option<i64> {
    world.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects)
}

fn pods_of(world: &World, revision: i64) -> Vec<String> {
    world.observed.pods.iter().filter(|pod| pod.revision == revision).map(|pod| pod.uid.clone()).collect()
}

#[test]
fn adoption_changes_nothing_but_metadata_and_comes_to_rest() {
    let world = adopted();
    assert_eq!((pods_of(&world, 0).len(), world.status.last_revision, world.blocked()), (3, 0, None));
    assert_eq!(world.status.ready.as_deref(), Some("3/3"));
    assert_eq!(world.status.selector.as_deref(), Some("app=order"));
    let written: Vec<&String> = world.written.iter().filter(|what| !what.starts_with("status")).collect();
    // Beside it there are only the other two Services.
    let expected = [
        "ControllerRevision order-r0",
        "Deployment order-r0",
        "Service order",
        "Service order-pods",
        "Service order-preview",
    ];
    assert_eq!(written, expected, "{:?}", world.written);
    assert!(world.observed.configs.is_empty() && world.observed.budgets.is_empty());
}

#[test]
fn the_first_release_moves_users_by_the_service_alone_whatever_the_strategy() {
    for canary in [false, true] {
        let mut world = adopted();
        let before = pods_of(&world, 0);
        if canary {
            let steps = serde_json::json!({"steps": [{"weight": "5%"}, {"pause": "manual"}], "mirror": {"share": "10%"}});
            world.release(|release| {
                release.strategy = Strategy::Canary;
                release.canary = Some(serde_json::from_value(steps).unwrap());
            });
        }
        world.image("good-1");
        world.run_until(60, |world| world.active() == 1);
        assert_eq!((users(&world), pods_of(&world, 0)), (Some(1), before));
        assert!(world.observed.configs.iter().all(|one| {
            one.revision == 1 && one.document.as_ref().is_some_and(|document| document.hand_off.is_none())
        }));
        assert!(world.events.iter().any(|event| event.message.contains("without canary steps")));
        let switched = world.now;
        world.run_until(120, World::stable);
        // Watched for 10 s, warm for 5 s.
        assert!(world.now.duration_since(switched).as_secs() >= 15);
        world.run(5);
        assert!(pods_of(&world, 0).is_empty());
        world.image("good-2");
        if canary {
            world.run_until(60, |world| world.blocked() == Some(Reason::AwaitingPromotion));
            let document =
                world.observed.configs.iter().find(|one| one.revision == 1).unwrap().document.clone();
            assert_eq!(document.unwrap().hand_off.unwrap().share, 500);
            continue;
        }
        world.run_until(120, |world| world.stable() && world.active() == 2);
        world.operate();
        assert!(!world.operate().changed);
    }
}

#[test]
fn another_image_in_the_spec_is_released_at_once() {
    let mut world = plain("good-1");
    world.run_until(120, |world| world.stable() && world.active() == 1);
    assert_eq!(world.status.revisions[0].image, "good-0");
}

#[test]
fn a_first_release_that_fails_leaves_users_where_they_are() {
    let mut world = adopted();
    let before = pods_of(&world, 0);
    world.image("crash-1");
    world.run_until(120, |world| world.stable() && world.blocked() == Some(Reason::NotTriedAgain));
    assert_eq!((users(&world), pods_of(&world, 0)), (Some(0), before));
}

#[test]
fn users_go_back_to_revision_0_while_it_is_warm_and_after() {
    let mut world = adopted();
    world.image("good-1");
    world.run_until(60, |world| world.active() == 1);
    let began = world.now;
    world.decide(Verb::Rollback, 1);
    world.run_until(2, |world| users(world) == Some(0));
    assert!(world.now.duration_since(began).as_millis() <= 1000);
    world.run_until(120, World::stable);
    assert_eq!(world.active(), 0);
    let mut world = adopted();
    world.image("good-1");
    world.run_until(120, |world| world.stable() && world.active() == 1);
    world.run(10);
    world.decide_by("", Verb::Rollback, 1, |spec| spec.to = Some(0));
    world.run_until(60, |world| users(world) == Some(0));
    world.run_until(180, World::stable);
    assert_eq!((world.active(), pods_of(&world, 0).len()), (0, 3));
}

#[test]
fn revision_0_is_removed_past_the_history_and_not_adopted_again() {
    let mut world = adopted();
    world.release(|release| {
        release.history_limit = Some(1);
        release.rollback_window = Some(1);
    });
    for revision in 1..=3 {
        world.image(&format!("good-{revision}"));
        world.run_until(180, |world| world.stable() && world.active() == revision);
    }
    world.run(10);
    assert!(world.observed.deployments.iter().all(|one| one.revision > 0), "{}", world.describe());
    assert!(world.observed.revisions.iter().all(|one| one.number > 0));
    assert!(!world.operate().changed);
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_change() {
    let refused = |change: &dyn Fn(&mut Strangers), says: &str| {
        let mut world = plain("good-0");
        let mut found = strangers(3);
        change(&mut found);
        world.observed.strangers = Some(found);
        world.run(6);
        assert_eq!(world.blocked(), Some(Reason::AdoptionRefused), "{}", world.describe());
        let message = world.status.message.clone().unwrap();
        assert!(message.contains(says), "{message}");
        assert!(world.written.iter().all(|what| what.starts_with("status")), "{:?}", world.written);
        world.observed.strangers = Some(strangers(3));
        world.run_until(20, |world| world.stable() && world.active() == 0 && users(world) == Some(0));
    };
    let service =
        |found: &mut Strangers, change: &dyn Fn(&mut StrangeService)| change(found.service.as_mut().unwrap());
    refused(&|found| found.deployment = None, "there is no Deployment order");
    refused(&|found| found.service = None, "there is no Service order");
    refused(
        &|found| found.deployment.as_mut().unwrap().owner = Some("Rollout order".into()),
        "belongs to Rollout order",
    );
    refused(&|found| found.deployment.as_mut().unwrap().replicas = 5, "write spec.replicas: 5");
    refused(&|found| found.deployment.as_mut().unwrap().labels.clear(), "does not select the pods");
    refused(&|found| service(found, &|one| one.headless = true), "has no address");
    refused(
        &|found| service(found, &|one| one.kind = "NodePort".into()),
        "write spec.service.type: NodePort",
    );
    refused(&|found| service(found, &|one| one.ports[0].port = 8080), "write spec.service.port: 8080");
    refused(
        &|found| service(found, &|one| one.ports[0].name = String::new()),
        "write spec.service.portName: \"\"",
    );
    refused(&|found| service(found, &|one| one.ports.clear()), "has 0 ports");
    refused(
        &|found| service(found, &|one| one.unkept = vec!["sessionAffinity".into()]),
        "has spec.sessionAffinity",
    );
}

#[test]
fn pods_that_the_adopted_service_would_select_are_not_made() {
    let mut world = adopted();
    world.apply(|spec| {
        spec.pod = Some(
            serde_json::from_value(serde_json::json!({"metadata": {"labels": {"app": "order"}}})).unwrap(),
        );
    });
    world.run(10);
    assert_eq!((world.blocked(), world.status.last_revision), (Some(Reason::InvalidSpec), 0));
}

#[test]
fn a_crash_or_a_lost_status_at_any_moment_changes_no_outcome() {
    for crash in 0..6 {
        let mut world = plain("good-0");
        world.operate_with(0, Some(crash), None);
        world.restart();
        world.run(20);
        assert_eq!(
            (world.stable(), world.active(), users(&world)),
            (true, 0, Some(0)),
            "{}",
            world.describe()
        );
        assert_eq!(pods_of(&world, 0).len(), 3);
        world.status = shop_crds::ShopServiceStatus::default();
        world.image("good-1");
        world.run_until(120, |world| world.stable() && world.active() == 1);
    }
    for crash in 0..6 {
        let mut world = plain("good-0");
        world.operate_with(0, Some(crash), None);
        world.status = shop_crds::ShopServiceStatus::default();
        world.run(20);
        assert_eq!((world.active(), users(&world)), (0, Some(0)), "{crash}: {}", world.describe());
    }
}

#[test]
fn nothing_is_begun_before_the_strangers_were_looked_at() {
    let mut world = plain("good-0");
    world.observed.strangers = None;
    world.run(20);
    assert_eq!((world.status.last_revision, world.phase()), (0, Phase::Stable));
    assert!(world.observed.deployments.is_empty());
}

#[test]
fn what_users_have_is_given_back_and_nothing_is_written_afterwards() {
    let mut world = adopted();
    world.apply(|spec| spec.eject = Some(true));
    world.run(5);
    assert_eq!(world.ejected, ["order-r0", "order-pods", "order"]);
    assert_eq!(world.blocked(), Some(Reason::Ejected));
    let mut world = crate::twice();
    world.apply(|spec| {
        spec.eject = Some(true);
        spec.image = "good-3".into();
    });
    world.run(30);
    let expected = [
        "order-r2-sidecar",
        "order-sidecar-keys",
        "order-shop",
        "order-r2",
        "order-r2",
        "order-pods",
        "order",
    ];
    assert_eq!(world.ejected, expected);
    assert_eq!((world.blocked(), world.status.last_revision), (Some(Reason::Ejected), 2));
    assert!(!world.operate().changed);
}

#[test]
fn a_crash_in_the_middle_of_giving_back_is_made_good() {
    for crash in 0..8 {
        let mut world = crate::twice();
        world.apply(|spec| spec.eject = Some(true));
        world.operate_with(0, Some(crash), None);
        world.restart();
        world.run(5);
        assert_eq!((world.ejected.len(), world.blocked()), (7, Some(Reason::Ejected)), "{:?}", world.ejected);
    }
}

#[test]
fn a_release_that_runs_ends_before_anything_is_given_back() {
    let mut world = crate::switched();
    world.apply(|spec| spec.eject = Some(true));
    world.run_until(120, |world| world.blocked() == Some(Reason::Ejected));
    assert!(world.ejected.contains(&"order-r2".to_owned()) && world.stable());
}
