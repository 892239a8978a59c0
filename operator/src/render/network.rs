//! The `NetworkPolicy` of a service's pods: who gets to which of their ports.
//!
//! Kubelet's probes come from the node, which no `NetworkPolicy` keeps out. The port of the container is open to no pod: requests
//! come through the sidecar.

use serde_json::{Value, json};
use shop_contract::ports;
use shop_crds::names::{self, LABEL_NAME, LABEL_SERVICE};
use shop_release::{Access, ObjectKind};

use super::{Owner, Parts, Rendered};

/// Label of every namespace, which the API server sets: its name.
const LABEL_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Where the operator is, and what it is told of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The operator's namespace.
    pub namespace: String,
    /// The namespace whose pods read metrics.
    pub monitoring: String,
    /// The first part of every SPIFFE id.
    pub trust_domain: String,
}

/// The `NetworkPolicy`. With callers only those get to the inbound port; own pods always do, they hand requests over.
pub fn network_policy(owner: &Owner, access: &Access, site: &Site) -> Rendered {
    let own = json!({ "podSelector": { "matchLabels": { LABEL_SERVICE: owner.service } } });
    let of = |namespace: &str, labels: Value| {
        json!({
            "namespaceSelector": { "matchLabels": { LABEL_NAMESPACE: namespace } },
            "podSelector": { "matchLabels": labels },
        })
    };
    let inbound = match access {
        Access::Everybody => json!({ "ports": [port(ports::INBOUND)] }),
        Access::Callers(callers) => {
            let callers =
                callers.iter().map(|(namespace, name)| of(namespace, json!({ LABEL_SERVICE: name })));
            let from: Vec<Value> = std::iter::once(own.clone()).chain(callers).collect();
            json!({ "ports": [port(ports::INBOUND)], "from": from })
        }
    };
    let monitoring = json!({ "namespaceSelector": { "matchLabels": { LABEL_NAMESPACE: site.monitoring } } });
    let operator = of(&site.namespace, json!({ LABEL_NAME: "shopkeeper" }));
    let admin = json!({ "ports": [port(ports::ADMIN)], "from": [own, operator, monitoring] });
    let spec = json!({
        "podSelector": { "matchLabels": { LABEL_SERVICE: owner.service } },
        "policyTypes": ["Ingress"],
        "ingress": [inbound, admin],
    });
    owner.object(
        ObjectKind::NetworkPolicy,
        names::network_policy(&owner.service),
        Parts {
            meant: spec.to_string(),
            detail: access.to_string(),
            content: json!({ "spec": spec }),
            ..Parts::default()
        },
    )
}

fn port(number: u16) -> Value {
    json!({ "port": number, "protocol": "TCP" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Labels = BTreeMap<String, String>;

    /// Whether labels meet a selector, as Kubernetes has it: an empty one is met by all.
    fn meets(selector: &Value, labels: &Labels) -> bool {
        let wanted = selector["matchLabels"].as_object().cloned().unwrap_or_default();
        wanted.iter().all(|(name, value)| labels.get(name).map(String::as_str) == value.as_str())
    }

    /// Whether a pod gets to a port of the pods that the policy is for, by what `NetworkPolicy` says.
    fn may(policy: &Value, from: (&str, &str, &str), port: u16) -> bool {
        let (namespace, label, name) = from;
        let pod: Labels = [(label.to_owned(), name.to_owned())].into();
        let there: Labels = [(LABEL_NAMESPACE.to_owned(), namespace.to_owned())].into();
        let peer = |peer: &Value| {
            let at_home = policy["metadata"]["namespace"] == namespace;
            let space = peer.get("namespaceSelector").map_or(at_home, |selector| meets(selector, &there));
            space && peer.get("podSelector").is_none_or(|selector| meets(selector, &pod))
        };
        policy["spec"]["ingress"].as_array().unwrap().iter().any(|rule| {
            let ports = rule["ports"].as_array().unwrap();
            ports.iter().any(|one| one["port"] == port)
                && rule.get("from").is_none_or(|from| from.as_array().unwrap().iter().any(peer))
        })
    }

    fn policy(access: &Access) -> Value {
        let owner = Owner { namespace: "shop".into(), service: "order".into(), uid: "u".into(), epoch: 1 };
        let site = Site {
            namespace: "shopkeeper".into(),
            monitoring: "monitoring".into(),
            trust_domain: "cluster.local".into(),
        };
        network_policy(&owner, access, &site).value
    }

    const GATEWAY: (&str, &str, &str) = ("shop", LABEL_SERVICE, "gateway");
    const OWN: (&str, &str, &str) = ("shop", LABEL_SERVICE, "order");
    const NAMESAKE: (&str, &str, &str) = ("other", LABEL_SERVICE, "order");
    const OPERATOR: (&str, &str, &str) = ("shopkeeper", LABEL_NAME, "shopkeeper");
    const PRETENDER: (&str, &str, &str) = ("shop", LABEL_NAME, "shopkeeper");
    const PROMETHEUS: (&str, &str, &str) = ("monitoring", "app", "prometheus");
    const STRANGER: (&str, &str, &str) = ("shop", "app", "shell");

    #[test]
    fn everybody_gets_to_the_sidecar_and_nobody_past_it() {
        let policy = policy(&Access::Everybody);
        for from in [GATEWAY, OWN, NAMESAKE, OPERATOR, PROMETHEUS, STRANGER] {
            assert!(may(&policy, from, 9440), "{from:?}");
            assert!(!may(&policy, from, 8080), "{from:?}");
        }
        for from in [OWN, OPERATOR, PROMETHEUS] {
            assert!(may(&policy, from, 9442), "{from:?}");
        }
        for from in [GATEWAY, NAMESAKE, PRETENDER, STRANGER] {
            assert!(!may(&policy, from, 9442), "{from:?}");
        }
    }

    #[test]
    fn with_callers_only_they_and_own_pods_get_there() {
        let callers = [("shop", "gateway"), ("desk", "support")];
        let callers = callers.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let policy = policy(&Access::Callers(callers.to_vec()));
        for from in [GATEWAY, OWN, ("desk", LABEL_SERVICE, "support")] {
            assert!(may(&policy, from, 9440), "{from:?}");
        }
        for from in [NAMESAKE, OPERATOR, STRANGER, ("desk", LABEL_SERVICE, "gateway")] {
            assert!(!may(&policy, from, 9440), "{from:?}");
        }
        assert!(!may(&policy, GATEWAY, 8080));
    }

    #[test]
    fn what_is_meant_is_read_back() {
        for access in
            [Access::Everybody, Access::Callers(vec![("a".into(), "b".into()), ("c".into(), "d".into())])]
        {
            assert_eq!(Access::from_words(&access.to_string()), Some(access));
        }
    }
}
