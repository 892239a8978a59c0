//! Whether services call what they depend on: pure, from what their sidecars have counted.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Deserialize;
use shop_contract::url_variable;
use shop_crds::{ShopService, names};

/// Pods that are asked: more tell nothing else.
pub const MOST: usize = 10;

/// What one sidecar has counted of calls out: a part of its statistics.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Told {
    /// By dependency.
    #[serde(default)]
    pub dependencies: Vec<shop_contract::DependencyCalls>,
}

/// The pods to ask about a service: running ones of the active revision.
pub fn pods_to_ask(service: &ShopService, pods: &[Pod]) -> Vec<String> {
    let active = service.status.as_ref().and_then(|status| status.active.as_ref());
    let Some(revision) = active.map(|active| active.revision.to_string()) else { return Vec::new() };
    let runs = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let labelled =
        |pod: &Pod, label: &str, value: &str| pod.labels().get(label).is_some_and(|found| found == value);
    let own = |pod: &&Pod| {
        labelled(pod, names::LABEL_SERVICE, &service.name_any())
            && labelled(pod, names::LABEL_REVISION, &revision)
    };
    pods.iter().filter(own).filter(runs).take(MOST).map(ResourceExt::name_any).collect()
}

/// Dependencies that none of the pods has called, each as a sentence that says what to look at.
pub fn silent(told: &[Told]) -> Vec<String> {
    let mut names: Vec<&str> =
        told.iter().flat_map(|one| &one.dependencies).map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let calls = |name: &str| -> u64 {
        told.iter()
            .flat_map(|one| &one.dependencies)
            .filter(|one| one.name == name)
            .map(|one| one.calls)
            .sum()
    };
    let silent = names.into_iter().filter(|name| calls(name) == 0);
    silent
        .map(|name| {
            format!(
                "{name}: no call of it has been seen since the pods began; let the container use HTTP_PROXY or {}, or take {name} \
                 out of dependsOn",
                url_variable(name)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_silent_when_no_pod_has_called_it() {
        let told = |inventory: u64| -> Told {
            serde_json::from_value(serde_json::json!({"revision": 7, "dependencies": [
                {"name": "inventory", "calls": inventory, "failures": 0}, {"name": "payment", "calls": 0, "failures": 0},
            ]}))
            .unwrap()
        };
        let found = silent(&[told(0), told(3)]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("payment: no call of it has been seen")
                && found[0].contains("SHOP_PAYMENT_URL")
        );
        assert_eq!(silent(&[told(0)]).len(), 2);
        assert_eq!(silent(&[Told::default()]), [""; 0]);
    }
}
