//! What must always hold, checked at every write, in its own words.

use shop_crds::{ShopServiceStatus, status::Phase};
use shop_release::{ObjectKind, Observed, ServiceKind, Write};

use super::World;

fn ready(observed: &Observed, revision: i64) -> i32 {
    let pods = observed.pods.iter().filter(|pod| pod.revision == revision && pod.ready && !pod.terminating);
    i32::try_from(pods.count()).unwrap()
}

impl World {
    /// A status that is about to be written.
    pub(crate) fn check_status(&self, next: &ShopServiceStatus) {
        let old = &self.status;
        if old.last_revision > 0 && next.last_revision > 0 {
            assert!(next.last_revision >= old.last_revision, "numbers are never given back");
            assert!(next.role_epoch >= old.role_epoch, "the role epoch never sinks");
        }
        let number =
            |one: &Option<shop_crds::status::RevisionRef>| one.as_ref().map_or(0, |one| one.revision);
        if number(&old.active) != number(&next.active)
            && number(&old.active) != 0
            && number(&next.active) != 0
        {
            assert!(
                next.role_epoch > old.role_epoch || old.phase == Some(Phase::Aborting),
                "a move has its own epoch"
            );
        }
        if let Some(release) = &next.release
            && let Some(by) = &release.promoted_by
            && let Some(revision) = by.strip_prefix("promote-")
        {
            assert_eq!(revision, release.to.to_string(), "a decision for one revision moves no other");
        }
        assert!(next.revisions.len() <= 20, "revisions are bounded");
        for revision in &next.revisions {
            let stored = self.observed.revisions.iter().find(|stored| stored.number == revision.number);
            assert!(
                stored.is_none_or(|stored| stored.facts.hash == revision.hash),
                "a number has one meaning"
            );
        }
    }

    /// A write that is about to be made from what was `read`.
    pub(crate) fn check_write(&self, read: &Observed, write: &Write) {
        match write {
            Write::WriteService { service, selects, .. } if *service != ServiceKind::Preview => {
                let now = self.observed.services.get(&ServiceKind::Users).and_then(|one| one.selects);
                let moved = self.observed.services.get(service).and_then(|one| one.selects);
                if let (Some(now), true) = (now, moved.is_some_and(|moved| moved != *selects)) {
                    self.check_enough(read, now, *selects);
                }
            }
            Write::WriteDeployment { revision, replicas, .. } => {
                let found = self.observed.deployments.iter().find(|one| one.revision == *revision);
                let lowers = found.is_some_and(|found| *replicas < found.replicas);
                let wish = *replicas >= self.subject.spec.replicas;
                if lowers && !wish {
                    self.check_unused(*revision);
                }
                let snapshots = self
                    .observed
                    .revisions
                    .iter()
                    .find(|one| one.number == *revision)
                    .map(|one| &one.facts.snapshots);
                for snapshot in snapshots.into_iter().flatten().filter(|_| *replicas > 0) {
                    assert!(
                        self.observed.snapshots.iter().any(|one| one.snapshot == *snapshot),
                        "config comes before pods"
                    );
                }
                assert!(self.observed.configs.iter().any(|one| one.revision == *revision) || *replicas == 0);
            }
            Write::Delete { object, .. } if object.kind == ObjectKind::Deployment => {
                let revision = object.name.strip_prefix("order-r").unwrap().parse().unwrap();
                self.check_unused(revision);
            }
            Write::Delete { object, .. } => assert_ne!(object.kind, ObjectKind::Service, "Services stay"),
            Write::WriteConfig { document, .. } => {
                let stored = self.observed.revisions.iter().find(|one| one.number == document.revision);
                let stored = stored.expect("a document is of a stored revision");
                assert_eq!(
                    i32::from(document.port),
                    stored.facts.port,
                    "code and config are of one revision"
                );
            }
            _ => {}
        }
    }

    fn check_enough(&self, read: &Observed, now: i64, next: i64) {
        if now == next || self.subject.spec.replicas == 0 {
            return;
        }
        let (leaves, takes) = (ready(read, now), ready(read, next));
        let back = self.status.phase == Some(Phase::Aborting);
        let enough = takes >= (leaves - 1).max(1) || (back && takes >= 1 && takes > leaves);
        assert!(enough, "users of revision {now} ({leaves} ready) sent to revision {next} ({takes} ready)");
    }

    fn check_unused(&self, revision: i64) {
        // What somebody else changed after the read cannot be known.
        for (kind, service) in self.observed.services.iter().filter(|(_, service)| !service.drifted) {
            assert_ne!(
                service.selects,
                Some(revision),
                "{kind:?} selects revision {revision}, which is scaled down"
            );
        }
        for config in &self.observed.configs {
            let runs = self
                .observed
                .deployments
                .iter()
                .any(|one| one.revision == config.revision && one.replicas > 0);
            let to = config
                .document
                .as_ref()
                .and_then(|document| document.hand_off)
                .map(|hand_off| hand_off.to_revision);
            assert!(!(runs && to == Some(revision)), "revision {} hands over to {revision}", config.revision);
        }
    }
}
