//! `eject`: what users have is given back by the operator, then the ShopService goes.

use shop_crds::{Reason, ShopService, names};
use tokio::time::Instant;

use super::{CommandError, Pace, Terminal};
use crate::{client::Cluster, exit::Exit, render, report::Ending};

const ACTION: &str = "eject";

pub(super) async fn eject(
    name: &str,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let service = cluster.service(name).await?;
    if service.status.as_ref().is_some_and(|status| status.release.is_some()) {
        return Err(CommandError::Releasing { service: name.to_owned() });
    }
    if !service.spec.eject.unwrap_or(false) {
        cluster.ask_to_eject(&service).await?;
    }
    let (exit, message) = if let Some(service) = given_back(cluster, name, pace).await? {
        cluster.delete_service(&service).await?;
        (Exit::Done, told(&service, name))
    } else {
        let message = "the operator has not given everything back yet, and the ShopService stays until then; run the command again";
        (Exit::TimedOut, message.to_owned())
    };
    let ending = Ending::new(cluster, name, ACTION, exit, message);
    terminal.answer(&ending, |ending, _| render::ending(ending))?;
    Ok(exit)
}

fn told(service: &ShopService, name: &str) -> String {
    let active =
        service.status.as_ref().and_then(|status| status.active.as_ref()).map(|active| active.revision);
    let adopted = service.spec.adopt.as_ref().filter(|_| active == Some(names::ADOPTED));
    let deployment = match (adopted, active) {
        (Some(adopt), _) => adopt.deployment.clone(),
        (None, Some(active)) => names::revision(name, active),
        (None, None) => "it had".to_owned(),
    };
    let sidecars =
        if adopted.is_some() { "" } else { "; the sidecars stay in them, with what they were told last" };
    format!("Deployment {deployment} and Service {name} are nobody's now, and their pods untouched{sidecars}")
}

/// The service once all is given back; `None`: not in time.
async fn given_back(cluster: &Cluster, name: &str, pace: Pace) -> Result<Option<ShopService>, CommandError> {
    let end = Instant::now() + pace.answer;
    let mut changes = cluster.changes(Some(name), None, pace.poll);
    while tokio::time::timeout_at(end, changes.next(false)).await.is_ok() {
        let service = cluster.service(name).await?;
        let blocked = service.status.as_ref().and_then(|status| status.blocked.as_ref());
        if blocked.is_some_and(|blocked| blocked.reason == Reason::Ejected) {
            return Ok(Some(service));
        }
    }
    Ok(None)
}
