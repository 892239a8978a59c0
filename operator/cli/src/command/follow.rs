//! Looking again and again until something is so, or a deadline has passed.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use shop_crds::ShopService;
use tokio::time::Instant;

use crate::{
    arguments::WaitArguments,
    client::{Changes, ClientError, Cluster},
    exit::Exit,
    render,
    report::Ending,
    verdict::{self, Goal, State, Verdict},
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
    let waited = Waited {
        service: &arguments.name,
        goal: arguments.goal,
        revision: arguments.revision,
        deadline: Instant::now() + arguments.timeout.duration(),
    };
    waited.run("wait", cluster, pace, terminal).await
}

/// Something that is waited for.
pub(super) struct Waited<'a> {
    pub(super) service: &'a str,
    pub(super) goal: Goal,
    pub(super) revision: Option<i64>,
    pub(super) deadline: Instant,
}

impl Waited<'_> {
    /// Waits for it, and says how that ended.
    pub(super) async fn run(
        self,
        action: &'static str,
        cluster: &Cluster,
        pace: Pace,
        terminal: &mut Terminal<'_>,
    ) -> Result<Exit, CommandError> {
        let name = self.service;
        let meant = Cell::new(self.revision);
        let digest = RefCell::new(None);
        let look = async || {
            let service = cluster.service(name).await?;
            meant.set(meant.get().or_else(|| verdict::released(&service)));
            digest.replace(meant.get().and_then(|revision| digest_of(&service, revision)));
            Ok(verdict::reached(self.goal, &service, meant.get()))
        };
        let changes = cluster.changes(Some(name), None, pace.poll);
        let last = follow(self.deadline, changes, terminal, look).await?;
        let exit = last.state.waited();
        let message = told(exit, &last.message, name, cluster.namespace());
        let ending = Ending {
            goal: Some(self.goal.as_str()),
            revision: meant.get(),
            digest: digest.into_inner(),
            ..Ending::new(cluster, name, action, exit, message)
        };
        terminal.answer(&ending, |ending, _| render::ending(ending))?;
        Ok(exit)
    }
}

/// Digest of the image that a revision runs.
fn digest_of(service: &ShopService, revision: i64) -> Option<String> {
    let revisions = service.status.as_ref().map(|status| &status.revisions)?;
    revisions.iter().find(|state| state.number == revision)?.digest.clone()
}
