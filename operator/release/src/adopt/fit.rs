//! Whether a Deployment and its Service can be taken over without a change to anything that users or pods have.

use shop_crds::{names, service::UserService};

use super::{Adopted, StrangeDeployment, StrangePort, StrangeService, Strangers, overlap};
use crate::{inputs::RevisionFacts, view::View};

/// What is kept with revision 0; `Err` says what to change first.
pub(super) fn facts(view: &View<'_>, found: &Strangers) -> Result<RevisionFacts, String> {
    let (spec, name) = (&view.subject.spec, &view.subject.name);
    let wanted = spec.adopt.as_ref().map(|adopt| adopt.deployment.clone()).unwrap_or_default();
    let inputs = view.inputs.as_ref().map_err(|_| "the spec names what cannot be read yet".to_owned())?;
    let deployment = found.deployment.as_ref().ok_or_else(|| {
        format!("there is no Deployment {wanted}: write the name of one in spec.adopt.deployment, or leave spec.adopt out")
    })?;
    let service = found.service.as_ref().ok_or_else(|| {
        format!("there is no Service {name}: a ShopService has the name of the Service that its users reach")
    })?;
    check_deployment(view, &wanted, deployment)?;
    let port = check_service(name, &spec.service.clone().unwrap_or_default(), service)?;
    if service.selector.iter().any(|(label, value)| deployment.labels.get(label) != Some(value)) {
        return Err(format!(
            "Service {name} does not select the pods of Deployment {wanted}: write the Deployment that it leads to"
        ));
    }
    let labels = inputs.pod.as_ref().and_then(|pod| pod.metadata.as_ref()).map(|metadata| &metadata.labels);
    if let Some(why) = overlap(labels, &service.selector) {
        return Err(why);
    }
    let mut facts = inputs.facts(name, names::ADOPTED);
    facts.snapshots.clear();
    // Pods with the image that the spec asks for are what it asks for; any other image is released at once.
    if !deployment.images.contains(&spec.image) {
        facts.image = deployment.images.first().cloned().unwrap_or_default();
        facts.hash = format!("adopted:{}", facts.image);
    }
    let (selector, target_port) = (service.selector.clone(), port.target.clone());
    facts.adopted = Some(Adopted { deployment: wanted, selector, target_port });
    Ok(facts)
}

fn check_deployment(view: &View<'_>, name: &str, found: &StrangeDeployment) -> Result<(), String> {
    let own = names::revision(&view.subject.name, 1);
    let prefix = own.strip_suffix('1').unwrap_or(&own);
    let number = name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    if number {
        return Err(format!(
            "Deployment {name} has the name of a revision: it cannot be adopted under this name"
        ));
    }
    if let Some(owner) = &found.owner {
        return Err(format!(
            "Deployment {name} belongs to {owner}, which would change it: take it out of that first"
        ));
    }
    if found.leaving {
        return Err(format!("Deployment {name} is being deleted"));
    }
    let (has, wants) = (found.replicas, view.subject.spec.replicas);
    if has != wants {
        return Err(format!(
            "Deployment {name} has {has} replicas, and the spec wants {wants}: write spec.replicas: {has}"
        ));
    }
    Ok(())
}

/// The one port of the Service, if the Service can stay what it is when users move to another revision.
fn check_service<'a>(
    name: &str,
    wanted: &UserService,
    found: &'a StrangeService,
) -> Result<&'a StrangePort, String> {
    if let Some(owner) = &found.owner {
        return Err(format!(
            "Service {name} belongs to {owner}, which would change it: take it out of that first"
        ));
    }
    if found.leaving {
        return Err(format!("Service {name} is being deleted"));
    }
    if found.headless || found.selector.is_empty() {
        return Err(format!(
            "Service {name} has no address or no selector of its own: write one that leads to pods"
        ));
    }
    if let Some(field) = found.unkept.first() {
        return Err(format!(
            "Service {name} has spec.{field}, which would be lost at the first release: take it away first"
        ));
    }
    let kind = wanted.kind.as_str();
    if found.kind != kind {
        let has = &found.kind;
        return Err(format!(
            "Service {name} is a {has}, and the spec wants {kind}: write spec.service.type: {has}"
        ));
    }
    let [port] = found.ports.as_slice() else {
        let ports = found.ports.len();
        return Err(format!(
            "Service {name} has {ports} ports, and a ShopService has one: move the others to another Service"
        ));
    };
    if port.protocol != "TCP" {
        return Err(format!(
            "port {} of Service {name} is {}; only TCP can be served",
            port.port, port.protocol
        ));
    }
    if port.port != wanted.port {
        let (has, wants) = (port.port, wanted.port);
        return Err(format!(
            "Service {name} has port {has}, and the spec wants {wants}: write spec.service.port: {has}"
        ));
    }
    if port.name != wanted.port_name {
        let has = &port.name;
        return Err(format!(
            "the port of Service {name} is named {has:?}: write spec.service.portName: {has:?}"
        ));
    }
    Ok(port)
}
