//! Whole plans, from clusters that rehearsals have left.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use super::*;
use crate::render;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn service(image: &str, release: &Value) -> ShopService {
    serde_json::from_value(json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
        "metadata": {"name": "order", "namespace": "shop", "generation": 1, "uid": "u", "resourceVersion": "1"},
        "spec": {"image": image, "port": 8080, "replicas": 3, "release": release,
                 "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
    }))
    .unwrap()
}

/// What is found once this service has been released.
fn running(wanted: &ShopService) -> Found {
    let mut world = Rehearsal::new(
        subject(wanted),
        shop_crds::ShopServiceStatus::default(),
        observed(&Found::default()),
        now(),
    );
    assert_eq!(world.run(), End::Stable);
    let mut service = wanted.clone();
    service.status = Some(world.status.clone());
    Found {
        service: Some(service),
        revisions: world.observed.revisions.clone(),
        replicas: world.observed.deployments.iter().map(|one| (one.revision, one.replicas)).collect(),
        ..Found::default()
    }
}

fn page(found: &Found, wanted: &ShopService) -> String {
    render::forecast(&forecast(found, wanted, now()))
}

#[test]
fn a_first_release() {
    let text = page(&Found::default(), &service("shop/order:1", &json!({})));
    let expected = "\
shop/order: - -> r1

AT LEAST  PHASE      STEP
+2s       Preparing  create ControllerRevision order-r1
+2s       Preparing  create ServiceAccount order-shop
+2s       Preparing  create Secret order-sidecar-keys
+2s       Preparing  create ConfigMap order-r1-sidecar: active
+2s       Preparing  create Deployment order-r1: 3 pods, active
+2s       Preparing  create PodDisruptionBudget order-r1
+2s       Preparing  create Service order: selects r1
+2s       Preparing  create Service order-pods: selects r1
+2s       Preparing  create Service order-preview: selects r1

End       users are with r1
Writes    12, of the status included
Pods      0 now, 3 at the peak
Duration  at least 2s: settle 2s

ok  budget  every revision gets its own, and no other one selects its pods
";
    assert_eq!(text, expected);
}

#[test]
fn another_image() {
    let found = running(&service("shop/order:1", &json!({})));
    let expected = "\
shop/order: r1 -> r2

AT LEAST  PHASE      STEP
+2s       Preparing  create ControllerRevision order-r2
+2s       Preparing  create ConfigMap order-r2-sidecar: candidate
+2s       Preparing  create Deployment order-r2: 1 pod, candidate
+2s       Preparing  change Service order-preview: selects r2
+2s       Scaling    tell 1 sidecar of r2
+2s       Scaling    change Deployment order-r2: 3 pods, candidate
+2s       Scaling    create PodDisruptionBudget order-r2
+2s       Scaling    tell 2 sidecars of r2
+2s       Shifting   change ConfigMap order-r1-sidecar: active, hands 100% over to r2
+2s       Shifting   tell 3 sidecars of r1
+2s       Shifting   tell 3 sidecars of r1 where r2 is
+2s       Switching  change Service order: selects r2
+2s       Switching  change Service order-pods: selects r2
+2s       Watching   change ConfigMap order-r2-sidecar: active
+2s       Watching   change ConfigMap order-r1-sidecar: retiring, hands 100% over to r2
+2s       Watching   tell 3 sidecars of r2
+2s       Watching   tell 3 sidecars of r1
+2s       Watching   change Deployment order-r2: 3 pods, active
+2s       Watching   change Deployment order-r1: 3 pods, retiring
+42s      Draining   change Deployment order-r1: 0 pods, retiring
+42s      Draining   delete PodDisruptionBudget order-r1

End       users are with r2
Writes    24, of the status included
Pods      3 now, 6 at the peak
Duration  at least 42s: settle 2s, Watching (KeepingOld) 40s

ok  budget  every revision gets its own, and no other one selects its pods
";
    assert_eq!(page(&found, &service("shop/order:2", &json!({}))), expected);
}

