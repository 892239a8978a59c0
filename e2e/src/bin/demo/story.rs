//! What happens in the demo, and the moments that the summary asks about.

use std::{ops::Range, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;
use shop_crds::{Verb, names, status::Phase};
use shop_e2e::{
    load::{Load, View},
    scenario::{PATIENCE, Shop, Spec, outcome_of},
};

use crate::timeline::{Timeline, Who};

const SECOND: u64 = 1_000_000;

/// A move of the users from one version to another. Times are microseconds since the load began.
pub(crate) struct Switch {
    pub(crate) name: &'static str,
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
    /// Its first answer.
    pub(crate) at: u64,
    /// The time in which its answers are looked at.
    pub(crate) within: Range<u64>,
}

/// A rollback.
pub(crate) struct Rollback {
    pub(crate) decided: u64,
    pub(crate) until: u64,
}

/// The moments of the story; what has not happened is absent.
#[derive(Default)]
pub(crate) struct Moments {
    /// Users before anything changed.
    pub(crate) quiet: Option<Range<u64>>,
    pub(crate) switches: Vec<Switch>,
    pub(crate) rollback: Option<Rollback>,
    /// From applying the broken version until it was given up.
    pub(crate) aborted_after: Option<Duration>,
}

/// The story, on a service that is there.
pub(crate) struct Story<'a> {
    pub(crate) shop: &'a Shop,
    pub(crate) timeline: &'a Timeline,
    pub(crate) users: View,
}

/// The service of the demo.
pub(crate) fn spec(tag: u8) -> Spec {
    Spec::new(tag).keep_old("60s").drain("5s")
}

/// Puts version 1 on the stage, fresh, and starts its users.
pub(crate) async fn open(shop: &Shop, timeline: &Timeline, rate: u32) -> Result<Load> {
    shop.delete(PATIENCE).await.context("remove what an earlier demo left")?;
    timeline.say(Who::You, &format!("apply the ShopService {}: version 1, three pods", shop.name));
    shop.apply(&spec(1)).await?;
    shop.wait_stable(1, PATIENCE).await?;
    let load = shop.traffic(rate, PATIENCE).await?;
    timeline
        .say(Who::Users, &format!("{rate} requests a second: HTTP/1 kept and new, HTTP/2, gRPC, WebSocket"));
    Ok(load)
}

impl Story<'_> {
    /// From the first release to the last; the moments are kept however far it comes.
    pub(crate) async fn tell(&self, moments: &mut Moments) -> Result<()> {
        let quiet = self.users.now();
        self.users.until(quiet + 5 * SECOND).await;
        moments.quiet = Some(quiet..self.users.now());
        let revision = self.promote(moments).await.context("release version 2")?;
        self.roll_back(revision, moments).await.context("roll back")?;
        self.retry(revision, moments).await.context("release version 2 again")?;
        self.break_it(moments).await.context("release the broken version 3")?;
        self.users.until(self.users.now() + 2 * SECOND).await;
        Ok(())
    }

    /// Version 2 waits for a decision and gets it.
    async fn promote(&self, moments: &mut Moments) -> Result<i64> {
        self.say("apply version 2, to be promoted by hand");
        self.shop.apply(&spec(2).manual()).await?;
        let waiting = self.shop.wait("a candidate that waits for promotion", PATIENCE, |status| {
            status.phase == Some(Phase::Verifying) && status.candidate.is_some()
        });
        let revision = waiting.await?.candidate.context("a candidate")?.revision;
        let decided = self.users.now();
        self.say(&format!("promote revision {revision}"));
        let why = "demo: version 2 is ready, and may have the users";
        let decision = self.shop.decide_only(Verb::Promote, revision, why).await?;
        self.shop.wait_active(2, PATIENCE).await?;
        let at = self.answers_of("v2", decided).await?;
        self.users.until(at + 3 * SECOND).await;
        let within = decided..self.users.now();
        moments.switches.push(Switch { name: "v1 to v2", old: "v1", new: "v2", at, within });
        let decided = self.shop.decided(&decision, PATIENCE).await?;
        anyhow::ensure!(decided.done(), "the promotion was refused: {:?}", decided.status.message);
        Ok(revision)
    }

    /// Users go back to version 1, which is still warm.
    async fn roll_back(&self, revision: i64, moments: &mut Moments) -> Result<()> {
        let decided = self.users.now();
        self.say(&format!("roll back revision {revision}"));
        let why = "demo: pretend that version 2 has a fault that only users find";
        let decision = self.shop.decide_only(Verb::Rollback, revision, why).await?;
        self.shop.wait_active(1, PATIENCE).await?;
        let at = self.answers_of("v1", decided).await?;
        self.users.until(at.max(decided) + 3 * SECOND).await;
        moments.rollback = Some(Rollback { decided, until: self.users.now() });
        let decided = self.shop.decided(&decision, PATIENCE).await?;
        anyhow::ensure!(decided.done(), "the rollback was refused: {:?}", decided.status.message);
        self.shop.wait_stable(1, PATIENCE).await?;
        Ok(())
    }

    /// Version 2 is given another chance, and gets through by itself.
    async fn retry(&self, revision: i64, moments: &mut Moments) -> Result<()> {
        self.say("promote automatically from now on, and keep the old revision for 3 s only");
        self.shop.merge(&json!({"spec": {"release": {"promote": "automatic", "keepOld": "3s"}}})).await?;
        let decided = self.users.now();
        self.say(&format!("retry revision {revision}"));
        let why = "demo: the fault was elsewhere, version 2 may try again";
        let decision = self.shop.decide_only(Verb::Retry, revision, why).await?;
        self.shop.wait_active(2, PATIENCE).await?;
        let at = self.answers_of("v2", decided).await?;
        self.shop.wait_stable(2, PATIENCE).await?;
        let within = decided..self.users.now();
        moments.switches.push(Switch { name: "v1 to v2 again", old: "v1", new: "v2", at, within });
        let decided = self.shop.decided(&decision, PATIENCE).await?;
        anyhow::ensure!(decided.done(), "the retry was refused: {:?}", decided.status.message);
        Ok(())
    }

    /// Version 3 exits as soon as it starts; nobody has to do anything.
    async fn break_it(&self, moments: &mut Moments) -> Result<()> {
        let before = self.shop.status().await?.last_revision;
        let applied = self.users.now();
        self.say("apply version 3, which crashes when it starts");
        let broken = spec(3).keep_old("3s").automatic().progress_deadline("60s").fault("crash-at-start");
        self.shop.apply(&broken).await?;
        let ended = self.shop.wait("the broken revision given up", PATIENCE, |status| {
            let stable = status.phase == Some(Phase::Stable) && status.candidate.is_none();
            stable && status.last_revision > before && outcome_of(status, status.last_revision).is_some()
        });
        let status = ended.await?;
        moments.aborted_after = Some(Duration::from_micros(self.users.now() - applied));
        if let Some(outcome) = outcome_of(&status, status.last_revision) {
            let name = names::revision(&self.shop.name, status.last_revision);
            let text = format!("{name} was given up, {}: {}", outcome.reason.as_str(), outcome.message);
            self.timeline.say(Who::Operator, &text);
        }
        Ok(())
    }

    async fn answers_of(&self, version: &str, since: u64) -> Result<u64> {
        let first = self.users.first_answer(version, since, PATIENCE).await;
        first.with_context(|| format!("no user got an answer of {version}"))
    }

    fn say(&self, text: &str) {
        self.timeline.say(Who::You, text);
    }
}
