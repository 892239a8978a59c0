//! Whatever list of writes comes in, what is left of it harms nobody.

use jiff::Timestamp;
use proptest::prelude::*;
use shop_crds::{
    ShopServiceStatus,
    status::{Colour, RevisionRef},
};

use super::*;
use crate::{
    Deployment, Observed, Pod, Precondition, Role, Service, SidecarView, Subject,
    document::{HandOff, SidecarDocument},
    write::ObjectRef,
};

fn subject() -> Subject {
    Subject {
        namespace: "shop".into(),
        name: "order".into(),
        uid: "u".into(),
        generation: 1,
        resource_version: "1".into(),
        deleting: false,
        spec: serde_json::from_str(r#"{"image": "a:1", "port": 8080, "replicas": 3}"#).unwrap(),
        leader_epoch: 1,
    }
}

fn pods(revision: i64, ready: usize) -> Vec<Pod> {
    let pod = |at: usize| Pod {
        name: format!("order-r{revision}-{at}"),
        uid: format!("{revision}-{at}"),
        revision,
        restart: 0,
        ip: None,
        ready: true,
        terminating: false,
        rejected: None,
        unschedulable: None,
        containers: Vec::new(),
        image_id: None,
        sidecar: SidecarView::default(),
    };
    (0..ready).map(pod).collect()
}

/// Revision 1 has the users, with all pods ready; revision 2 has so many ready pods.
fn observed(ready: usize) -> Observed {
    let deployment = |revision| Deployment {
        revision,
        uid: "d".into(),
        resource_version: "1".into(),
        leader_epoch: 1,
        replicas: 3,
        role: None,
        colour: None,
        restart: 0,
        recreate: false,
        drifted: false,
        failure: None,
    };
    let service = Service {
        uid: "s".into(),
        resource_version: "1".into(),
        leader_epoch: 1,
        selects: Some(1),
        drifted: false,
        outdated: false,
    };
    Observed {
        deployments: vec![deployment(1), deployment(2)],
        pods: [pods(1, 3), pods(2, ready)].concat(),
        services: ServiceKind::ALL.into_iter().map(|kind| (kind, service.clone())).collect(),
        ..Observed::default()
    }
}

fn version() -> Precondition {
    Precondition::version("x", "1")
}

fn service(service: ServiceKind, selects: i64) -> Write {
    Write::WriteService { service, selects, replaces: Some(version()) }
}

fn scale(revision: i64, replicas: i32) -> Write {
    let (role, colour) = (Role::Retiring, Colour::Blue);
    Write::WriteDeployment {
        revision,
        restart: 0,
        recreate: false,
        replicas,
        role,
        colour,
        replaces: Some(version()),
    }
}

fn hand(revision: i64, to: Option<i64>) -> Write {
    let hand_off = to.map(|to_revision| HandOff::of(10_000, to_revision, ServiceKind::Preview, true));
    let document = SidecarDocument {
        revision,
        role: Role::Active,
        colour: Colour::Blue,
        role_epoch: 1,
        port: 8080,
        protocol: shop_crds::service::Protocol::Http,
        readiness_path: None,
        readiness_timeout_ms: 5000,
        max_connections: 10,
        trusted_hops: Vec::new(),
        drain_max_ms: 1000,
        hand_off,
        mirror: None,
        limits: None,
        depends_on: Vec::new(),
        telemetry: crate::Telemetry::default(),
        jwt: None,
        mtls: None,
        peers: std::collections::BTreeMap::new(),
        faults: Vec::new(),
    };
    Write::WriteConfig { document: Box::new(document), generation: 1, replaces: Some(version()) }
}

fn delete(kind: ObjectKind, name: &str) -> Write {
    Write::Delete { object: ObjectRef::new(kind, name), precondition: version() }
}

fn kept(ready: usize, writes: Vec<Write>) -> usize {
    let (subject, observed) = (subject(), observed(ready));
    let view = View::new(&subject, &observed, Timestamp::UNIX_EPOCH);
    let active = Some(RevisionRef { revision: 1, label: "r1 blue".into() });
    let mut draft = Draft::new(ShopServiceStatus { active, ..ShopServiceStatus::default() });
    filter(&view, &mut draft, writes).len()
}

#[test]
fn harmful_writes_and_what_follows_are_withheld() {
    use ServiceKind::{Pods, Preview, Users};
    let all_to_two = || vec![service(Users, 2), service(Pods, 2), service(Preview, 2)];
    for (ready, writes, expected, why) in [
        (3, all_to_two(), 3, "enough pods"),
        (2, all_to_two(), 3, "as many as evictions may leave of the active ones"),
        (1, all_to_two(), 0, "too few pods"),
        (0, vec![service(Preview, 2)], 1, "nobody is behind the preview"),
        (3, vec![scale(2, 0), service(Users, 2)], 1, "its pods are about to go"),
        (3, vec![scale(1, 0)], 0, "selected"),
        (3, vec![scale(1, 5), scale(1, 3)], 2, "the user's wish"),
        (3, vec![scale(2, 0)], 1, "not used"),
        (3, vec![service(Preview, 2), scale(2, 0)], 1, "the preview counts"),
        (3, [all_to_two(), vec![scale(1, 0)]].concat(), 4, "left by everybody"),
        (3, vec![hand(1, Some(2)), scale(2, 0)], 1, "handed to"),
        (3, vec![hand(1, Some(2)), hand(1, None), scale(2, 0)], 3, "not handed to any more"),
        (0, vec![hand(1, Some(2))], 0, "nobody to hand over to"),
        (3, vec![delete(ObjectKind::Service, "order")], 0, "Services stay"),
        (3, vec![delete(ObjectKind::Deployment, "order-r2")], 0, "runs"),
        (3, vec![scale(2, 0), delete(ObjectKind::PodDisruptionBudget, "order-r2")], 2, "empty"),
        (3, vec![delete(ObjectKind::PodDisruptionBudget, "order-r2")], 0, "guards pods"),
        (3, vec![scale(2, 0), delete(ObjectKind::ConfigMap, "order-r2-sidecar")], 1, "pods read it still"),
        (
            0,
            vec![scale(2, 0), delete(ObjectKind::ControllerRevision, "order-r2")],
            2,
            "empty and without pods",
        ),
        (3, vec![delete(ObjectKind::ReleaseDecision, "order-r2")], 1, "a record"),
    ] {
        assert_eq!(kept(ready, writes.clone()), expected, "{why}: {writes:?}");
    }
}

fn some_write() -> impl Strategy<Value = Write> {
    let kind = prop::sample::select(ServiceKind::ALL.to_vec());
    prop_oneof![
        (kind, 1..=2_i64).prop_map(|(kind, selects)| service(kind, selects)),
        (1..=2_i64, 0..=4).prop_map(|(revision, replicas)| scale(revision, replicas)),
        (1..=2_i64, prop::bool::ANY)
            .prop_map(|(revision, hands)| hand(revision, hands.then_some(3 - revision))),
        (1..=2_i64).prop_map(|revision| delete(ObjectKind::Deployment, &format!("order-r{revision}"))),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_used_is_taken_away(ready in 0_usize..=3, writes in prop::collection::vec(some_write(), 0..12)) {
        let (subject, observed) = (subject(), observed(ready));
        let view = View::new(&subject, &observed, Timestamp::UNIX_EPOCH);
        let active = Some(RevisionRef { revision: 1, label: "r1 blue".into() });
        let mut draft = Draft::new(ShopServiceStatus { active, ..ShopServiceStatus::default() });
        let kept = filter(&view, &mut draft, writes.clone());
        let began = kept.iter().zip(&writes).take_while(|(kept, write)| kept == write).count();
        let mut rest = writes[began..].iter();
        let later = kept[began..].iter().all(|kept| Projection::stands_alone(kept) && rest.any(|write| write == kept));
        prop_assert!(later, "a beginning of the list, and then only what stands alone");
        prop_assert_eq!(draft.events.is_empty(), kept.len() == writes.len(), "what is withheld is told");
        let mut after = Projection::new(&view);
        for write in &kept {
            after.apply(write);
            let users = after.selects[&ServiceKind::Users];
            prop_assert!(after.replicas[&users] > 0, "users are with a revision that runs");
            prop_assert!(users == 1 || ready >= 2, "users are with enough pods");
        }
    }
}
