//! `promote`, `abort`, `rollback`, `retry`, `pause`, `resume`: write the decision down, hear the operator, follow.

use std::cell::RefCell;

use kube::ResourceExt as _;
use shop_crds::{DecisionOutcome, ReleaseDecisionSpec, ReleaseDecisionStatus, ShopService};
use tokio::time::Instant;

use crate::{
    arguments::Request,
    client::{ClientError, Cluster},
    exit::Exit,
    render,
    report::Ending,
    verdict::{self, Followed, State, Verdict},
};

use super::{CommandError, Pace, TIMEOUT, Terminal, follow};

pub(super) async fn decide(
    request: &Request<'_>,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let choice = request.choice;
    let begun = Instant::now();
    let (service, actor) = tokio::try_join!(cluster.service(&choice.name), cluster.actor())?;
    let revision = choose(request, &service, terminal)?;
    let decision = cluster.decide(written(request, revision, &actor)).await?;
    let decision = decision.name_any();
    terminal.note(&format!("releasedecision/{decision} created as {actor}"))?;

    let followed = Followed { verb: request.verb, revision, before: outcome_of(&service, revision) };
    let heard = RefCell::new(None);
    let course =
        Course { cluster, service: &choice.name, decision: &decision, followed: &followed, heard: &heard };
    let last = if choice.wait {
        let deadline = begun + choice.timeout.unwrap_or(TIMEOUT).duration();
        let changes = cluster.changes(Some(&choice.name), Some(&decision), pace.poll);
        follow::follow(deadline, changes, terminal, async || course.progress().await).await?
    } else {
        let (deadline, changes) =
            (Instant::now() + pace.answer, cluster.changes(None, Some(&decision), pace.poll));
        follow::follow(deadline, changes, terminal, async || course.answer().await).await?
    };

    let exit = last.state.waited();
    let heard = heard.into_inner();
    let message = follow::told(exit, &last.message, &choice.name, cluster.namespace());
    let ending = Ending {
        revision: Some(revision),
        digest: request.digest.map(str::to_owned),
        decision: Some(decision),
        actor: Some(actor),
        outcome: heard.as_ref().and_then(|heard| heard.outcome),
        reason: heard.as_ref().and_then(|heard| heard.reason),
        ..Ending::new(cluster, &choice.name, request.verb.as_str(), exit, message)
    };
    terminal.answer(&ending, |ending, _| render::ending(ending))?;
    Ok(exit)
}

/// The revision that is meant: the one that was named, or else the one that the status offers, which is said.
fn choose(
    request: &Request<'_>,
    service: &ShopService,
    terminal: &mut Terminal<'_>,
) -> Result<i64, CommandError> {
    if let Some(revision) = request.revision {
        return Ok(revision);
    }
    let status = service.status.clone().unwrap_or_default();
    let Some((revision, what)) = verdict::offered(request.verb, &status) else {
        let now = verdict::current(service).message;
        return Err(CommandError::NothingOffered { verb: request.verb, service: service.name_any(), now });
    };
    let named = verdict::name(&status, revision);
    terminal.note(&format!("{}: takes {named}, {what}", request.verb.as_str()))?;
    Ok(revision)
}

fn written(request: &Request<'_>, revision: i64, actor: &str) -> ReleaseDecisionSpec {
    ReleaseDecisionSpec {
        digest: request.digest.map(str::to_owned),
        reason: request.choice.reason.clone(),
        to: request.to,
        full: request.full,
        force: request.force,
        ..ReleaseDecisionSpec::new(&request.choice.name, request.verb, revision, actor)
    }
}

fn outcome_of(service: &ShopService, revision: i64) -> Option<shop_crds::status::RevisionOutcome> {
    let revisions = service.status.as_ref().map(|status| &status.revisions)?;
    revisions.iter().find(|state| state.number == revision)?.outcome.clone()
}

/// A decision on its way.
struct Course<'a> {
    cluster: &'a Cluster,
    service: &'a str,
    decision: &'a str,
    followed: &'a Followed,
    /// What the operator said last.
    heard: &'a RefCell<Option<ReleaseDecisionStatus>>,
}

impl Course<'_> {
    /// What the operator says now, or said last: it removes old decisions.
    async fn hear(&self) -> Result<Option<ReleaseDecisionStatus>, ClientError> {
        let found = self.cluster.decision(self.decision).await?.and_then(|decision| decision.status);
        if found.is_some() {
            self.heard.replace(found);
        }
        Ok(self.heard.borrow().clone())
    }

    /// Whether the operator has taken the decision.
    async fn answer(&self) -> Result<Verdict, ClientError> {
        let heard = self.hear().await?;
        let message = heard.as_ref().and_then(|heard| heard.message.clone()).unwrap_or_default();
        match heard.and_then(|heard| heard.outcome) {
            Some(DecisionOutcome::Accepted | DecisionOutcome::Done) => {
                Ok(Verdict { state: State::Done, message })
            }
            Some(DecisionOutcome::Refused) => self.progress().await,
            None => Ok(Verdict {
                state: State::Moving,
                message: "the operator has not taken up the decision yet (kubectl shop doctor tells whether it runs)".to_owned(),
            }),
        }
    }

    /// Where the decision has got to. The decision is read first: the operator writes the service's status before it answers.
    async fn progress(&self) -> Result<Verdict, ClientError> {
        let heard = self.hear().await?;
        let service = self.cluster.service(self.service).await?;
        Ok(verdict::followed(self.followed, heard.as_ref(), &service))
    }
}
