//! A status that is lost is made anew from what is in the cluster, when that agrees with itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shop_crds::{
    Reason, ShopServiceStatus,
    status::{Phase, ReleaseState, RevisionState},
};

use crate::{
    document::Role,
    gates,
    observed::Deployment,
    recreate,
    view::{Draft, View},
    write::ServiceKind,
};

/// Whether there is no status although there are revisions.
pub(crate) fn needed(view: &View<'_>, status: &ShopServiceStatus) -> bool {
    let observed = view.observed;
    status.last_revision == 0
        && status.revisions.is_empty()
        && !(observed.revisions.is_empty() && observed.deployments.is_empty())
}

/// Makes the status anew; `Err` says what does not agree, and then nothing may move.
pub(crate) fn rebuild(view: &View<'_>, draft: &mut Draft) -> Result<(), String> {
    let observed = view.observed;
    let users = view.service(ServiceKind::Users).and_then(|service| service.selects);
    let active = users.ok_or("the users' Service does not exist, or selects no revision")?;
    if view.stored(active).is_none() {
        return Err(format!(
            "the ControllerRevision of revision {active}, which the users' Service selects, does not exist"
        ));
    }
    let deployment = view
        .deployment(active)
        .ok_or_else(|| format!("the Deployment of revision {active}, which users have, does not exist"))?;
    let mut others =
        observed.deployments.iter().filter(|other| other.revision != active && other.replicas > 0);
    let (other, more) = (others.next(), others.next());
    if more.is_some() {
        return Err("more than two revisions run".to_owned());
    }
    if other.is_some_and(|other| view.stored(other.revision).is_none()) {
        return Err("a Deployment runs whose ControllerRevision does not exist".to_owned());
    }
    let release = match other {
        Some(other) => Some(release(view, deployment, other)?),
        None => None,
    };
    let status = &mut draft.status;
    *status =
        ShopServiceStatus { observed_generation: status.observed_generation, ..ShopServiceStatus::default() };
    status.revisions = revisions(view, active);
    status.last_revision = last_number(view);
    status.role_epoch = role_epoch(view);
    let stable = release.as_ref().filter(|release| release.to == active).and_then(|release| release.from);
    let candidate = release.as_ref().map(|release| release.to);
    status.phase = Some(match &release {
        None => Phase::Stable,
        Some(release) if release.to == active => Phase::Watching,
        Some(release) if release.recreate => Phase::Scaling,
        Some(_) => Phase::Preparing,
    });
    status.release = release;
    draft.status.active = Some(draft.named(active));
    draft.status.stable = Some(draft.named(stable.unwrap_or(active)));
    draft.status.candidate = candidate.map(|candidate| draft.named(candidate));
    draft.tell(
        true,
        Reason::StateRebuilt,
        format!("the status was lost and made anew: users have revision {active}"),
    );
    Ok(())
}

/// The release that two running revisions amount to, by their roles.
fn release(view: &View<'_>, active: &Deployment, other: &Deployment) -> Result<ReleaseState, String> {
    let after_switch = match (active.role, other.role) {
        (Some(Role::Active), Some(Role::Candidate)) => false,
        // The Services moved, the annotations have not yet; or both have.
        (Some(Role::Candidate), Some(Role::Active)) | (Some(Role::Active), Some(Role::Retiring)) => true,
        (left, right) => {
            let word = |role: Option<Role>| role.map_or("none", Role::as_str);
            return Err(format!(
                "users have revision {}, whose role is {}, and revision {} runs too, whose role is {}",
                active.revision,
                word(left),
                other.revision,
                word(right)
            ));
        }
    };
    let (from, to) =
        if after_switch { (other.revision, active.revision) } else { (active.revision, other.revision) };
    Ok(ReleaseState {
        waiting_since: (!after_switch).then(|| view.micro()),
        promoted_by: after_switch.then(|| "before the status was lost".to_owned()),
        // What the strategy was is lost; with the old revision stopped it can only have been this one.
        recreate: !after_switch && active.replicas == 0 && recreate::wanted(view, Some(from)),
        healthy_since: after_switch.then(|| view.micro()),
        ..ReleaseState::begun(Some(from), to, &view.micro())
    })
}

fn revisions(view: &View<'_>, active: i64) -> Vec<RevisionState> {
    let mut states: Vec<RevisionState> = view
        .observed
        .revisions
        .iter()
        .map(|stored| {
            let deployment = view.deployment(stored.number);
            let config = view.config(stored.number);
            let colour = deployment.and_then(|deployment| deployment.colour);
            let role = deployment.and_then(|deployment| deployment.role);
            let (expanded, contract) = gates::jobs::found(view, stored.number);
            RevisionState {
                number: stored.number,
                hash: stored.facts.hash.clone(),
                image: stored.facts.image.clone(),
                digest: None,
                colour: colour.or_else(|| Some(config?.document.as_ref()?.colour)).unwrap_or_default(),
                created: MicroTime(crate::view::to_micros(stored.created)),
                outcome: None,
                // Only the revision that users have is known to serve; others need their verification again.
                proven: stored.number == active && role == Some(Role::Active),
                barred: false,
                restarts: stored.restarts.iter().map(|one| one.ordinal).max().unwrap_or(0),
                generation: config.map_or(0, |config| config.generation),
                expanded,
                contract,
            }
        })
        .collect();
    states.sort_by_key(|state| state.number);
    states
}

fn last_number(view: &View<'_>) -> i64 {
    let observed = view.observed;
    let stored = observed.revisions.iter().map(|one| one.number);
    let others = observed
        .deployments
        .iter()
        .map(|one| one.revision)
        .chain(observed.configs.iter().map(|one| one.revision));
    let named = observed.decisions.iter().filter(|one| one.status.is_some()).map(|one| one.spec.revision);
    stored.chain(others).chain(named).max().unwrap_or(0)
}

fn role_epoch(view: &View<'_>) -> i64 {
    let configs =
        view.observed.configs.iter().filter_map(|config| Some(config.document.as_ref()?.role_epoch));
    let told =
        view.observed.pods.iter().filter_map(|pod| Some(pod.sidecar.acknowledged.as_ref()?.role_epoch));
    // One more: a promotion may have been under way that reached nobody.
    configs.chain(told).max().unwrap_or(0) + 1
}
