//! What shall be in the cluster in each phase: a function of the status alone, but for the moments at which something may shrink
//! or be pointed elsewhere.

use shop_crds::{
    names::ADOPTED,
    status::{Phase, ReleaseState},
};

use crate::{
    abort, canary,
    document::{HandOff, Mirror, Role},
    gates, kept, phases, recreate,
    view::{Draft, View, active},
    write::{MaxUnavailable, ServiceKind},
};

/// What shall be.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    /// Revisions that run, in the order in which their sidecars are told: the gaining one first.
    pub(crate) revisions: Vec<Wanted>,
    /// The revision that each Service shall select; one that is not named is left as it is.
    pub(crate) services: Vec<(ServiceKind, i64)>,
}

/// What a revision shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) revision: i64,
    pub(crate) replicas: i32,
    pub(crate) role: Role,
    pub(crate) hand_off: Option<HandOff>,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) budget: Option<MaxUnavailable>,
    /// Whether its sidecars' document is written; otherwise it stays as it is.
    pub(crate) told: bool,
    /// Whether its pods are told again until they have acknowledged.
    pub(crate) pushed: bool,
}

impl Wanted {
    pub(crate) fn new(revision: i64, role: Role, replicas: i32) -> Self {
        let budget = (replicas > 0).then(|| MaxUnavailable::of(replicas));
        Self { revision, replicas, role, hand_off: None, mirror: None, budget, told: true, pushed: false }
    }

    /// Every request.
    fn handing(self, to_revision: i64, fallback: ServiceKind, may_serve_locally: bool) -> Self {
        let hand_off = Some(HandOff::of(10_000, to_revision, fallback, may_serve_locally));
        Self { hand_off, ..self.pushed() }
    }

    pub(crate) fn pushed(mut self) -> Self {
        self.pushed = true;
        self
    }

    fn without_budget(mut self) -> Self {
        self.budget = None;
        self
    }

    /// An adopted revision has no sidecars: they are told nothing, and nothing is handed over to it. Its pods may have a budget of
    /// their own, and two on one pod stop every eviction.
    fn without_missing_sidecars(&mut self) {
        if self.hand_off.as_ref().is_some_and(|hand_off| hand_off.to_revision == ADOPTED) {
            self.hand_off = None;
        }
        if self.mirror.as_ref().is_some_and(|mirror| mirror.to_revision == ADOPTED) {
            self.mirror = None;
        }
        if self.revision == ADOPTED {
            (self.told, self.pushed, self.budget) = (false, false, None);
            (self.hand_off, self.mirror) = (None, None);
        }
    }

    /// Scaled to zero: nothing else about it changes any more.
    pub(crate) fn gone(revision: i64, role: Role) -> Self {
        Self { told: false, ..Self::new(revision, role, 0) }
    }
}

/// What shall be in this phase.
pub(crate) fn of(view: &View<'_>, draft: &mut Draft) -> Desired {
    let mut desired = match draft.release().cloned() {
        Some(release) => match release.from {
            Some(from) if release.recreate && release.aborting.is_some() => {
                recreate::aborting(view, draft, &release, from)
            }
            Some(from) if release.recreate => recreate::releasing(view, draft, &release, from),
            Some(from) if release.aborting.is_some() => aborting(view, draft, &release, from),
            Some(from) => releasing(view, draft, &release, from),
            None if !gates::jobs::may_start(view, &draft.status, &release) => {
                let mut first = serving(view, draft, release.to);
                first.revisions = vec![Wanted::new(release.to, Role::Active, 0)];
                first
            }
            None => serving(view, draft, release.to),
        },
        None => active(&draft.status).map_or_else(Desired::default, |active| serving(view, draft, active)),
    };
    // Whatever else runs is a leftover of a release that ended while its last writes were lost.
    let known = |revision: i64| desired.revisions.iter().any(|wanted| wanted.revision == revision);
    let leftovers: Vec<Wanted> = view
        .observed
        .deployments
        .iter()
        .filter(|deployment| {
            // A higher number than the last one given is not ours to judge.
            !known(deployment.revision) && deployment.revision <= draft.status.last_revision
        })
        .map(|deployment| Wanted::gone(deployment.revision, deployment.role.unwrap_or(Role::Retiring)))
        .collect();
    desired.revisions.extend(leftovers);
    desired.revisions.iter_mut().for_each(Wanted::without_missing_sidecars);
    for wanted in &mut desired.revisions {
        // Who has nobody to take the requests gets none; the way back is the same as that of an abort.
        wanted.hand_off.take_if(|hand_off| !view.takes(&draft.status, hand_off.to_revision));
    }
    desired
}

/// The size that the revision has; what somebody else made of it is no wish of ours, and is put back to the full one.
pub(crate) fn standing(view: &View<'_>, revision: i64, without: i32) -> i32 {
    view.deployment(revision).map_or(without, |deployment| {
        if deployment.drifted { view.subject.replicas() } else { deployment.replicas }
    })
}

