//! Deciding about a release.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::api::PostParams;
use shop_crds::{DecisionOutcome, ReleaseDecision, ReleaseDecisionSpec, ReleaseDecisionStatus, Verb};
use tokio::time::sleep;

use super::{LOOK, Shop};

/// What became of a decision.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The decision's name.
    pub name: String,
    /// Its status at the end.
    pub status: ReleaseDecisionStatus,
}

impl Decided {
    /// Whether it was carried out.
    pub fn done(&self) -> bool {
        self.status.outcome == Some(DecisionOutcome::Done)
    }
}

impl Shop {
    /// Writes down a decision, and waits until it is done or refused.
    pub async fn decide(&self, verb: Verb, revision: i64, why: &str, within: Duration) -> Result<Decided> {
        let name = self.decide_only(verb, revision, why).await?;
        self.decided(&name, within).await
    }

    /// [`Self::decide`], where a refusal is an error.
    pub async fn carry_out(&self, verb: Verb, revision: i64, why: &str, within: Duration) -> Result<()> {
        let decided = self.decide(verb, revision, why, within).await?;
        if !decided.done() {
            let message = decided.status.message.unwrap_or_default();
            bail!("{} of revision {revision} of {} was refused: {message}", verb.as_str(), self.name);
        }
        Ok(())
    }

    /// Writes down a decision; says its name.
    pub async fn decide_only(&self, verb: Verb, revision: i64, why: &str) -> Result<String> {
        let spec = ReleaseDecisionSpec {
            reason: Some(why.to_owned()),
            ..ReleaseDecisionSpec::new(&self.name, verb, revision, &self.actor)
        };
        let mut decision = ReleaseDecision::new("", spec);
        decision.metadata.name = None;
        decision.metadata.generate_name = Some(format!("{}-r{revision}-{}-", self.name, verb.as_str()));
        let created = self.api::<ReleaseDecision>().create(&PostParams::default(), &decision).await;
        let created = created
            .with_context(|| format!("decide to {} revision {revision} of {}", verb.as_str(), self.name))?;
        created.metadata.name.context("the API server gave the decision no name")
    }

    /// Waits until a decision is done or refused.
    pub async fn decided(&self, name: &str, within: Duration) -> Result<Decided> {
        let deadline = Instant::now() + within;
        loop {
            let decision = self.api::<ReleaseDecision>().get(name).await;
            let status =
                decision.as_ref().ok().and_then(|decision| decision.status.clone()).unwrap_or_default();
            if matches!(status.outcome, Some(DecisionOutcome::Done | DecisionOutcome::Refused)) {
                return Ok(Decided { name: name.to_owned(), status });
            }
            if Instant::now() >= deadline {
                let error = decision.err().map(|error| format!(" ({error})")).unwrap_or_default();
                bail!(
                    "the decision {name} has no end after {} s: {:?} {}{error}",
                    within.as_secs(),
                    status.outcome,
                    status.message.unwrap_or_default()
                );
            }
            sleep(LOOK).await;
        }
    }
}
