//! Drift, foreign objects, refused writes, lost status, other leaders.

use shop_crds::{Reason, ShopServiceStatus, Verb, status::Phase};
use shop_release::{ObjectKind, ObjectRef, Refusal, ServiceKind};

use crate::{
    running, switched, twice,
    world::{World, spec},
};

#[test]
fn drift_is_put_back_and_never_read_as_intent() {
    let mut world = twice();
    let version = world.bump();
    let service = world.observed.services.get_mut(&ServiceKind::Users).unwrap();
    (service.selects, service.drifted, service.resource_version) = (Some(1), true, version);
    let version = world.bump();
    let deployment = world.observed.deployments.iter_mut().find(|one| one.revision == 2).unwrap();
    (deployment.replicas, deployment.drifted, deployment.resource_version) = (0, true, version);
    world.run(10);
    assert_eq!(world.observed.services[&ServiceKind::Users].selects, Some(2));
    assert_eq!(world.observed.deployments.iter().find(|one| one.revision == 2).unwrap().replicas, 3);
    assert_eq!(world.events.iter().filter(|event| event.reason == Reason::DriftReverted).count(), 2);
    assert!(world.stable());
}

#[test]
fn a_taken_name_is_never_touched() {
    let mut world = World::new(spec("good-1", 1));
    world.observed.taken = vec![ObjectRef::new(ObjectKind::Service, "order")];
    world.run(20);
    assert_eq!(world.blocked(), Some(Reason::NameTaken));
    assert!(!world.written.contains(&"Service order".to_owned()));
    world.observed.taken.clear();
    world.bump();
    world.run_until(30, World::stable);
}

#[test]
fn a_refused_candidate_is_aborted() {
    let mut world = running(1);
    world.image("good-2");
    let object = ObjectRef::new(ObjectKind::Deployment, "order-r2");
    let at = world.now;
    world.observed.refused = vec![Refusal { object, at, message: "invalid".into() }];
    world.run_until(30, |world| world.stable() && world.status.last_revision == 2);
    world.observed.refused.clear();
    world.bump();
    world.run(1);
    assert_eq!((world.active(), world.blocked()), (1, Some(Reason::NotTriedAgain)));
}

#[test]
fn another_image_under_the_same_tag_does_not_count() {
    let mut world = running(2);
    let uid = world.observed.pods[1].uid.clone();
    world.sick.insert(uid);
    world.status.revisions[0].digest = Some("sha256:before".into());
    world.run(3);
    assert_eq!(world.blocked(), Some(Reason::ImageChanged));
    assert_eq!(world.status.ready.as_deref(), Some("0/2"));
}

#[test]
fn a_lost_status_is_rebuilt_when_the_cluster_agrees() {
    let mut world = twice();
    let before = world.status.clone();
    world.status = ShopServiceStatus::default();
    world.subject.resource_version = world.bump();
    world.run(10);
    assert!(world.stable());
    assert_eq!((world.active(), world.status.last_revision), (2, 2));
    assert!(world.status.role_epoch >= before.role_epoch);
    assert_eq!(world.status.revisions[1].colour, before.revisions[1].colour);
    assert!(world.events.iter().any(|event| event.reason == Reason::StateRebuilt));
}

#[test]
fn a_status_lost_after_the_switch_goes_on_with_the_watch() {
    let mut world = switched();
    world.run(1);
    world.status = ShopServiceStatus::default();
    world.subject.resource_version = world.bump();
    world.run(1);
    assert_eq!((world.phase(), world.active()), (Phase::Watching, 2));
    world.decide(Verb::Rollback, 2);
    world.run_until(90, |world| world.stable() && world.active() == 1);
}

#[test]
fn a_lost_status_with_a_cluster_that_disagrees_moves_nothing() {
    let mut world = twice();
    world.status = ShopServiceStatus::default();
    world.subject.resource_version = world.bump();
    world.observed.services.remove(&ServiceKind::Users);
    world.bump();
    world.written.clear();
    world.run(20);
    assert_eq!(world.blocked(), Some(Reason::StateUnknown));
    assert_eq!(world.written, ["status Stable"]);
}

#[test]
fn a_new_leader_stamps_a_release_before_it_acts_and_an_old_one_stops() {
    let mut world = running(2);
    world.manual();
    world.image("good-2");
    world.run_until(30, |world| world.blocked() == Some(Reason::AwaitingPromotion));
    let old = world.subject.leader_epoch;
    world.restart();
    world.written.clear();
    world.run(1);
    assert!(world.observed.services.values().all(|service| service.leader_epoch == old + 1));
    assert!(world.observed.deployments.iter().all(|deployment| deployment.leader_epoch == old + 1));
    assert_eq!(world.status.leader_epoch, old + 1);
    world.subject.leader_epoch = old;
    world.decide(Verb::Promote, 2);
    world.written.clear();
    world.run(5);
    assert!(world.written.is_empty(), "a leader that was replaced does nothing: {:?}", world.written);
}
