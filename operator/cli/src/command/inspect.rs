//! `status`, `why`, `history`: look, and print.

use crate::{
    client::Cluster,
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
    terminal.answer(&Why::of(&service), render::why)?;
    Ok(verdict::current(&service).state.shown())
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
