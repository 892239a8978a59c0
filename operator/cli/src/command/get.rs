//! `get`: services at a glance.

use crate::{
    arguments::GetArguments,
    client::Cluster,
    exit::Exit,
    render,
    report::{List, Row},
};

use super::{CommandError, Terminal};

pub(super) async fn get(
    arguments: &GetArguments,
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let wide = terminal.wide();
    if let Some(name) = &arguments.name {
        let row = Row::of(&cluster.service(name).await?);
        terminal.answer(&row, |row, now| render::list(std::slice::from_ref(row), false, wide, now))?;
        return Ok(Exit::Done);
    }
    let everywhere = arguments.all_namespaces;
    let services = cluster.services(everywhere).await?;
    let list = List { items: services.iter().map(Row::of).collect() };
    if list.items.is_empty() {
        let place = if everywhere {
            "any namespace".to_owned()
        } else {
            format!("namespace {:?}", cluster.namespace())
        };
        terminal.note(&format!("no ShopServices in {place}"))?;
    }
    terminal.answer(&list, |list, now| render::list(&list.items, everywhere, wide, now))?;
    Ok(Exit::Done)
}
