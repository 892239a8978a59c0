//! `status`, `why`, `history`: look, and print.

use crate::{
    client::Cluster,
    exit::Exit,
    render,
    report::{History, Overview, Why},
    verdict,
};

use super::{CommandError, Pace, Terminal};

pub(super) async fn status(
    name: &str,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let service = cluster.service(name).await?;
    terminal.answer(&Overview::of(&service), render::status)?;
    Ok(verdict::current(&service).state.shown())
}

/// Prints the status at each change, until the process is interrupted or the service is gone.
pub(super) async fn watch(
    name: &str,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let mut poll = tokio::time::interval(pace.poll);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown: Option<Overview> = None;
    let mut troubled = false;
    loop {
        poll.tick().await;
        let overview = match cluster.service(name).await {
            Ok(service) => Overview::of(&service),
            Err(error) if error.is_passing() && shown.is_some() => {
                if !troubled {
                    terminal.note(&format!("{error}; trying again"))?;
                }
                troubled = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        troubled = false;
        if shown.as_ref() != Some(&overview) {
            if shown.is_some() {
                terminal.separate()?;
            }
            terminal.answer(&overview, render::status)?;
            shown = Some(overview);
        }
    }
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
