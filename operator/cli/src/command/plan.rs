//! `plan`: ask the API server what it makes of a file, read what the release will meet, and rehearse it.

use std::io::Read as _;

use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;
use shop_crds::ShopService;
use shop_release::{ObjectKind, Source, SourceKind, SourceState};

use crate::{
    arguments::PlanArguments,
    client::{ClientError, Cluster},
    doctor::Finding,
    exit::Exit,
    plan::{self, Forecast, Found},
    render,
};

use super::{CommandError, Terminal};

pub(super) async fn plan(
    arguments: &PlanArguments,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let file = arguments.file.display().to_string();
    let text = read(arguments)
        .map_err(|error| CommandError::File { file: file.clone(), message: error.to_string() })?;
    let strange = |message: String| CommandError::File { file: file.clone(), message };
    let documents: Vec<Value> =
        serde_yaml::from_multiple(&text).map_err(|error| strange(error.to_string()))?;
    let is = |document: &Value, kind: &str| document.get("kind").and_then(Value::as_str) == Some(kind);
    let wanted: Vec<&Value> = documents.iter().filter(|document| is(document, "ShopService")).collect();
    if wanted.is_empty() {
        return Err(strange("it holds no ShopService; write one with kind: ShopService".to_owned()));
    }
    let mut exit = Exit::Done;
    for document in wanted {
        let forecast = Box::pin(one(document, &documents, cluster)).await?;
        if forecast.result != Exit::Done {
            exit = forecast.result;
        }
        terminal.line(&forecast, |forecast, _| render::forecast(forecast))?;
    }
    Ok(exit)
}

fn read(arguments: &PlanArguments) -> std::io::Result<String> {
    if arguments.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(&arguments.file)
}

async fn one(document: &Value, documents: &[Value], cluster: &Cluster) -> Result<Forecast, CommandError> {
    let named = document.pointer("/metadata/namespace").and_then(Value::as_str);
    let cluster = &named.map_or_else(|| cluster.clone(), |namespace| cluster.within(namespace));
    // First of all: bad input is refused in the words of the API server.
    let mut wanted = cluster.rehearse_apply(document).await?;
    let name = wanted.name_any();
    let (service, revisions, replicas, policies, quotas, budgets) = tokio::join!(
        cluster.service_if_any(&name),
        cluster.stored_revisions(&name),
        cluster.replicas(&name),
        cluster.policies(),
        cluster.quotas(),
        cluster.budgets(),
    );
    let service = service?;
    if let Some(service) = &service {
        forget_removed(&mut wanted, service, document);
    }
    let mut found = Found { revisions: revisions?, replicas: replicas?, ..Found::default() };
    found.sources_after = sources(cluster, &wanted, documents).await?;
    if let Some(service) = &service {
        found.sources = sources(cluster, service, &[]).await?;
    }
    match policies {
        Ok(policies) => found.policies = policies,
        Err(error) => found.unseen.push(Finding::unseen("freeze windows", &error)),
    }
    match quotas {
        Ok(quotas) => found.quotas = quotas,
        Err(error) => found.unseen.push(Finding::unseen("quota", &error)),
    }
    match budgets {
        Ok(budgets) => found.budgets = budgets,
        Err(error) => found.unseen.push(Finding::unseen("budget", &error)),
    }
    found.service = service;
    Ok(plan::forecast(&found, &wanted, Timestamp::now()))
}

/// Content of every source that a service names: from the file where it is in there too, else from the cluster.
async fn sources(
    cluster: &Cluster,
    service: &ShopService,
    documents: &[Value],
) -> Result<Vec<Source>, ClientError> {
    let look = async |wanted: shop_release::SourceRef| {
        let kind = ObjectKind::from(wanted.kind).as_str();
        let same = |document: &&Value| {
            let named = document.pointer("/metadata/name").and_then(Value::as_str);
            document.get("kind").and_then(Value::as_str) == Some(kind) && named == Some(&wanted.name)
        };
        let state = match documents.iter().find(same) {
            Some(document) => plan::content(document),
            None => content(cluster, wanted.kind, &wanted.name).await?,
        };
        Ok(Source { kind: wanted.kind, name: wanted.name, state })
    };
    join_all(shop_release::sources(&service.spec).into_iter().map(look)).await.into_iter().collect()
}

async fn content(cluster: &Cluster, kind: SourceKind, name: &str) -> Result<SourceState, ClientError> {
    let object = match kind {
        SourceKind::ConfigMap => cluster.config_map(name).await?.map(serde_json::to_value),
        SourceKind::Secret => cluster.secret(name).await?.map(serde_json::to_value),
    };
    Ok(match object {
        None => SourceState::Missing,
        Some(Ok(object)) => plan::content(&object),
        Some(Err(error)) => SourceState::Unreadable(error.to_string()),
    })
}

/// Fields that `kubectl apply` would remove: those that it applied before and that the file does not have any more. A dry run of a
/// server-side apply keeps them.
fn forget_removed(wanted: &mut ShopService, live: &ShopService, document: &Value) {
    let Some(applied) = live.annotations().get("kubectl.kubernetes.io/last-applied-configuration") else {
        return;
    };
    let Ok(applied) = serde_json::from_str::<Value>(applied) else { return };
    let Ok(mut spec) = serde_json::to_value(&wanted.spec) else { return };
    if let (Some(applied), Some(given)) = (applied.get("spec"), document.get("spec")) {
        remove(&mut spec, applied, given);
    }
    if let Ok(spec) = serde_json::from_value(spec) {
        wanted.spec = spec;
    }
}

fn remove(spec: &mut Value, applied: &Value, given: &Value) {
    let (Some(spec), Some(applied), Some(given)) =
        (spec.as_object_mut(), applied.as_object(), given.as_object())
    else {
        return;
    };
    for (field, before) in applied {
        match (spec.get_mut(field), given.get(field)) {
            (Some(_), None) => drop(spec.remove(field)),
            (Some(spec), Some(given)) => remove(spec, before, given),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_file_has_no_more_is_removed() {
        let mut spec =
            json!({"image": "a", "replicas": 5, "release": {"keepOld": "1m", "promote": "manual"}});
        let applied = json!({"image": "a", "release": {"keepOld": "1m", "promote": "manual"}});
        remove(&mut spec, &applied, &json!({"image": "a", "release": {"promote": "manual"}}));
        assert_eq!(spec, json!({"image": "a", "replicas": 5, "release": {"promote": "manual"}}));
    }
}