/// One revision, for everybody.
fn serving(view: &View<'_>, draft: &Draft, revision: i64) -> Desired {
    Desired {
        revisions: vec![Wanted::new(revision, Role::Active, kept::size(view, draft, revision))],
        services: ServiceKind::ALL.map(|kind| (kind, revision)).to_vec(),
    }
}

fn releasing(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, from: i64) -> Desired {
    let to = release.to;
    let kept = kept::size(view, draft, from);
    let old = Wanted::new(from, Role::Active, kept);
    let new = Wanted::new(to, Role::Candidate, kept::size(view, draft, to)).pushed();
    let grown = || Wanted::new(to, Role::Candidate, canary::size(view, release)).pushed();
    let here = |users: i64| {
        vec![(ServiceKind::Users, users), (ServiceKind::Pods, users), (ServiceKind::Preview, to)]
    };
    match draft.phase() {
        Phase::Preparing | Phase::Verifying => {
            let size = phases::early_size(view, &draft.status, release);
            let preview = Wanted { pushed: false, ..Wanted::new(to, Role::Candidate, size).without_budget() };
            let mirror = canary::mirror(view, release).filter(|_| draft.phase() == Phase::Verifying);
            let old = Wanted { pushed: mirror.is_some(), mirror, ..old };
            Desired { revisions: vec![preview, old], services: here(from) }
        }
        Phase::Scaling => Desired { revisions: vec![grown(), old], services: here(from) },
        Phase::Shifting => {
            let old = Wanted { hand_off: canary::hand_off(view, draft, release), ..old.pushed() };
            Desired { revisions: vec![grown(), old], services: here(from) }
        }
        Phase::Switching => {
            // Once the users' Service is there, the others follow whatever happens.
            let there = view.select(&[ServiceKind::Users], to);
            let hands = match canary::hand_off(view, draft, release) {
                _ if there => old.handing(to, ServiceKind::Preview, true),
                hand_off => Wanted { hand_off, ..old.pushed() },
            };
            let may = there
                || (!release.held
                    && release.paused.is_none()
                    && view.enough_forward(&draft.status, Some(from), to));
            Desired { revisions: vec![new, hands], services: here(if may { to } else { from }) }
        }
        Phase::Watching => {
            let warm = standing(view, from, kept);
            let size = if release.succeeded.is_some() { warm } else { kept };
            let old = Wanted::new(from, Role::Retiring, size).handing(to, ServiceKind::Users, false);
            let new = Wanted { role: Role::Active, ..new };
            Desired { revisions: vec![new, old], services: here(to) }
        }
        _ => {
            let new = Wanted { role: Role::Active, ..new };
            let warm = standing(view, from, 0);
            let old = if warm == 0 || phases::may_shrink_old(view, draft) {
                Wanted::gone(from, Role::Retiring)
            } else {
                Wanted::new(from, Role::Retiring, warm).handing(to, ServiceKind::Users, false)
            };
            Desired { revisions: vec![new, old], services: here(to) }
        }
    }
}

fn aborting(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, from: i64) -> Desired {
    let to = release.to;
    let traffic = release.aborting.as_ref().is_some_and(|abort| abort.traffic);
    let back = release.aborting.as_ref().is_some_and(|abort| abort.back_since.is_some());
    let stable = Wanted::new(from, Role::Active, kept::size(view, draft, from));
    let stays = standing(view, to, 0);
    let left = Wanted::new(to, Role::Retiring, stays).handing(from, ServiceKind::Users, true);
    let to_stable = || ServiceKind::ALL.map(|kind| (kind, from)).to_vec();
    if !traffic || (back && abort::may_shrink(view, draft)) {
        return Desired { revisions: vec![stable, Wanted::gone(to, Role::Retiring)], services: to_stable() };
    }
    if !back && !abort::may_move(view, draft) {
        // No traffic moves while there is nowhere to go: only the stable revision's pods are seen to.
        let role = |revision| view.deployment(revision).and_then(|deployment| deployment.role);
        let still = |wanted: Wanted, role: Option<Role>| Wanted {
            told: false,
            role: role.unwrap_or(wanted.role),
            hand_off: None,
            ..wanted
        };
        // Both may stand at zero, when pods are wanted again: those who have the users get theirs too.
        let size = if stays == 0 { kept::size(view, draft, to) } else { stays };
        let left = Wanted::new(to, Role::Retiring, size);
        let revisions = vec![still(stable, role(from)), still(left, role(to))];
        return Desired { revisions, services: Vec::new() };
    }
    let services = if back || abort::may_point(view, draft) { to_stable() } else { Vec::new() };
    Desired { revisions: vec![stable.pushed(), left], services }
}
