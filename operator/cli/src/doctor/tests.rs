//! Installations, whole and not.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn deployment(ready: i32) -> Deployment {
    of(json!({
        "metadata": {"name": "shopkeeper", "namespace": "shopkeeper"},
        "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [
            {"name": "operator", "env": [{"name": "SHOP_SIDECAR_IMAGE", "value": "sidecar:2"}]},
        ]}}},
        "status": {"readyReplicas": ready},
    }))
}

fn pod(image: &str) -> Pod {
    of(json!({
        "metadata": {"name": "a", "labels": {"shopkeeper.dev/service": "order"}},
        "spec": {"containers": [], "initContainers": [{"name": "shop-sidecar", "image": image}]},
    }))
}

#[test]
fn the_operator_runs_once_and_is_ready() {
    for (found, level, says) in [
        (vec![deployment(2)], Level::Ok, "2/2 pods ready"),
        (vec![deployment(1)], Level::Warn, "1/2 pods ready"),
        (vec![deployment(0)], Level::Fail, "0/2 pods ready"),
        (vec![], Level::Fail, "no operator runs"),
        (vec![deployment(2), deployment(2)], Level::Fail, "there are 2 operators"),
    ] {
        let finding = operator(&found);
        assert_eq!((finding.level, finding.remedy.is_none()), (level, level == Level::Ok), "{finding:?}");
        assert!(finding.message.contains(says), "{finding:?}");
    }
}

#[test]
fn definitions_are_those_of_this_program() {
    let name = "shopservices.shopkeeper.dev";
    let own = definition::definitions().remove(0);
    let level = |value: Value| definition_of(name, Some(&of(value))).level;
    assert_eq!(level(own.clone()), Level::Ok);
    assert_eq!(definition_of(name, None).level, Level::Fail);
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut older = own.clone();
    older.pointer_mut(fields).unwrap().as_object_mut().unwrap().remove("probes");
    let finding = definition_of(name, Some(&of(older)));
    assert!(finding.message.contains("older than this program: without spec.probes"), "{finding:?}");
    let mut newer = own.clone();
    newer.pointer_mut(fields).unwrap()["magic"] = json!({"type": "string"});
    let finding = definition_of(name, Some(&of(newer)));
    assert!(finding.message.contains("newer than this program: spec.magic"), "{finding:?}");
    let mut other = own;
    other["spec"]["versions"][0]["name"] = json!("v2");
    assert_eq!(level(other), Level::Fail);
}

#[test]
fn policies_are_those_of_the_chart_and_must_be_bound() {
    let chart = include_str!("../../../../charts/shopkeeper/templates/policies.yaml");
    let named: Vec<&str> = chart
        .split("\n---\n")
        .filter(|document| document.contains("kind: ValidatingAdmissionPolicy\n"))
        .filter_map(|document| document.split("  name: ").nth(1)?.lines().next())
        .collect();
    assert_eq!(named, POLICIES);
    let policy_object: ValidatingAdmissionPolicy = of(json!({"metadata": {"name": "p"}}));
    let binding = |action: &str| -> ValidatingAdmissionPolicyBinding {
        of(json!({"metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": [action]}}))
    };
    for (object, bound, level) in [
        (Some(&policy_object), Some(binding("Deny")), Level::Ok),
        (Some(&policy_object), Some(binding("Warn")), Level::Warn),
        (Some(&policy_object), None, Level::Warn),
        (None, None, Level::Warn),
    ] {
        assert_eq!(policy("p", object, bound.as_ref()).level, level, "{bound:?}");
    }
}

#[test]
fn a_leader_renews_its_lease() {
    let at = "2026-01-02T03:04:05.000000Z";
    let held: Lease =
        of(json!({"spec": {"holderIdentity": "a", "renewTime": at, "leaseDurationSeconds": 10}}));
    let after = |seconds| at.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds);
    assert_eq!(lease(Some(&held), after(4)).level, Level::Ok);
    assert_eq!(lease(Some(&held), after(11)).level, Level::Fail);
    assert_eq!(lease(None, after(0)).level, Level::Fail);
}

#[test]
fn sidecars_of_another_image_are_counted() {
    assert_eq!(sidecars(&[deployment(2)], &[pod("sidecar:2")], "shop").level, Level::Ok);
    let finding = sidecars(&[deployment(2)], &[pod("sidecar:2"), pod("sidecar:1"), pod("sidecar:1")], "shop");
    assert!(
        finding.message.starts_with("2 of 3 pods have another image than sidecar:2: order"),
        "{finding:?}"
    );
    assert_eq!(sidecars(&[], &[pod("sidecar:2")], "shop").level, Level::Warn);
}

#[test]
fn services_that_wait_for_somebody_are_named() {
    let service = |reason: Option<&str>| -> ShopService {
        let mut status = json!({"phase": "Stable", "observedGeneration": 1});
        if let Some(reason) = reason {
            status["blocked"] = json!({
                "reason": reason, "message": "no", "since": "2026-01-02T03:04:05.000000Z", "command": "kubectl create configmap x",
            });
        }
        of(json!({
            "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService",
            "metadata": {"name": "order", "namespace": "shop", "generation": 1}, "spec": {"image": "a", "port": 1}, "status": status,
        }))
    };
    assert_eq!(services(&[service(None)])[0].level, Level::Ok);
    let found = services(&[service(None), service(Some("ConfigMissing"))]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].remedy.as_deref(), Some("kubectl create configmap x"));
    assert_eq!(services(&[service(Some("WaitingForPods"))])[0].level, Level::Ok);
}

#[test]
fn every_verb_that_decides_has_a_right_and_a_role() {
    for verb in Verb::ALL {
        let (wanted, used_for, role) =
            rights().into_iter().find(|(right, ..)| right.verb == verb.as_str()).unwrap();
        let finding = right(wanted, used_for, role, false, "shop");
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.remedy.unwrap().contains("--clusterrole=shop-promoter"), "{verb:?}");
    }
    let (first, used_for, role) = rights()[0];
    assert_eq!(right(first, used_for, role, false, "shop").level, Level::Fail);
    assert_eq!(right(first, used_for, role, true, "shop").level, Level::Ok);
}

#[test]
fn one_failure_is_the_exit_code() {
    let warned = Report::of(vec![Finding::unseen("operator", &"forbidden")]);
    assert_eq!((warned.result, warned.exit_code), (Exit::Done, 0));
    let failed = Report::of(vec![Finding::ok("a", "b"), operator(&[])]);
    assert_eq!((failed.result, failed.exit_code), (Exit::Error, 1));
}

#[test]
fn an_autoscaler_of_an_adopted_deployment_is_told() {
    let service = |revision: i64| -> ShopService {
        of(json!({
            "metadata": {"name": "order"},
            "spec": {"image": "a", "port": 80, "adopt": {"deployment": "web"}},
            "status": {"active": {"revision": revision, "label": "r"}, "lastRevision": 0, "roleEpoch": 1, "leaderEpoch": 1},
        }))
    };
    let scaler: HorizontalPodAutoscaler = of(json!({
        "metadata": {"name": "web"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    }));
    let found = autoscalers(&[service(0)], std::slice::from_ref(&scaler));
    assert_eq!((found.len(), found[0].level), (1, Level::Fail));
    assert!(autoscalers(&[service(1)], &[scaler]).is_empty());
}
