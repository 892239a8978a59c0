//! `status`, `why`, `history`: look, and print.

use futures::future::join_all;
use kube::ResourceExt as _;
use shop_crds::ShopService;

use crate::{
    calls,
    client::{ClientError, Cluster},
    exit::Exit,
    render,
    report::{History, Overview, Why, tree},
    verdict,
};

use super::{CommandError, Terminal};

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
        Ok(silent) => answer.warnings = silent,
        Err(error) => terminal.note(&format!("without its calls: {error}"))?,
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
