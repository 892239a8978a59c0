//! An app that crashes after it was ready is given up, and users notice nothing.

use anyhow::ensure;
use shop_crds::{Reason, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn a_crash_loop_after_ready_is_aborted() {
    test("a_crash_loop_after_ready_is_aborted", async |session| {
        // Promoted by hand, so that it gets ready and crashes before it could have users.
        let spec = Spec::new(1).replicas(1).drain("5s").manual();
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).fault("crash-after=5s")).await?;
        super::undone(&shop, 2, RevisionResult::Aborted, &[Reason::CrashLoop]).await?;
        let report = super::without_failure(load).await?;
        ensure!(report.answered_by("v2") == 0, "users saw it");
        Ok(())
    });
}

#[test]
fn a_crash_at_the_start_is_aborted() {
    test("a_crash_at_the_start_is_aborted", async |session| {
        let spec = Spec::new(1).replicas(1).drain("5s");
        let shop = super::stable(session, &spec).await?;
        shop.apply(&spec.clone().tag(2).fault("crash-at-start")).await?;
        super::undone(&shop, 2, RevisionResult::Aborted, &[Reason::CrashLoop]).await
    });
}
