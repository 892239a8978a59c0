//! The last look at the writes: whatever led to a write that would harm users, it is not made.

use std::collections::BTreeMap;

use shop_crds::{Reason, names};

use crate::{
    canary, handoff, recreate,
    view::{Draft, View},
    write::{ObjectKind, ServiceKind, Write},
};

/// What the writes so far make of the cluster.
struct Projection {
    selects: BTreeMap<ServiceKind, i64>,
    /// Of revisions with pods: where their sidecars hand requests over to, and how many of 10,000.
    hands_to: BTreeMap<i64, (i64, u32)>,
    replicas: BTreeMap<i64, i32>,
}

/// Keeps the writes up to the first that would harm users, and tells about it. Of those after it only sizes, answers,
/// questions and Jobs are kept: pods that were lost come back although Services cannot be pointed at them yet, and what nobody uses goes.
pub(crate) fn filter(view: &View<'_>, draft: &mut Draft, writes: Vec<Write>) -> Vec<Write> {
    let mut projection = Projection::new(view);
    let mut kept = Vec::with_capacity(writes.len());
    let mut withheld = false;
    for write in writes {
        if withheld && !Projection::stands_alone(&write) {
            continue;
        }
        if let Some(why) = projection.harm(view, draft, &write) {
            draft.tell(true, Reason::WriteWithheld, why);
            draft.wake(crate::view::after(view.now, std::time::Duration::from_secs(1)));
            withheld = true;
            continue;
        }
        projection.apply(&write);
        kept.push(write);
    }
    kept
}

impl Projection {
    fn new(view: &View<'_>) -> Self {
        let observed = view.observed;
        let selects =
            observed.services.iter().filter_map(|(kind, service)| Some((*kind, service.selects?))).collect();
        let replicas: BTreeMap<i64, i32> =
            observed.deployments.iter().map(|one| (one.revision, one.replicas)).collect();
        let hands_to = observed.configs.iter().filter_map(|config| {
            let to = config.document.as_ref()?.hand_off.as_ref()?;
            Some((config.revision, (to.to_revision, to.share)))
        });
        Self { selects, hands_to: hands_to.collect(), replicas }
    }

    /// Whether the write can be made although one before it was withheld: only its own harm counts.
    fn stands_alone(write: &Write) -> bool {
        matches!(
            write,
            Write::CreateRevision { .. }
                | Write::CreateSnapshot { .. }
                | Write::CreateAccount
                | Write::CreateKeys { .. }
                | Write::CopyTokenKeys { .. }
                | Write::IssueCertificate
                | Write::CopyRoots { .. }
                | Write::WriteNetworkPolicy { .. }
                | Write::WriteDeployment { .. }
                | Write::WriteBudget { .. }
                | Write::WriteDecision { .. }
                | Write::Ask(_)
                | Write::CreateJob { .. }
        )
    }

    fn harm(&self, view: &View<'_>, draft: &Draft, write: &Write) -> Option<String> {
        match write {
            Write::WriteService { service: ServiceKind::Preview, .. } => None,
            Write::WriteService { service, selects, .. } => {
                let now = self.selects.get(&ServiceKind::Users).copied();
                let moves = self.selects.get(service).is_some_and(|now| now != selects) && now.is_some();
                let from = now.filter(|now| moves && now != selects)?;
                let empty = self.replicas.get(&from).is_none_or(|replicas| *replicas == 0);
                if empty && !view.pods(from).any(|pod| pod.ready && !pod.terminating) {
                    // Who has a revision without pods loses nothing.
                    return None;
                }
                if self.emptied(view, *selects) {
                    return Some(format!("revision {selects} is scaled to zero"));
                }
                let back = draft.release().is_some_and(|release| release.aborting.is_some());
                let enough = if recreate::may_return(view, draft, *selects) {
                    true
                } else if back {
                    view.enough_back(&draft.status, from, *selects)
                } else {
                    view.enough_forward(&draft.status, Some(from), *selects)
                };
                (!enough).then(|| {
                    format!("revision {selects} has too few ready pods for the users of revision {from}")
                })
            }
            Write::WriteConfig { document, .. } => {
                let hand_off = document.hand_off.as_ref()?;
                let (to, share) = (hand_off.to_revision, hand_off.share);
                let known = self.hands_to.get(&document.revision);
                let rises = known.is_none_or(|(known, had)| *known != to || *had < share);
                let any = view.takes(&draft.status, to) || self.selects_users(to);
                let forward = draft.release().filter(|release| {
                    release.to == to && release.aborting.is_none() && hand_off.may_serve_locally
                });
                let able = forward.is_none_or(|release| {
                    canary::capable(view, draft, release, i64::from(share))
                        && handoff::known(view, &draft.status, to)
                });
                (!any || rises && (!able || self.emptied(view, to)))
                    .then(|| format!("revision {to} has too few ready pods to hand requests over to"))
            }
            Write::WriteDeployment { revision, replicas, .. } => {
                let lowers = self.replicas.get(revision).is_some_and(|now| replicas < now);
                // As many as the user wants are enough for any revision, and any number for one that is only looked at.
                let wish =
                    *replicas >= view.subject.replicas() || (*replicas > 0 && self.only_previewed(*revision));
                let wish = wish || *replicas == 0 && recreate::may_stop(draft, *revision);
                if let Some(why) = self.twice(view, draft, *revision, *replicas) {
                    return Some(why);
                }
                (lowers && !wish).then(|| self.used(*revision)).flatten()
            }
            Write::Delete { object, .. } => self.harm_of_delete(view, object.kind, &object.name),
            _ => None,
        }
    }

