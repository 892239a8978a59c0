//! `status`, `why`, `history`: look, and print.

use futures::future::join_all;
use kube::ResourceExt as _;
use shop_contract::env::DOCUMENT_FILE;
use shop_crds::{ShopService, names};

use crate::{
    calls,
    client::{ClientError, Cluster},
    exit::Exit,
    mtls, render,
    report::{History, Overview, Why, tree},
    verdict,
};

use super::{CommandError, Terminal};

/// Callers of a service that are looked at, at most.
const MOST_CALLERS: usize = 50;

pub(super) async fn status(
    name: &str,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let (service, pods) = tokio::join!(cluster.service(name), cluster.pods(name));
    let service = service?;
    let mut overview = Overview::of(&service);
    match pods {
        Ok(pods) => overview.revisions = tree::of(&overview.status, &pods),
        Err(error) => terminal.note(&format!("without pods: {error}"))?,
    }
    terminal.answer(&overview, render::status)?;
    Ok(verdict::current(&service).state.shown())
}

pub(super) async fn why(
    name: &str,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let service = cluster.service(name).await?;
    let mut answer = Why::of(&service);
    match silent(cluster, &service).await {
        Ok(silent) => answer.warnings.extend(silent),
        Err(error) => terminal.note(&format!("without its calls: {error}"))?,
    }
    if mtls::is_asked_for(&service) {
        match tls(cluster, &service, &cluster.services(false).await?).await {
            Ok(waits) => answer.warnings.extend(waits),
            Err(error) => terminal.note(&format!("without its TLS: {error}"))?,
        }
    }
    terminal.answer(&answer, render::why)?;
    Ok(verdict::current(&service).state.shown())
}

/// Dependencies of a service that none of its pods has called.
pub(super) async fn silent(cluster: &Cluster, service: &ShopService) -> Result<Vec<String>, ClientError> {
    if service.spec.depends_on.is_empty() {
        return Ok(Vec::new());
    }
    let pods = cluster.pods(&service.name_any()).await?;
    let names = calls::pods_to_ask(service, &pods);
    let asked = join_all(names.iter().map(|name| cluster.told(name))).await;
    let (mut told, mut failed) = (Vec::new(), None);
    for answer in asked {
        match answer {
            Ok(answer) => told.push(answer),
            Err(error) => failed = Some(error),
        }
    }
    // A pod may have gone meanwhile: the others know as much.
    failed.filter(|_| told.is_empty()).map_or_else(|| Ok(calls::silent(&told)), Err)
}

/// What keeps TLS between sidecars from being in force as the spec has it. `all`: services of the namespace.
pub(super) async fn tls(
    cluster: &Cluster,
    service: &ShopService,
    all: &[ShopService],
) -> Result<Vec<String>, ClientError> {
    let read = async |service: &ShopService| {
        let active = service.status.as_ref().and_then(|status| status.active.as_ref());
        let Some(active) = active else { return Ok(None) };
        let name = names::sidecar_config(&service.name_any(), active.revision);
        let text = cluster.config_map(&name).await?.and_then(|map| map.data?.remove(DOCUMENT_FILE));
        Ok::<_, ClientError>(text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()))
    };
    let own = read(service).await?;
    let mut callers = Vec::new();
    for caller in all.iter().filter(|caller| mtls::calls(caller, service)).take(MOST_CALLERS) {
        callers.push((caller.name_any(), read(caller).await?));
    }
    Ok(mtls::waits(service, own.as_ref(), &callers))
}

pub(super) async fn history(
    name: &str,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let service = cluster.service(name).await?;
    let decisions = cluster.decisions(name).await?;
    terminal.answer(&History::of(&service, decisions), render::history)?;
    Ok(Exit::Done)
}
