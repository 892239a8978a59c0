//! What was there before: looked at while it is not adopted, because nobody watches objects of others, and shown as revision 0
//! afterwards. Pods of revision 0 have no label of ours: their Deployment counts them, and the users' EndpointSlices name them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client, core::DynamicObject};
use serde_json::Value;
use shop_crds::{
    ShopServiceStatus,
    names::{self, ADOPTED},
};
use shop_release::{
    Adopted, ObjectKind, ObjectRef, Observed, Pod, ServiceKind, SidecarView, StrangeDeployment, StrangePort,
    StrangeService, Strangers,
};

use crate::{
    cache::{Entry, Held, Kind},
    observe::Sight,
};

/// Stands in the annotation `shopkeeper.dev/written` of objects that were adopted and not written since.
pub const AS_FOUND: &str = "adopted";
/// Fields of a Service that one of the operator's does not have, with the values that mean nothing.
const UNKEPT: [(&str, &str); 10] = [
    ("allocateLoadBalancerNodePorts", "true"),
    ("externalIPs", "[]"),
    ("externalTrafficPolicy", "\"Cluster\""),
    ("internalTrafficPolicy", "\"Cluster\""),
    ("loadBalancerClass", "null"),
    ("loadBalancerIP", "null"),
    ("loadBalancerSourceRanges", "[]"),
    ("publishNotReadyAddresses", "false"),
    ("sessionAffinity", "\"None\""),
    ("trafficDistribution", "null"),
];

/// Reads what `spec.adopt` names, where that is still to be adopted. What cannot be read is looked at again later.
pub async fn look(
    client: &Client,
    sight: &Sight<'_>,
    observed: &Observed,
    status: &ShopServiceStatus,
) -> Option<Strangers> {
    if !shop_release::adopts(&sight.subject.spec, observed, status) {
        return None;
    }
    let adopt = sight.subject.spec.adopt.as_ref()?;
    let api = |kind: Kind| -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &sight.owner.namespace, &kind.resource())
    };
    let users = ServiceKind::Users.name(&sight.owner.service);
    let (deployments, services) = (api(Kind::Deployment), api(Kind::Service));
    match tokio::try_join!(deployments.get_opt(&adopt.deployment), services.get_opt(&users)) {
        Ok((deployment, service)) => Some(Strangers {
            deployment: deployment.map(|found| strange_deployment(&found, &sight.owner.uid)),
            service: service.map(|found| strange_service(&found, &sight.owner.uid)),
        }),
        Err(error) => {
            tracing::warn!(%error, service = sight.owner.service, "cannot look at what is to be adopted");
            None
        }
    }
}

fn strange_deployment(found: &DynamicObject, uid: &str) -> StrangeDeployment {
    let data = &found.data;
    let containers = data.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let images = containers.into_iter().flatten().filter_map(|one| one["image"].as_str().map(str::to_owned));
    let replicas = data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    StrangeDeployment {
        uid: found.metadata.uid.clone().unwrap_or_default(),
        resource_version: found.metadata.resource_version.clone().unwrap_or_default(),
        owner: other_owner(found, uid),
        leaving: found.metadata.deletion_timestamp.is_some(),
        replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        labels: texts(data.pointer("/spec/template/metadata/labels")),
        images: images.collect(),
    }
}

fn strange_service(found: &DynamicObject, uid: &str) -> StrangeService {
    let spec = found.data.get("spec").unwrap_or(&Value::Null);
    let text = |value: &Value, without: &str| value.as_str().unwrap_or(without).to_owned();
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| {
        let number = port["port"].as_i64().and_then(|port| i32::try_from(port).ok()).unwrap_or(0);
        let target = serde_json::from_value(port["targetPort"].clone()).unwrap_or(IntOrString::Int(number));
        let (name, protocol) = (text(&port["name"], ""), text(&port["protocol"], "TCP"));
        StrangePort { name, port: number, target, protocol }
    });
    let unkept = UNKEPT.iter().filter(|(field, idle)| {
        let idle: Value = serde_json::from_str(idle).unwrap_or_default();
        let value = &spec[*field];
        !value.is_null() && *value != idle
    });
    StrangeService {
        uid: found.metadata.uid.clone().unwrap_or_default(),
        resource_version: found.metadata.resource_version.clone().unwrap_or_default(),
        owner: other_owner(found, uid),
        leaving: found.metadata.deletion_timestamp.is_some(),
        kind: text(&spec["type"], "ClusterIP"),
        headless: spec["clusterIP"] == "None",
        selector: texts(spec.get("selector")),
        ports: ports.collect(),
        unkept: unkept.map(|(field, _)| (*field).to_owned()).collect(),
    }
}