    fn harm_of_delete(&self, view: &View<'_>, kind: ObjectKind, name: &str) -> Option<String> {
        let service = &view.subject.name;
        if matches!(kind, ObjectKind::ReleaseDecision | ObjectKind::Job | ObjectKind::PodDisruptionBudget) {
            let lives = |revision: &i64| {
                names::revision(service, *revision) == name && kind == ObjectKind::PodDisruptionBudget
            };
            let running = self.replicas.iter().find(|(revision, replicas)| lives(revision) && **replicas > 0);
            return running.map(|(revision, _)| format!("revision {revision} still runs"));
        }
        if kind == ObjectKind::Service {
            return Some(format!("Service {name} is never deleted"));
        }
        let rest = name.strip_prefix(service.as_str()).and_then(|rest| rest.strip_prefix("-r"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let revision: i64 = digits.parse().ok()?;
        let running = self.replicas.get(&revision).is_some_and(|replicas| *replicas > 0);
        if let Some(ordinal) = restart_of(kind, rest) {
            let used = running && view.deployment(revision).is_some_and(|one| one.restart == ordinal);
            return used.then(|| format!("revision {revision} runs as restart {ordinal} made it"));
        }
        if running {
            return Some(format!("revision {revision} still runs"));
        }
        if view.pods(revision).next().is_some() {
            return Some(format!("revision {revision} still has pods"));
        }
        self.used(revision)
    }

    /// What would run twice, where the strategy is that nothing does.
    fn twice(&self, view: &View<'_>, draft: &Draft, revision: i64, replicas: i32) -> Option<String> {
        let rises = replicas > self.replicas.get(&revision).copied().unwrap_or(0);
        let other = recreate::other(draft, revision).filter(|_| rises)?;
        let runs = self.replicas.get(&other).is_some_and(|replicas| *replicas > 0);
        (runs || view.pods(other).next().is_some())
            .then(|| format!("revision {other} still runs, and the strategy is recreate"))
    }

    /// Whether the revision is scaled to zero although pods are wanted.
    fn emptied(&self, view: &View<'_>, revision: i64) -> bool {
        view.subject.replicas() > 0 && self.replicas.get(&revision) == Some(&0)
    }

    fn selects_users(&self, revision: i64) -> bool {
        self.selects.get(&ServiceKind::Users) == Some(&revision)
    }

    /// Whether no users' requests get to the revision.
    fn only_previewed(&self, revision: i64) -> bool {
        let users = |(kind, to): (&ServiceKind, &i64)| *kind != ServiceKind::Preview && *to == revision;
        !self.selects.iter().any(users) && !self.hands_to.values().any(|(to, _)| *to == revision)
    }

    /// What uses the revision, if anything does.
    fn used(&self, revision: i64) -> Option<String> {
        if let Some((kind, _)) = self.selects.iter().find(|(_, selected)| **selected == revision) {
            return Some(format!("revision {revision} is selected by the {kind:?} Service"));
        }
        let running = |from: &i64| self.replicas.get(from).is_some_and(|replicas| *replicas > 0);
        let (from, _) = self.hands_to.iter().find(|(from, (to, _))| *to == revision && running(from))?;
        Some(format!("revision {from} hands requests over to revision {revision}"))
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::WriteService { service, selects, .. } => {
                self.selects.insert(*service, *selects);
            }
            Write::WriteConfig { document, .. } => {
                match &document.hand_off {
                    Some(hand_off) => {
                        self.hands_to.insert(document.revision, (hand_off.to_revision, hand_off.share))
                    }
                    None => self.hands_to.remove(&document.revision),
                };
            }
            Write::WriteDeployment { revision, replicas, .. } => {
                self.replicas.insert(*revision, *replicas);
            }
            _ => {}
        }
    }
}

/// Which restart a ControllerRevision is the record of, by the end of its name: `7-s1`.
fn restart_of(kind: ObjectKind, rest: &str) -> Option<i64> {
    let (_, ordinal) = rest.split_once("-s").filter(|_| kind == ObjectKind::ControllerRevision)?;
    ordinal.parse().ok()
}

#[cfg(test)]
mod tests;
