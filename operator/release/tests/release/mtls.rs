//! TLS between sidecars: who is told what, and when.

use jiff::{SignedDuration, Timestamp};
use shop_crds::{Reason, service::auth::MtlsMode};
use shop_release::{Access, Authority, Calls, Mtls, Neighbour, SidecarDocument, Write};

use crate::{
    running,
    world::{World, spec},
};

const ID: &str = "spiffe://cluster.local/ns/shop/svc/order";

fn auth(world: &mut World, auth: &str) {
    world.apply(|spec| spec.auth = Some(serde_json::from_str(auth).unwrap()));
}

fn with_authority(mut world: World) -> World {
    world.observed.trust_domain = "cluster.local".into();
    let since = world.now;
    world.observed.authority = Some(Authority { roots: "one".into(), since, lost: false });
    world
}

fn neighbour(name: &str) -> Neighbour {
    Neighbour { name: name.into(), wants_tls: false, takes_tls: None, calls: None }
}

fn document(world: &World) -> SidecarDocument {
    world.observed.configs.last().unwrap().document.clone().unwrap()
}

fn mode(world: &World) -> Option<MtlsMode> {
    document(world).mtls.map(|mtls| mtls.mode)
}

fn minutes(world: &mut World, minutes: i64) {
    world.now += SignedDuration::from_mins(minutes);
    world.run(2);
}

#[test]
fn a_new_service_is_strict_from_its_first_pod_on() {
    let mut world = World::new(spec("good-1", 2));
    world.observed.trust_domain = "cluster.local".into();
    auth(
        &mut world,
        r#"{"mtls": "strict", "callers": [{"name": "gateway"}, {"name": "a", "namespace": "b"}]}"#,
    );
    world.run(10);
    assert_eq!(world.observed.pods.len(), 0, "nothing starts without a certificate");
    let mut world = with_authority(world);
    world.run_until(60, World::stable);
    let callers = ["spiffe://cluster.local/ns/shop/svc/gateway", "spiffe://cluster.local/ns/b/svc/a"];
    let wanted = Mtls { mode: MtlsMode::Strict, id: ID.into(), callers: callers.map(str::to_owned).to_vec() };
    assert_eq!(document(&world).mtls, Some(wanted));
    let pass = world.operate();
    assert!(!pass.changed);
    let requeue = pass.planned.unwrap().requeue.unwrap().as_secs();
    assert!((21 * 3600..=24 * 3600).contains(&requeue), "comes back for the renewal: {requeue}");
    let access = vec![("b".to_owned(), "a".to_owned()), ("shop".to_owned(), "gateway".to_owned())];
    assert_eq!(world.observed.network_policy.unwrap().access, Some(Access::Callers(access)));
}