fn other_owner(found: &DynamicObject, uid: &str) -> Option<String> {
    let mut owners = found.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.uid != uid).map(|owner| format!("{} {}", owner.kind, owner.name))
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

impl Sight<'_> {
    /// What is kept of the adopted Deployment and its Service.
    pub fn adopted(&self) -> Option<Adopted> {
        self.record(ADOPTED, 0).and_then(|(facts, _)| facts.adopted)
    }

    /// What an object is called in the cluster: the adopted Deployment keeps its name.
    pub fn name_of(&self, object: &ObjectRef) -> String {
        let revision = names::revision(&self.owner.service, ADOPTED);
        if object.kind != ObjectKind::Deployment || object.name != revision {
            return object.name.clone();
        }
        let planned = || self.subject.spec.adopt.as_ref().map(|adopt| adopt.deployment.clone());
        self.adopted().map(|adopted| adopted.deployment).or_else(planned).unwrap_or(revision)
    }

    /// Pods of the adopted Deployment.
    pub(crate) fn adopted_pods(&self) -> Vec<Pod> {
        let of_revision = |((kind, _), held): &(&(Kind, String), &std::sync::Arc<Held>)| {
            *kind == Kind::Deployment && held.revision() == Some(ADOPTED)
        };
        let deployment = self.entry.held.iter().find(of_revision).map(|(_, held)| held);
        let Some(deployment) = deployment.filter(|held| crate::observe::is_owned(held, &self.owner.uid))
        else {
            return Vec::new();
        };
        let listed = unlabelled(self.entry, &ServiceKind::Users.name(&self.owner.service));
        let (living, ready, leaving) = deployment.counts;
        let living = living.max(ready);
        (0..living + leaving)
            .map(|number| {
                let listed = listed.get(number).filter(|_| number < ready);
                let uid = listed.cloned().unwrap_or_else(|| format!("{}/{number}", deployment.uid));
                Pod { terminating: number >= living, ..pod(number, uid, number < ready) }
            })
            .collect()
    }
}

// Pods that the users' Service leads to and that no revision of ours has.
fn unlabelled(entry: &Entry, users: &str) -> Vec<String> {
    let slices = entry.slices.values().filter(|slice| slice.service == users);
    let listed = slices.flat_map(|slice| slice.ready.iter());
    let mut uids: Vec<String> =
        listed.filter(|uid| !entry.pods.values().any(|pod| pod.uid == **uid)).cloned().collect();
    uids.sort_unstable();
    uids.dedup();
    uids
}

fn pod(number: usize, uid: String, ready: bool) -> Pod {
    Pod {
        name: format!("number {number} of revision {ADOPTED}"),
        uid,
        revision: ADOPTED,
        restart: 0,
        ip: None,
        ready,
        terminating: false,
        rejected: None,
        unschedulable: None,
        containers: Vec::new(),
        image_id: None,
        sidecar: SidecarView::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: &Value) -> StrangeService {
        let object = json!({ "metadata": { "name": "order" }, "spec": spec });
        strange_service(&serde_json::from_value(object).unwrap(), "own")
    }

    #[test]
    fn a_service_is_read_as_kubernetes_fills_it_in() {
        let found = service(&json!({
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "selector": { "app": "order" }, "ports": [{ "port": 8080, "protocol": "TCP", "targetPort": "web" }],
        }));
        assert_eq!(found.unkept, Vec::<String>::new());
        assert_eq!(found.ports[0].target, IntOrString::String("web".into()));
        assert_eq!((found.ports[0].name.as_str(), found.headless), ("", false));
        let found = service(&json!({
            "clusterIP": "None", "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local",
            "ports": [{ "port": 80 }],
        }));
        assert!(found.headless);
        assert_eq!(found.unkept, ["externalTrafficPolicy", "sessionAffinity"]);
        assert_eq!(found.ports[0].target, IntOrString::Int(80));
    }

    #[test]
    fn owners_count_unless_they_are_the_shopservice() {
        let deployment = |uid: &str| {
            let owners = json!([{ "apiVersion": "x/v1", "kind": "Rollout", "name": "order", "uid": uid }]);
            let object = json!({ "metadata": { "name": "order", "ownerReferences": owners }, "spec": {} });
            strange_deployment(&serde_json::from_value(object).unwrap(), "own")
        };
        assert_eq!(deployment("other").owner.as_deref(), Some("Rollout order"));
        assert_eq!((deployment("own").owner, deployment("own").replicas), (None, 1));
    }
}
