//! Two operators at once: one acts, the other waits for its lease.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use shop_e2e::{
    harness::{OPERATOR_NAMESPACE, test},
    scenario::{PATIENCE, Spec, operator_pods},
};

#[test]
fn one_of_two_operators_acts() {
    test("one_of_two_operators_acts", async |session| {
        let client = session.client();
        super::scale_operator(&client, 2).await?;
        let shop = super::shop(session).await?;
        let spec = Spec::new(1).replicas(1).keep_old("1s").drain("5s");
        let outcome = async {
            shop.apply(&spec).await?;
            super::stable(&shop, 1).await?;
            let load = shop.traffic(super::RATE, PATIENCE).await?;
            let before = holder(&client).await?;
            shop.apply(&spec.clone().tag(2)).await?;
            super::stable(&shop, 2).await?;
            let after = holder(&client).await?;
            ensure!(before == after, "the lease went from {before:?} to {after:?}");
            is_one_of_the_pods(&client, &after.0).await?;
            super::without_failure(load).await?;
            Ok(())
        }
        .await;
        super::scale_operator(&client, 1).await?;
        outcome
    });
}

/// Who holds the lease, and how often it has changed hands.
async fn holder(client: &Client) -> Result<(String, i32)> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let spec = leases.get("shopkeeper").await?.spec.unwrap_or_default();
    let holder =
        spec.holder_identity.filter(|holder| !holder.is_empty()).context("nobody holds the lease")?;
    Ok((holder, spec.lease_transitions.unwrap_or_default()))
}

async fn is_one_of_the_pods(client: &Client, holder: &str) -> Result<()> {
    let pods = operator_pods(client).await?;
    let named = pods.iter().filter(|pod| holder.contains(&pod.name_any())).count();
    ensure!(
        pods.len() == 2 && named == 1,
        "the lease names {holder:?}, which is {named} of {} pods",
        pods.len()
    );
    Ok(())
}
