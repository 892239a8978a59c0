//! An app that never gets ready is given up at progressDeadline, and users notice nothing.

use anyhow::ensure;
use shop_crds::{Reason, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn an_app_that_never_gets_ready_is_aborted() {
    test("an_app_that_never_gets_ready_is_aborted", async |session| {
        let spec = Spec::new(1).replicas(1).drain("5s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).fault("not-ready").progress_deadline("15s")).await?;
        let reasons = [Reason::ProgressDeadlineExceeded];
        super::undone(&shop, 2, RevisionResult::Aborted, &reasons).await?;
        let report = super::without_failure(load).await?;
        ensure!(report.answered_by("v2") == 0, "users saw it");
        Ok(())
    });
}

#[test]
fn an_app_that_never_listens_is_aborted() {
    test("an_app_that_never_listens_is_aborted", async |session| {
        let spec = Spec::new(1).replicas(1).drain("5s");
        let shop = super::stable(session, &spec).await?;
        shop.apply(&spec.clone().tag(2).fault("never-listen").progress_deadline("15s")).await?;
        let reasons = [Reason::ProgressDeadlineExceeded, Reason::CrashLoop];
        super::undone(&shop, 2, RevisionResult::Aborted, &reasons).await
    });
}
