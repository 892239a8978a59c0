//! What a plan that was carried out has left behind: users with a revision that has pods, and back where the way was open.

use jiff::{SignedDuration, Timestamp};
use shop_crds::{ShopServiceStatus, status::Phase};
use shop_release::ServiceKind;

use super::Doing;
use crate::world::{
    World,
    check::{Holds, Invariant, Sight, holds},
};

/// Whether users are to go back, and can.
pub(super) fn way_back_is_open(status: &ShopServiceStatus, sight: &Sight, now: Timestamp) -> bool {
    let Some(release) = &status.release else { return false };
    let (Some(from), Some(abort)) = (release.from, &release.aborting) else { return false };
    let patient = abort.since.0 + SignedDuration::from_millis(500) <= now;
    status.phase == Some(Phase::Aborting)
        && abort.traffic
        && patient
        && sight.wanted > 0
        && sight.size(from) > 0
        && sight.enough(release.to, from, true)
}

/// A plan that was made from the present, with an open way back, and carried out whole, has brought the users back.
pub(super) fn returned(world: &World, doing: &Doing) -> Holds {
    if !doing.open {
        return Ok(());
    }
    let Some(from) = world.status.release.as_ref().and_then(|release| release.from) else { return Ok(()) };
    let there =
        |kind| world.observed.services.get(&kind).is_some_and(|one| one.selects == Some(from) || one.drifted);
    holds(there(ServiceKind::Users) && there(ServiceKind::Pods), Invariant::WayBack, || {
        format!("users are not back at revision {from} although it is ready: {}", world.describe())
    })
}

/// A plan that was made from the present, and carried out whole, has left no users with a revision that is scaled to zero,
/// whoever scaled it.
pub(super) fn served(world: &World, doing: &Doing) -> Holds {
    let (selects, runs, drifted) = users(world);
    let release = world.status.release.as_ref();
    // The first revision starts after its Job, and what cannot run twice is stopped while it has the users.
    let stops = release.is_some_and(|release| release.recreate || release.from.is_none());
    let obstructed = !world.observed.refused.is_empty() || !world.observed.taken.is_empty();
    let sight = &doing.sight;
    // What has changed since is the next plan's to see to.
    let known = doing.fresh && !sight.replaced && sight.wanted == world.subject.spec.replicas;
    let emptied = known && sight.wanted > 0 && selects.is_some_and(|revision| sight.size(revision) == 0);
    let may = !emptied || stops || obstructed || drifted;
    holds(may || runs, Invariant::InUse, || {
        format!("users stay with revision {selects:?}, which is scaled to zero: {}", world.describe())
    })
}

/// What the users' Service selects, whether that has pods to be, by the Deployment, and whether a stranger says so.
pub(super) fn users(world: &World) -> (Option<i64>, bool, bool) {
    let observed = &world.observed;
    let service = observed.services.get(&ServiceKind::Users).filter(|one| !one.drifted);
    let selects = service.and_then(|one| one.selects);
    let of = |revision| observed.deployments.iter().find(|one| Some(one.revision) == revision);
    (selects, of(selects).is_some_and(|one| one.replicas > 0), of(selects).is_some_and(|one| one.drifted))
}

/// A write of ours takes no pods from the users, and sends them to no revision that is scaled to zero.
pub(super) fn never_emptied(world: &World, doing: &Doing, before: (Option<i64>, bool)) -> Holds {
    // What cannot run twice is stopped while it has the users.
    if world.status.release.as_ref().is_some_and(|release| release.recreate) {
        return Ok(());
    }
    let after = users(world);
    holds(!before.1 || after.1 || after.2 || doing.sight.wanted == 0, Invariant::InUse, || {
        format!("users had {before:?}, and now {after:?}: {}", world.describe())
    })
}
