//! `doctor`: read what an installation is made of, all at once, and say how it is.

use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt as _;
use shop_crds::{GROUP, ShopService};

use crate::{
    client::Cluster,
    doctor::{self, Finding, POLICIES, Report},
    exit::Exit,
    mtls, render,
};

use super::{CommandError, Terminal, inspect};

/// Services whose sidecars are asked at most.
const MOST_CALLING: usize = 30;

pub(super) async fn doctor(cluster: &Cluster, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
    let (operators, definitions, policies, rights, pods, services) = tokio::join!(
        cluster.operators(),
        definitions(cluster),
        policies(cluster),
        rights(cluster),
        cluster.pods_of_all(),
        cluster.services(false),
    );
    let mut findings = Vec::new();
    match &operators {
        Ok(found) => findings.push(doctor::operator(found)),
        Err(error) => findings.push(Finding::unseen("operator", error)),
    }
    if let Some(namespace) = operators.as_ref().ok().and_then(|found| found.first()?.namespace()) {
        findings.push(match cluster.lease(&namespace).await {
            Ok(lease) => doctor::lease(lease.as_ref(), Timestamp::now()),
            Err(error) => Finding::unseen("lease", &error),
        });
    }
    findings.extend(definitions.into_iter().chain(policies).chain(rights));
    findings.push(match (&operators, pods) {
        (Ok(operators), Ok(pods)) => doctor::sidecars(operators, &pods, cluster.namespace()),
        (Err(error), _) => Finding::unseen("sidecars", error),
        (_, Err(error)) => Finding::unseen("sidecars", &error),
    });
    match services {
        Ok(services) => {
            findings.extend(doctor::services(&services));
            findings.extend(doctor::faults(&services));
            findings.extend(calls(cluster, &services).await);
            findings.extend(tls(cluster, &services).await);
            if services.iter().any(|service| doctor::adopted(service).is_some()) {
                findings.extend(match cluster.autoscalers().await {
                    Ok(autoscalers) => doctor::autoscalers(&services, &autoscalers),
                    Err(error) => vec![Finding::unseen("autoscalers", &error)],
                });
            }
        }
        Err(error) => findings.push(Finding::unseen("services", &error)),
    }
    let report = Report::of(findings);
    terminal.answer(&report, |report, _| render::doctor(report))?;
    Ok(report.result)
}

/// Whether services call what they depend on.
async fn calls(cluster: &Cluster, services: &[ShopService]) -> Vec<Finding> {
    let look = async |service: &ShopService| {
        let name = service.name_any();
        match inspect::silent(cluster, service).await {
            Ok(silent) => doctor::calls(&name, silent),
            Err(error) => vec![Finding::unseen(format!("calls of {name}"), &error)],
        }
    };
    let calling = services.iter().filter(|service| !service.spec.depends_on.is_empty());
    join_all(calling.take(MOST_CALLING).map(look)).await.concat()
}

/// Whether TLS between sidecars is in force where it is asked for.
async fn tls(cluster: &Cluster, services: &[ShopService]) -> Vec<Finding> {
    let look = async |service: &ShopService| {
        let name = service.name_any();
        match inspect::tls(cluster, service, services).await {
            Ok(waits) => doctor::tls(&name, waits),
            Err(error) => vec![Finding::unseen(format!("TLS of {name}"), &error)],
        }
    };
    let asking = services.iter().filter(|service| mtls::is_asked_for(service));
    join_all(asking.take(MOST_CALLING).map(look)).await.concat()
}

async fn definitions(cluster: &Cluster) -> Vec<Finding> {
    let look = async |plural: &str| {
        let name = format!("{plural}.{GROUP}");
        match cluster.definition(&name).await {
            Ok(found) => doctor::definition_of(&name, found.as_ref()),
            Err(error) => Finding::unseen(format!("definition {name}"), &error),
        }
    };
    join_all(["shopservices", "releasedecisions", "shoppolicies", "faultpolicies"].map(look)).await
}

async fn policies(cluster: &Cluster) -> Vec<Finding> {
    let look = async |name: &str| match cluster.policy(name).await {
        Ok((policy, binding)) => doctor::policy(name, policy.as_ref(), binding.as_ref()),
        Err(error) => Finding::unseen(format!("policy {name}"), &error),
    };
    join_all(POLICIES.map(look)).await
}

async fn rights(cluster: &Cluster) -> Vec<Finding> {
    let look = async |(right, used_for, role)| match cluster.may(right).await {
        Ok(allowed) => doctor::right(right, used_for, role, allowed, cluster.namespace()),
        Err(error) => Finding::unseen(format!("right to {} {}", right.verb, right.resource), &error),
    };
    join_all(doctor::rights().into_iter().map(look)).await
}
