//! `status --watch`: a line per change, until the release ends or waits for somebody.

use crate::{client::Cluster, exit::Exit, render, report::Overview, verdict};

use super::{CommandError, Pace, Terminal};

pub(super) async fn watch(
    name: &str,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let mut changes = cluster.changes(Some(name), None, pace.poll);
    let mut shown: Option<Overview> = None;
    let mut meant = None;
    let mut troubled = false;
    loop {
        changes.next(troubled).await;
        let service = match cluster.service(name).await {
            Ok(service) => service,
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
        meant = meant.or_else(|| verdict::released(&service));
        let now = verdict::watched(&service, meant);
        let (state, overview) = (now.state, Overview::judged(&service, now));
        if shown.as_ref().is_none_or(|shown| !shown.says_the_same(&overview)) {
            terminal.line(&overview, render::change)?;
        }
        shown = Some(overview);
        if state.is_final() {
            return Ok(state.shown());
        }
    }
}
