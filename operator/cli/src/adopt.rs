//! A ShopService for a Deployment and a Service that are there: every field that a ShopService has a word for, and the rest laid
//! over the pods by `spec.pod`. What has no place in either is a problem, and then nothing is written.

mod container;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Service, ServicePort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Map, Value, json};
use shop_crds::{ShopServiceSpec, names};
use shop_release::{Inputs, Observed, inputs::NoInputs};

/// Fields of a `PodSpec` that every pod has, or that the ShopService decides.
const LEFT_OUT: [&str; 4] = ["containers", "restartPolicy", "schedulerName", "serviceAccount"];
/// Annotations of a template that say something of the past only.
const PAST: [&str; 2] =
    ["kubectl.kubernetes.io/restartedAt", "kubectl.kubernetes.io/last-applied-configuration"];

/// What adoption comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The ShopService.
    pub manifest: Value,
    /// What will be otherwise from the first release on.
    pub notes: Vec<String>,
    /// What must be changed first.
    pub problems: Vec<String>,
}

/// The Service that leads to the Deployment's pods; `Err` says which to name.
pub fn users_service<'a>(
    deployment: &Deployment,
    services: &'a [Service],
    named: Option<&str>,
) -> Result<&'a Service, String> {
    let labels = labels(deployment);
    let selects = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    let name = |service: &Service| service.metadata.name.clone().unwrap_or_default();
    if let Some(wanted) = named {
        let found = services.iter().find(|service| name(service) == wanted);
        return found.ok_or_else(|| format!("there is no Service {wanted}: name another one with --service"));
    }
    let headless = |service: &&Service| {
        service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
    };
    let found: Vec<&Service> = services.iter().filter(selects).filter(|one| !headless(one)).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            Err("no Service leads to its pods: make one first; users reach a ShopService by a Service"
                .to_owned())
        }
        several => {
            let all: Vec<String> = several.iter().map(|service| name(service)).collect();
            Err(format!(
                "several Services lead to its pods ({}): name the users' one with --service",
                all.join(", ")
            ))
        }
    }
}

fn labels(deployment: &Deployment) -> BTreeMap<String, String> {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.clone()).unwrap_or_default()
}

/// Writes the ShopService of this Deployment and Service.
pub fn draft(deployment: &Deployment, service: &Service, autoscalers: &[HorizontalPodAutoscaler]) -> Draft {
    let mut draft = Draft::default();
    let name = service.metadata.name.clone().unwrap_or_default();
    let own = deployment.metadata.name.clone().unwrap_or_default();
    let Some(template) = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else {
        draft.problems.push(format!("Deployment {own} has no pod template"));
        return draft;
    };
    for autoscaler in autoscalers.iter().filter(|one| targets(one, &own)) {
        let scaler = autoscaler.metadata.name.clone().unwrap_or_default();
        draft.problems.push(format!(
            "HorizontalPodAutoscaler {scaler} changes the size of Deployment {own}, which the operator would put back: delete it, \
             and make one for the ShopService when it is adopted (scaleTargetRef: {{apiVersion: shopkeeper.dev/v1alpha1, kind: \
             ShopService, name: {name}}})"
        ));
    }
    if name.len() > names::MAX_SERVICE_NAME {
        draft
            .problems
            .push(format!("Service {name} has a name of more than {} characters", names::MAX_SERVICE_NAME));
    }
    let mut spec = Map::new();
    let port = users_port(service, &mut spec, &mut draft);
    let template = serde_json::to_value(template).unwrap_or_default();
    let containers = template.get("containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let target = port.and_then(|port| port.target_port.or(Some(IntOrString::Int(port.port))));
    let Some((app, number)) = container::serving(&containers, target.as_ref()) else {
        draft
            .problems
            .push(format!("no container of Deployment {own} has the port that Service {name} leads to"));
        return draft;
    };
    spec.insert("port".into(), number.into());
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    spec.insert("replicas".into(), replicas.into());
    let mut laid = vec![container::carry(app, number, &mut spec, &mut draft)];
    let others = containers.iter().filter(|one| one["name"] != app["name"]);
    laid.extend(others.cloned());
    pods(deployment, service, &template, laid, &mut spec, &mut draft);
    spec.insert("adopt".into(), json!({ "deployment": own }));
    check(&spec, &mut draft);
    draft.manifest = json!({
        "apiVersion": format!("{}/{}", shop_crds::GROUP, shop_crds::VERSION),
        "kind": "ShopService",
        "metadata": { "name": name },
        "spec": spec,
    });
    draft
}

/// Whether the autoscaler changes the size of the Deployment.
pub fn targets(autoscaler: &HorizontalPodAutoscaler, deployment: &str) -> bool {
    let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
    target.is_some_and(|target| target.kind == "Deployment" && target.name == deployment)
}

fn users_port(service: &Service, spec: &mut Map<String, Value>, draft: &mut Draft) -> Option<ServicePort> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let found = service.spec.as_ref()?;
    let ports = found.ports.clone().unwrap_or_default();
    let [port] = ports.as_slice() else {
        let count = ports.len();
        draft.problems.push(format!(
            "Service {name} has {count} ports, and a ShopService has one: move the others to another Service"
        ));
        return ports.first().cloned();
    };
    let grpc = port.app_protocol.as_deref().is_some_and(|word| matches!(word, "grpc" | "kubernetes.io/h2c"))
        || port.name.as_deref().is_some_and(|word| word == "grpc" || word.starts_with("grpc-"));
    if grpc {
        spec.insert("protocol".into(), "grpc".into());
    }
    let kind = found.type_.clone().unwrap_or_else(|| "ClusterIP".to_owned());
    let port_name = port.name.clone().unwrap_or_default();
    let service = json!({ "type": kind, "port": port.port, "portName": port_name });
    if service != json!({ "type": "ClusterIP", "port": 80, "portName": "http" }) {
        spec.insert("service".into(), service);
    }
    Some(port.clone())
}