#[test]
fn people_are_taken_to_decide() {
    let release = json!({"promote": "manual", "keepOld": "5m"});
    let found = running(&service("shop/order:1", &release));
    let forecast = forecast(&found, &service("shop/order:2", &release), now());
    let waits: Vec<&Step> = forecast.steps.iter().filter(|step| step.kind == Kind::Wait).collect();
    assert_eq!(waits.len(), 1, "{:#?}", forecast.steps);
    let expected = "waits for somebody (AwaitingPromotion): kubectl shop promote order --revision 2 -n shop";
    assert_eq!((waits[0].text.as_str(), waits[0].phase), (expected, Phase::Verifying));
    assert!(forecast.at_least > Span::secs(300), "{}", forecast.at_least);
    assert_eq!((forecast.to, forecast.exit_code), (Some(2), 0));
}

#[test]
fn several_people_are_taken_to_decide() {
    let release = json!({"promote": "manual", "approvals": 3});
    let found = running(&service("shop/order:1", &release));
    let forecast = forecast(&found, &service("shop/order:2", &release), now());
    assert_eq!(
        forecast.steps.iter().filter(|step| step.kind == Kind::Wait).count(),
        3,
        "{:#?}",
        forecast.steps
    );
    assert_eq!(forecast.to, Some(2));
}

#[test]
fn an_analysis_is_taken_to_pass() {
    let release = json!({"analysis": {"successRate": {"min": "99%"}, "duration": "60s"}});
    let found = running(&service("shop/order:1", &release));
    let forecast = forecast(&found, &service("shop/order:2", &release), now());
    assert_eq!((forecast.to, forecast.exit_code), (Some(2), 0), "{forecast:#?}");
    assert!(forecast.at_least >= Span::secs(90), "{}", forecast.at_least);
}

#[test]
fn the_same_again_is_nothing() {
    let found = running(&service("shop/order:1", &json!({})));
    let forecast = forecast(&found, &service("shop/order:1", &json!({})), now());
    assert_eq!((forecast.steps.len(), forecast.api_writes, forecast.at_least), (0, 1, Span::secs(0)));
    assert_eq!(forecast.ends, "users stay with r1: no release");
}

#[test]
fn replicas_change_without_a_release() {
    let found = running(&service("shop/order:1", &json!({})));
    let mut wanted = service("shop/order:1", &json!({}));
    wanted.spec.replicas = 5;
    let forecast = forecast(&found, &wanted, now());
    assert_eq!(forecast.pods, Pods { now: 3, peak: 5 });
    assert_eq!(forecast.steps[0].text, "change Deployment order-r1: 5 pods, active");
}

#[test]
fn what_is_missing_stops_it() {
    let found = Found::default();
    let mut wanted = service("shop/order:1", &json!({}));
    wanted.spec.config =
        serde_json::from_value(json!([{"configMap": "settings", "mountPath": "/etc/order"}])).unwrap();
    let state = SourceState::Missing;
    let source = Source { kind: shop_release::SourceKind::ConfigMap, name: "settings".into(), state };
    let forecast = forecast(&Found { sources_after: vec![source], ..found }, &wanted, now());
    assert!(forecast.ends.starts_with("it stops, because it waits for ConfigMissing"), "{}", forecast.ends);
    assert_eq!(forecast.result, Exit::Error);
}

#[test]
fn a_freeze_window_is_where_it_stops() {
    let policy = |start: &str| Policy {
        name: "calendar".to_owned(),
        spec: Ok(serde_json::from_value(json!({"freeze": [
            {"name": "sale", "start": start, "duration": "1d", "timeZone": "UTC"},
        ]}))
        .unwrap()),
    };
    for (start, frozen) in [("2026-01-02T00:00:00", true), ("2026-01-03T04:00:00", false)] {
        let mut found = running(&service("shop/order:1", &json!({})));
        found.policies = vec![policy(start)];
        let forecast = forecast(&found, &service("shop/order:2", &json!({})), now());
        assert_eq!(forecast.ends.contains("waits for Frozen"), frozen, "{}", forecast.ends);
        assert_eq!(forecast.result == Exit::Error, frozen, "{}", forecast.ends);
    }
}

