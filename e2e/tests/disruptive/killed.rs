//! The operator is killed in each phase of a release, and started again: the release converges, and no request fails.

use std::pin::pin;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    api::{WatchEvent, WatchParams},
};
use serde_json::json;
use shop_crds::{ShopService, Verb, status::Phase};
use shop_e2e::{
    cluster::Part,
    harness::{Session, test},
    scenario::{Operator, PATIENCE, Shop, Spec},
};

use super::stable;

#[test]
fn an_operator_killed_in_each_phase_goes_on_where_it_was() {
    test("an_operator_killed_in_each_phase_goes_on_where_it_was", async |session| {
        let client = session.client();
        super::scale_operator(&client, 1).await?;
        let shop = super::shop(session).await?;
        // The candidate has all its pods before it is decided about: nothing is scaled where the cluster is held still.
        let preview = json!({"release": {"preview": {"replicas": 2}}});
        // Two images take turns: none of them returns without being decided about.
        let decided = json!({"release": {"rollbackWindow": 0}});
        let spec = Spec::new(1).replicas(2).keep_old("3s").drain("5s").manual().patch(decided);
        shop.apply(&spec).await?;
        stable(&shop, 1).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        let mut tag = 1;
        let phases = [
            Phase::Preparing,
            Phase::Verifying,
            Phase::Scaling,
            Phase::Shifting,
            Phase::Switching,
            Phase::Watching,
            Phase::Draining,
        ];
        for phase in phases {
            tag = 3 - tag;
            let spec = spec.clone().tag(tag);
            let spec = if phase == Phase::Switching { spec.patch(preview.clone()) } else { spec };
            let died = killed_in(session, &shop, &spec, phase).await;
            let died = died.with_context(|| format!("the operator was to be killed in {phase:?}"))?;
            eprintln!("killed in {died:?} (meant: {phase:?})");
            // Others last too short to be hit for certain.
            if matches!(phase, Phase::Preparing | Phase::Verifying | Phase::Switching | Phase::Watching) {
                ensure!(died == phase, "it died in {died:?} and not in {phase:?}");
            }
        }
        killed_in_abort(&shop, &spec.clone().tag(3).fault("not-ready")).await?;
        super::without_failure(load).await?;
        Ok(())
    });
}

/// Releases the spec with the operator killed in that phase; says in which one it died.
async fn killed_in(session: &Session, shop: &Shop, spec: &Spec, phase: Phase) -> Result<Phase> {
    let operator = Operator::find(&shop.client).await?;
    let killed = release_until_killed(session, shop, spec, phase, &operator).await;
    if phase == Phase::Switching {
        session.blocking(|cluster| cluster.thaw(Part::ControllerManager)).await?;
    }
    let (died, candidate) = killed?;
    operator.replace(&shop.client).await?;
    Operator::find(&shop.client).await?;
    if matches!(phase, Phase::Preparing | Phase::Verifying) {
        shop.carry_out(Verb::Promote, candidate, "test: go on", PATIENCE).await?;
    }
    let status = shop.status().await?;
    let image = status.revisions.iter().find(|revision| revision.number == candidate);
    let tag = image.and_then(|revision| revision.image.rsplit(':').next()?.parse().ok());
    stable(shop, tag.context("the candidate is gone from the status")?).await?;
    Ok(died)
}

/// Applies the spec, promotes the candidate when the phase comes later, and kills the operator when it is seen.
async fn release_until_killed(
    session: &Session,
    shop: &Shop,
    spec: &Spec,
    phase: Phase,
    operator: &Operator,
) -> Result<(Phase, i64)> {
    let seen = Watch::begin(shop).await?;
    shop.apply(spec).await?;
    let waiting = shop.wait("a candidate", PATIENCE, |status| status.candidate.is_some());
    if phase == Phase::Preparing {
        seen.until(phase).await?;
        operator.kill()?;
    } else {
        waiting.await?;
        let verifying = |status: &shop_crds::ShopServiceStatus| status.phase == Some(Phase::Verifying);
        let status = shop.wait("a candidate to decide about", PATIENCE, verifying).await?;
        let candidate = status.candidate.context("a candidate is verified")?.revision;
        if phase == Phase::Switching {
            // EndpointSlices do not follow, so that the phase lasts.
            session.blocking(|cluster| cluster.freeze(Part::ControllerManager)).await?;
        }
        if phase != Phase::Verifying {
            shop.decide_only(Verb::Promote, candidate, "test: go on").await?;
            seen.until(phase).await?;
        }
        operator.kill()?;
    }
    let status = shop.status().await?;
    let number =
        status.candidate.as_ref().or(status.active.as_ref()).context("nothing is released")?.revision;
    Ok((status.phase.unwrap_or_default(), number))
}

/// The same for an abort.
async fn killed_in_abort(shop: &Shop, spec: &Spec) -> Result<()> {
    let operator = Operator::find(&shop.client).await?;
    let before = shop.status().await?.active.context("users are somewhere")?.revision;
    shop.apply(spec).await?;
    let status = shop.wait("a candidate", PATIENCE, |status| status.candidate.is_some()).await?;
    let candidate = status.candidate.context("it has just been seen")?.revision;
    let decision = shop.decide_only(Verb::Abort, candidate, "test: it never gets ready").await?;
    operator.kill()?;
    operator.replace(&shop.client).await?;
    let decided = shop.decided(&decision, super::LONG).await?;
    ensure!(decided.done(), "the abort ended as {:?}", decided.status);
    shop.wait_no_pods(candidate, super::LONG).await?;
    let after = shop.status().await?.active.context("users are somewhere")?.revision;
    ensure!(after == before, "users are with revision {after}");
    Ok(())
}

/// A watch on the service that has begun: nothing that happens from here on is missed.
struct Watch {
    shop: Shop,
    from: String,
}

impl Watch {
    async fn begin(shop: &Shop) -> Result<Self> {
        Ok(Self {
            shop: shop.clone(),
            from: shop.get().await?.resource_version().context("it has a version")?,
        })
    }

    /// Waits until the status shows the phase.
    async fn until(&self, phase: Phase) -> Result<()> {
        let services = self.shop.api::<ShopService>();
        let only = WatchParams::default().fields(&format!("metadata.name={}", self.shop.name));
        let look = async {
            let mut events = pin!(services.watch(&only, &self.from).await?);
            while let Some(event) = events.next().await {
                let (WatchEvent::Added(service) | WatchEvent::Modified(service)) = event? else { continue };
                if service.status.is_some_and(|status| status.phase == Some(phase)) {
                    return Ok(());
                }
            }
            bail!("the watch ended")
        };
        tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("{phase:?} was not seen"))?
    }
}
