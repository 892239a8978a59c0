//! Looking again and again until something is so, or a deadline has passed.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use crate::{
    arguments::WaitArguments,
    client::{Changes, ClientError, Cluster},
    exit::Exit,
    render,
    report::Ending,
    verdict::{self, State, Verdict},
};

use super::{CommandError, Pace, Terminal};

/// Time that a look which has begun may take beyond the deadline, so that the first one is always finished.
const GRACE: Duration = Duration::from_secs(30);

/// Looks until the verdict is final or the deadline has passed; the last verdict. Trouble that may pass is reported once and
/// looked past.
pub(super) async fn follow(
    deadline: Instant,
    mut changes: Changes,
    terminal: &mut Terminal<'_>,
    mut look: impl AsyncFnMut() -> Result<Verdict, ClientError>,
) -> Result<Verdict, CommandError> {
    let mut last: Option<Verdict> = None;
    let mut trouble: Option<ClientError> = None;
    loop {
        // Without any verdict there is nothing to say: the first look may end after the deadline.
        let end =
            if last.is_none() && trouble.is_none() { deadline.max(Instant::now() + GRACE) } else { deadline };
        let next = async {
            changes.next(trouble.is_some()).await;
            look().await
        };
        match tokio::time::timeout_at(end, next).await {
            Ok(Ok(now)) => {
                trouble = None;
                if last.as_ref().is_none_or(|last| last.message != now.message) && !now.state.is_final() {
                    terminal.note(&now.message)?;
                }
                if now.state.is_final() {
                    return Ok(now);
                }
                last = Some(now);
            }
            Ok(Err(error)) if error.is_passing() => {
                if trouble.is_none() {
                    terminal.note(&format!("{error}; trying again"))?;
                }
                trouble = Some(error);
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return at_the_end(last, trouble),
        }
        if Instant::now() >= deadline {
            return at_the_end(last, trouble);
        }
    }
}

/// What is known when the deadline has passed.
fn at_the_end(last: Option<Verdict>, trouble: Option<ClientError>) -> Result<Verdict, CommandError> {
    match (last, trouble) {
        (Some(last), None) => Ok(last),
        (Some(last), Some(trouble)) => {
            Ok(Verdict { state: State::Moving, message: format!("{} (last seen; {trouble})", last.message) })
        }
        (None, Some(trouble)) => Err(trouble.into()),
        (None, None) => Ok(Verdict {
            state: State::Moving,
            message: "the API server did not answer in time; check that it can be reached".to_owned(),
        }),
    }
}

/// The message that goes with an exit code after waiting.
pub(super) fn told(exit: Exit, message: &str, service: &str, namespace: &str) -> String {
    match exit {
        Exit::TimedOut => format!("{message}; to see more: kubectl shop why {service} -n {namespace}"),
        _ => message.to_owned(),
    }
}

pub(super) async fn wait(
    arguments: &WaitArguments,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let name = &arguments.name;
    let deadline = Instant::now() + arguments.timeout.duration();
    let meant = Cell::new(arguments.revision);
    let look = async || {
        let service = cluster.service(name).await?;
        meant.set(meant.get().or_else(|| verdict::released(&service)));
        Ok(verdict::reached(arguments.goal, &service, meant.get()))
    };
    let last = follow(deadline, cluster.changes(Some(name), None, pace.poll), terminal, look).await?;
    let exit = last.state.waited();
    let ending = Ending {
        namespace: cluster.namespace().to_owned(),
        service: name.clone(),
        action: "wait",
        goal: Some(arguments.goal.as_str()),
        revision: meant.get(),
        decision: None,
        actor: None,
        outcome: None,
        reason: None,
        result: exit,
        exit_code: exit.code(),
        message: told(exit, &last.message, name, cluster.namespace()),
    };
    terminal.answer(&ending, |ending, _| render::ending(ending))?;
    Ok(exit)
}