/// What else the template has, laid over the pods that the operator makes.
fn pods(
    deployment: &Deployment,
    service: &Service,
    template: &Value,
    containers: Vec<Value>,
    spec: &mut Map<String, Value>,
    draft: &mut Draft,
) {
    let mut rest: Map<String, Value> = template.as_object().cloned().unwrap_or_default();
    rest.retain(|field, value| !LEFT_OUT.contains(&field.as_str()) && !is_idle(field, value));
    if rest.remove("terminationGracePeriodSeconds").is_some_and(|seconds| seconds != 30) {
        draft.notes.push(
            "terminationGracePeriodSeconds follows from release.drain.max from the first release on"
                .to_owned(),
        );
    }
    if rest.contains_key("volumes") {
        let note = "ConfigMaps and Secrets in volumes stay in spec.pod, and are not kept with each revision: those in spec.config are";
        draft.notes.push(note.to_owned());
    }
    let containers: Vec<Value> =
        containers.into_iter().filter(|one| one.as_object().is_some_and(|one| one.len() > 1)).collect();
    if !containers.is_empty() {
        rest.insert("containers".into(), containers.into());
    }
    let metadata =
        deployment.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| !PAST.contains(&name.as_str()));
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let mut kept = labels(deployment);
    kept.retain(|name, _| !selector.contains_key(name));
    let lost: Vec<String> = selector.keys().cloned().collect();
    draft.notes.push(format!(
        "pods of the first release on do not have the labels that the Service selects now ({}): what else selects pods by them, as \
         a NetworkPolicy or a PodDisruptionBudget, will not find them",
        lost.join(", ")
    ));
    let mut pod = Map::new();
    let mut metadata = Map::new();
    for (field, map) in [("labels", kept), ("annotations", annotations)] {
        if !map.is_empty() {
            metadata.insert(field.into(), json!(map));
        }
    }
    if !metadata.is_empty() {
        pod.insert("metadata".into(), metadata.into());
    }
    if !rest.is_empty() {
        pod.insert("spec".into(), rest.into());
    }
    if !pod.is_empty() {
        spec.insert("pod".into(), pod.into());
    }
}

/// What the API server fills in.
fn is_idle(field: &str, value: &Value) -> bool {
    let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    empty || (field == "dnsPolicy" && value == "ClusterFirst")
}

/// Whether the operator would take it.
fn check(spec: &Map<String, Value>, draft: &mut Draft) {
    match serde_json::from_value::<ShopServiceSpec>(spec.clone().into()) {
        Err(error) => draft.problems.push(format!("a ShopService cannot say this: {error}")),
        Ok(read) => {
            if let Err(NoInputs::Invalid(why)) = Inputs::resolve(&read, &Observed::default()) {
                draft.problems.push(why);
            }
        }
    }
}

#[cfg(test)]
mod tests;
