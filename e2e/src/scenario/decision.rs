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
        self.carry_out_as(self.decision(verb, revision, why), within).await
    }

    /// [`Self::carry_out`], with everything that a decision can say.
    pub async fn carry_out_as(&self, spec: ReleaseDecisionSpec, within: Duration) -> Result<()> {
        let (verb, revision) = (spec.verb.as_str(), spec.revision);
        let decided = self.decided(&self.write_down(spec).await?, within).await?;
        if !decided.done() {
            let message = decided.status.message.unwrap_or_default();
            bail!("{verb} of revision {revision} of {} was refused: {message}", self.name);
        }
        Ok(())
    }

    /// A decision of whoever runs this.
    pub fn decision(&self, verb: Verb, revision: i64, why: &str) -> ReleaseDecisionSpec {
        ReleaseDecisionSpec {
            reason: Some(why.to_owned()),
            ..ReleaseDecisionSpec::new(&self.name, verb, revision, &self.actor)
        }
    }

    /// Writes down a decision; says its name.
    pub async fn decide_only(&self, verb: Verb, revision: i64, why: &str) -> Result<String> {
        self.write_down(self.decision(verb, revision, why)).await
    }

    async fn write_down(&self, spec: ReleaseDecisionSpec) -> Result<String> {
        let (verb, revision) = (spec.verb.as_str(), spec.revision);
        let mut decision = ReleaseDecision::new("", spec);
        decision.metadata.name = None;
        decision.metadata.generate_name = Some(format!("{}-r{revision}-{verb}-", self.name));
        let created = self.api::<ReleaseDecision>().create(&PostParams::default(), &decision).await;
        let created =
            created.with_context(|| format!("decide to {verb} revision {revision} of {}", self.name))?;
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