#[test]
fn strict_waits_for_the_files_and_for_callers() {
    let mut world = with_authority(running(2));
    auth(&mut world, r#"{"mtls": "strict"}"#);
    world.observed.neighbours = vec![Neighbour { calls: Some(Calls::Plain), ..neighbour("gateway") }];
    world.run(3);
    assert_eq!(mode(&world), Some(MtlsMode::Permissive));
    assert!(world.events.iter().any(|event| event.reason == Reason::CertificateIssued));
    minutes(&mut world, 3);
    assert_eq!(mode(&world), Some(MtlsMode::Permissive), "gateway still calls plainly");
    for (calls, wanted) in [(Calls::Mixed, MtlsMode::Permissive), (Calls::Tls, MtlsMode::Strict)] {
        world.observed.neighbours[0].calls = Some(calls);
        world.run(1);
        assert_eq!(mode(&world), Some(wanted), "{calls:?}");
    }
    assert_eq!(world.status.last_revision, 1, "TLS is no part of a revision");
}

#[test]
fn who_is_not_on_the_list_holds_nothing_up() {
    let mut world = with_authority(running(2));
    auth(&mut world, r#"{"mtls": "permissive", "callers": [{"name": "gateway"}]}"#);
    world.observed.neighbours = vec![
        Neighbour { calls: Some(Calls::Tls), ..neighbour("gateway") },
        Neighbour { calls: Some(Calls::Plain), ..neighbour("stranger") },
    ];
    world.run(3);
    assert_eq!(document(&world).mtls.unwrap().callers, Vec::<String>::new());
    minutes(&mut world, 2);
    assert_eq!(document(&world).mtls.unwrap().callers.len(), 1);
}

#[test]
fn calls_go_by_tls_once_both_sides_have_what_it_takes() {
    let mut world = with_authority(World::new(spec("good-1", 2)));
    world.apply(|spec| spec.depends_on = serde_json::from_str(r#"[{"name": "inventory"}]"#).unwrap());
    world.run_until(60, World::stable);
    assert_eq!(world.observed.certificate, None, "nobody asks for one");
    world.observed.neighbours = vec![Neighbour { wants_tls: true, ..neighbour("inventory") }];
    world.run(2);
    assert!(world.observed.certificate.is_some());
    assert_eq!(document(&world).mtls, None);
    minutes(&mut world, 5);
    world.observed.neighbours[0].takes_tls = Some(world.now);
    world.run(2);
    assert!(document(&world).peers.is_empty(), "its files are on their way");
    minutes(&mut world, 2);
    let peers = document(&world).peers;
    assert_eq!(peers["inventory"], "spiffe://cluster.local/ns/shop/svc/inventory");
    assert_eq!(mode(&world), Some(MtlsMode::Off));
    world.observed.neighbours.clear();
    world.run(5);
    assert_eq!(document(&world).mtls, None);
    assert_eq!(world.observed.certificate, None, "taken away after the document");
}

#[test]
fn tls_is_taken_until_nobody_calls_by_it() {
    let mut world = with_authority(running(2));
    auth(&mut world, r#"{"mtls": "permissive"}"#);
    world.observed.neighbours = vec![Neighbour { calls: Some(Calls::Tls), ..neighbour("gateway") }];
    minutes(&mut world, 3);
    world.apply(|spec| spec.auth = None);
    world.run(3);
    assert_eq!(mode(&world), Some(MtlsMode::Permissive));
    world.observed.neighbours[0].calls = Some(Calls::Plain);
    world.run(3);
    assert_eq!((document(&world).mtls, world.observed.certificate.clone()), (None, None));
}

#[test]
fn certificates_are_renewed_after_a_day() {
    let mut world = with_authority(running(2));
    auth(&mut world, r#"{"mtls": "permissive"}"#);
    world.run(3);
    let first = world.observed.certificate.clone().unwrap();
    minutes(&mut world, 21 * 60);
    assert_eq!(world.observed.certificate.as_ref(), Some(&first));
    minutes(&mut world, 3 * 60);
    let second = world.observed.certificate.clone().unwrap();
    assert_eq!(second.since, first.since);
    assert!(second.issued > first.issued);
    // An operator that was away.
    minutes(&mut world, 47 * 60);
    assert!(world.observed.certificate.unwrap().issued > second.issued);
}

#[test]
fn roots_are_known_everywhere_before_certificates_come_from_them() {
    let mut world = with_authority(running(2));
    auth(&mut world, r#"{"mtls": "permissive"}"#);
    world.run(3);
    minutes(&mut world, 21 * 60 + 50);
    let issued = world.observed.certificate.as_ref().unwrap().issued;
    world.observed.authority = Some(Authority { roots: "two".into(), since: world.now, lost: true });
    minutes(&mut world, 11);
    let found = world.observed.certificate.clone().unwrap();
    assert_eq!((found.roots.as_str(), found.issued), ("two", issued));
    assert_eq!(world.events.iter().filter(|event| event.reason == Reason::AuthorityLost).count(), 1);
    minutes(&mut world, 180);
    assert!(world.observed.certificate.as_ref().unwrap().issued > issued);
    // A certificate that is about to end does not wait.
    world.observed.certificate.as_mut().unwrap().issued = world.now - SignedDuration::from_hours(60);
    world.observed.authority = Some(Authority { roots: "three".into(), since: world.now, lost: true });
    let writes = world.operate().planned.unwrap().writes;
    assert!(writes.contains(&Write::IssueCertificate), "{writes:?}");
}

#[test]
fn services_are_not_renewed_all_at_once() {
    let mut due: Vec<Timestamp> = Vec::new();
    for number in 0..50 {
        let mut world = with_authority(World::new(spec("good-1", 0)));
        world.subject.uid = format!("uid-{number}");
        auth(&mut world, r#"{"mtls": "strict"}"#);
        world.run(3);
        let requeue = world.operate().planned.unwrap().requeue.unwrap();
        due.push(world.now + requeue);
    }
    due.sort();
    let span = due[49].duration_since(due[0]);
    assert!(span > SignedDuration::from_mins(60), "{span:?}");
}

#[test]
fn the_network_policy_comes_and_goes_with_what_it_is_for() {
    let mut world = running(2);
    assert_eq!(world.observed.network_policy, None);
    auth(&mut world, r#"{"jwt": {"issuer": "a", "audience": "b", "jwks": "http://user/keys"}}"#);
    world.run(2);
    assert_eq!(world.observed.network_policy.as_ref().unwrap().access, Some(Access::Everybody));
    world.observed.network_policy.as_mut().unwrap().drifted = true;
    world.run(2);
    assert!(!world.observed.network_policy.as_ref().unwrap().drifted);
    assert!(world.events.iter().any(|event| event.reason == Reason::DriftReverted));
    world.apply(|spec| spec.auth = None);
    world.run(2);
    assert_eq!(world.observed.network_policy, None);
}
