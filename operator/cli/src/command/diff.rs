//! `diff`: two revisions, their config included.

use crate::{
    arguments::DiffArguments,
    client::{ClientError, Cluster},
    diff::{self, Comparison, Content, Record, Source},
    exit::Exit,
    render,
};
use shop_release::SourceKind;

use super::{CommandError, Terminal};

pub(super) async fn diff(
    arguments: &DiffArguments,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let DiffArguments { name, from, to } = arguments;
    let (one, other) = tokio::try_join!(record(cluster, name, *from), record(cluster, name, *to))?;
    let mut config = Vec::new();
    for (kind, source, before, after) in diff::sources(&one, &other) {
        let read = tokio::try_join!(content(cluster, kind, before), content(cluster, kind, after));
        let (keys, note) = match read {
            Ok((before, after)) => (diff::keys(&before, &after), None),
            Err(error) => (Vec::new(), Some(format!("it differs; what of it cannot be read: {error}"))),
        };
        config.push(Source { kind, name: source, keys, note });
    }
    let comparison = Comparison {
        namespace: cluster.namespace().to_owned(),
        service: name.clone(),
        from: *from,
        to: *to,
        inputs: diff::inputs(name, &one, &other),
        config,
    };
    terminal.answer(&comparison, |comparison, _| render::comparison(comparison))?;
    Ok(Exit::Done)
}

async fn record(cluster: &Cluster, service: &str, revision: i64) -> Result<Record, CommandError> {
    let Some(stored) = cluster.revision(service, revision).await? else {
        let status = cluster.service(service).await?.status.unwrap_or_default();
        let known: Vec<String> = status.revisions.iter().map(|state| state.number.to_string()).collect();
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        return Err(CommandError::NoRevision { service: service.to_owned(), revision, known });
    };
    let name = stored.metadata.name.clone().unwrap_or_default();
    Record::read(&stored).ok_or(CommandError::StrangeRevision { revision, name })
}

/// Content of a revision's copy; nothing where there is none.
async fn content(cluster: &Cluster, kind: SourceKind, copy: Option<String>) -> Result<Content, ClientError> {
    let Some(copy) = copy else { return Ok(Content::default()) };
    Ok(match kind {
        SourceKind::ConfigMap => {
            cluster.config_map(&copy).await?.map_or_else(Content::default, Content::from)
        }
        SourceKind::Secret => cluster.secret(&copy).await?.map_or_else(Content::default, Content::from),
    })
}
