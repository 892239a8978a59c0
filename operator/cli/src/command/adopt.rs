//! `adopt`: a ShopService for what is there.

use shop_crds::{Reason, ShopService, names::ADOPTED};
use tokio::time::Instant;

use super::{CommandError, Pace, Terminal};
use crate::{
    adopt,
    arguments::{AdoptArguments, Output},
    client::Cluster,
    exit::Exit,
    render,
    report::Ending,
};

const ACTION: &str = "adopt";

pub(super) async fn adopt(
    arguments: &AdoptArguments,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let AdoptArguments { deployment: name, service, dry_run } = arguments;
    let unfit = |problems: Vec<String>| CommandError::Unfit { deployment: name.clone(), problems };
    let (deployment, services, autoscalers) =
        tokio::try_join!(cluster.deployment(name), cluster.plain_services(), cluster.autoscalers())?;
    let namespace = cluster.namespace();
    let deployment = deployment.ok_or_else(|| {
        unfit(vec![format!(
            "there is none of that name in namespace {namespace:?}; name another one with -n"
        )])
    })?;
    let service = adopt::users_service(&deployment, &services, service.as_deref());
    let service = service.map_err(|why| unfit(vec![why]))?;
    let draft = adopt::draft(&deployment, service, &autoscalers);
    if !draft.problems.is_empty() {
        return Err(unfit(draft.problems));
    }
    for note in &draft.notes {
        terminal.note(&format!("note: {note}"))?;
    }
    if *dry_run {
        if terminal.output == Output::Table || terminal.output == Output::Wide {
            terminal.output = Output::Yaml;
        }
        terminal.answer(&draft.manifest, |_, _| String::new())?;
        return Ok(Exit::Done);
    }
    let made = cluster.create_service(&draft.manifest).await?;
    let shop = made.metadata.name.clone().unwrap_or_default();
    let (exit, message) = told(cluster, &shop, pace).await?;
    let ending = Ending::new(cluster, &shop, ACTION, exit, message);
    terminal.answer(&ending, |ending, _| render::ending(ending))?;
    Ok(exit)
}

/// What the operator makes of it, as soon as it has.
async fn told(cluster: &Cluster, name: &str, pace: Pace) -> Result<(Exit, String), CommandError> {
    let end = Instant::now() + pace.answer;
    let mut changes = cluster.changes(Some(name), None, pace.poll);
    loop {
        if tokio::time::timeout_at(end, changes.next(false)).await.is_err() {
            let message =
                format!("the operator has not answered yet; ask again with: kubectl shop why {name}");
            return Ok((Exit::TimedOut, message));
        }
        if let Some(answer) = answer(&cluster.service(name).await?) {
            return Ok(answer);
        }
    }
}

fn answer(service: &ShopService) -> Option<(Exit, String)> {
    let status = service.status.as_ref()?;
    if status.active.as_ref().is_some_and(|active| active.revision == ADOPTED) {
        let message =
            "it serves as revision 0, as it stands; the next change of the spec is released, with sidecars";
        return Some((Exit::Done, message.to_owned()));
    }
    let blocked = status.blocked.as_ref().filter(|blocked| blocked.reason == Reason::AdoptionRefused)?;
    Some((Exit::Error, blocked.message.clone()))
}
