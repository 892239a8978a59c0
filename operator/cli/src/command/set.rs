//! `set image`: ask for another image.

use tokio::time::Instant;

use crate::{arguments::ImageArguments, client::Cluster, exit::Exit, render, report::Ending, verdict::Goal};

use super::{CommandError, Pace, TIMEOUT, Terminal, follow::Waited};

const ACTION: &str = "set image";

pub(super) async fn image(
    arguments: &ImageArguments,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let ImageArguments { name, image, wait, timeout } = arguments;
    let begun = Instant::now();
    let service = cluster.service(name).await?;
    let before = service.spec.image.clone();
    if before == *image {
        return Err(CommandError::SameImage { service: name.clone(), image: image.clone() });
    }
    cluster.set_image(&service, image).await?;
    let message = format!("asks for image {image} instead of {before}");
    if *wait {
        terminal.note(&format!("{name}: {message}"))?;
        let deadline = begun + timeout.unwrap_or(TIMEOUT).duration();
        let waited = Waited { service: name, goal: Goal::Stable, revision: None, deadline };
        return waited.run(ACTION, cluster, pace, terminal).await;
    }
    let ending = Ending::new(cluster, name, ACTION, Exit::Done, message);
    terminal.answer(&ending, |ending, _| render::ending(ending))?;
    Ok(Exit::Done)
}