#[test]
fn quotas_are_held_against_the_peak() {
    let quota = |hard: &[(&str, &str)]| -> ResourceQuota {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), Quantity((*value).to_owned()))).collect()
        };
        let mut quota: ResourceQuota =
            serde_json::from_value(json!({"metadata": {"name": "team"}, "spec": {}, "status": {}})).unwrap();
        quota.spec.as_mut().unwrap().hard = Some(of(hard));
        quota.status.as_mut().unwrap().used = Some(of(&[("pods", "3"), ("requests.cpu", "375m")]));
        quota
    };
    for (pods, cpu, level, says) in [
        ("6", "1", Level::Ok, "pods: 3 of 6 used, 3 more at the peak"),
        ("5", "1", Level::Fail, "pods: 3 of 5 used, 3 more at the peak"),
        ("6", "500m", Level::Fail, "requests.cpu: 375m of 500m used, 375m more at the peak"),
    ] {
        let mut found = running(&service("shop/order:1", &json!({})));
        found.quotas = vec![quota(&[("pods", pods), ("requests.cpu", cpu)])];
        let forecast = forecast(&found, &service("shop/order:2", &json!({})), now());
        let check = forecast.checks.iter().find(|check| check.message == says);
        assert_eq!(check.map(|check| check.level), Some(level), "{:#?}", forecast.checks);
        assert_eq!(forecast.result == Exit::Done, level == Level::Ok);
    }
}

#[test]
fn a_second_budget_on_the_pods_fails() {
    let budget = |labels: Value| -> PodDisruptionBudget {
        serde_json::from_value(
            json!({"metadata": {"name": "mine"}, "spec": {"selector": {"matchLabels": labels}}}),
        )
        .unwrap()
    };
    for (labels, level) in [
        (json!({"shopkeeper.dev/service": "order"}), Level::Fail),
        (json!({"shopkeeper.dev/service": "cart"}), Level::Ok),
        (json!({"app": "order"}), Level::Ok),
    ] {
        let checks = limits::budgets(&[budget(labels)], "order", 3);
        assert_eq!(checks[0].level, level, "{checks:?}");
    }
    assert_eq!(limits::budgets(&[], "order", 1)[0].level, Level::Warn);
}

#[test]
fn the_first_release_of_what_was_adopted() {
    let mut wanted =
        service("shop/order:1", &json!({"strategy": "canary", "canary": {"steps": [{"weight": "5%"}]}}));
    wanted.spec.adopt = Some(shop_crds::service::Adopt { deployment: "plain".into() });
    let text = page(&Found::default(), &wanted);
    assert!(text.contains("becomes revision 0 as it stands"), "{text}");
    let inputs = shop_release::Inputs::resolve(&wanted.spec, &Observed::default()).unwrap();
    let mut facts = inputs.facts("order", 0);
    let target_port = serde_json::from_value(json!(8080)).unwrap();
    let selector = BTreeMap::from([("app".to_owned(), "order".to_owned())]);
    facts.adopted = Some(shop_release::Adopted { deployment: "plain".into(), selector, target_port });
    let stored = StoredRevision {
        number: 0,
        uid: "r".into(),
        resource_version: "1".into(),
        created: now(),
        facts,
        restarts: Vec::new(),
    };
    let revision = json!({
        "number": 0, "hash": inputs.hash(), "image": "shop/order:1", "colour": "blue",
        "created": "2026-01-02T03:04:05.000000Z", "proven": true,
    });
    let label = json!({"revision": 0, "label": "r0 blue"});
    let mut live = wanted.clone();
    live.status = serde_json::from_value(json!({
        "phase": "Stable", "active": label, "stable": label, "revisions": [revision],
        "lastRevision": 0, "roleEpoch": 1, "leaderEpoch": 1,
    }))
    .unwrap();
    let replicas = BTreeMap::from([(0, 3)]);
    let found = Found { service: Some(live), revisions: vec![stored], replicas, ..Found::default() };
    wanted.spec.image = "shop/order:2".into();
    let text = page(&found, &wanted);
    assert!(text.contains("r0 -> r1") && text.contains("create Secret order-sidecar-keys"), "{text}");
    assert!(text.contains("Service order: selects r1") && !text.contains("hands"), "{text}");
}
