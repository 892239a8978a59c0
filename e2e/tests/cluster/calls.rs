//! Calls from service to service on a real cluster: the gateway finds the product service by `dependsOn`, through both
//! sidecars, with certificates; whoever else calls is refused; a pod that dies and faults that are injected are dealt with.

use anyhow::{Result, ensure};
use http::{Request, StatusCode};
use serde_json::json;
use shop_e2e::{
    harness::{Session, eventually, test},
    scenario::{Answer, PATIENCE, Shop, Spec, ask},
};

/// Where the gateway's sidecar listens for calls to the product service.
const LOCAL_PORT: u16 = 7001;
/// What the gateway answers from the product service.
const PRODUCTS: &str = "/api/v1/products?limit=1";

#[test]
fn services_call_each_other_with_certificates_and_others_are_refused() {
    test("services_call_each_other_with_certificates_and_others_are_refused", async |session| {
        let called = json!({"auth": {"mtls": "permissive", "callers": []}});
        let product = super::stable(session, &Spec::new(1).replicas(2).drain("5s").patch(called)).await?;
        let gateway = gateway(session).await?;
        eventually("the gateway answers from the product service", async || {
            fetched(&get(&gateway, PRODUCTS).await?)
        })
        .await?;
        answered(&get(&product, "/products").await?, StatusCode::OK)?;

        product
            .merge(&json!({"spec": {"auth": {"mtls": "strict", "callers": [{"name": "gateway"}]}}}))
            .await?;
        eventually("plain calls are refused", async || {
            let answer = get(&product, "/products").await?;
            ensure!(answer.header("x-shop-reason") == "tls-required", "{answer:?}");
            answered(&answer, StatusCode::FORBIDDEN)
        })
        .await?;
        for _ in 0..20 {
            fetched(&get(&gateway, PRODUCTS).await?)?;
        }

        product.merge(&json!({"spec": {"auth": {"callers": [{"name": "somebody-else"}]}}})).await?;
        eventually("the gateway is not one of the callers", async || {
            let answer = get(&gateway, "/api/v1/products/MUG-0002").await?;
            ensure!(answer.status.as_u16() >= 400, "{answer:?}");
            Ok(())
        })
        .await?;
        product.merge(&json!({"spec": {"auth": {"callers": [{"name": "gateway"}]}}})).await?;
        eventually("it is one of them again", async || {
            fetched(&get(&gateway, "/api/v1/products/MUG-0003").await?)
        })
        .await?;
        a_dead_pod_is_not_noticed(session, &product, &gateway).await?;
        let revisions = [product.status().await?.last_revision, gateway.status().await?.last_revision];
        ensure!(revisions == [1, 1], "live changes cut revisions: {revisions:?}");
        Ok(())
    });
}

/// One of two pods is deleted without notice, and no call fails.
async fn a_dead_pod_is_not_noticed(session: &Session, product: &Shop, gateway: &Shop) -> Result<()> {
    let pod = product.pods(Some(1)).await?.into_iter().find_map(|pod| pod.metadata.name).unwrap_or_default();
    session.kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force", "--wait=false"]).await?;
    for _ in 0..200 {
        fetched(&get(gateway, PRODUCTS).await?)?;
    }
    Ok(())
}

#[test]
fn a_fault_policy_breaks_requests_until_it_ends() {
    test("a_fault_policy_breaks_requests_until_it_ends", async |session| {
        let shop = super::stable(session, &Spec::new(1).replicas(1)).await?;
        eventually("requests are answered", async || {
            answered(&get(&shop, "/version").await?, StatusCode::OK)
        })
        .await?;
        session.apply(&fault("20s")).await?;
        eventually("requests fail as the policy says", async || {
            let answer = get(&shop, "/products").await?;
            ensure!(answer.header("x-shop-reason") == "fault", "{answer:?}");
            answered(&answer, StatusCode::IM_A_TEAPOT)
        })
        .await?;
        answered(&get(&shop, "/version").await?, StatusCode::OK)?;
        eventually("it ends by itself", async || answered(&get(&shop, "/products").await?, StatusCode::OK))
            .await?;
        ensure!(shop.status().await?.last_revision == 1, "a fault cut a revision");
        Ok(())
    });
}

fn fault(lasts: &str) -> String {
    json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "FaultPolicy", "metadata": {"name": "teapot"},
        "spec": {
            "services": ["product"], "match": {"path": "/products"}, "share": "100%",
            "abort": {"status": 418}, "duration": lasts,
        },
    })
    .to_string()
}

/// The gateway, which calls the product service through its sidecar, and the user service for the keys of tokens.
async fn gateway(session: &Session) -> Result<Shop> {
    let user = json!({"command": ["/shopd", "user"]});
    let gateway = json!({
        "command": ["/shopd", "gateway"],
        // All requests of this test come from one address: the gateway's own limits are left to its sidecar, which has none.
        "env": [{"name": "SHOP_SIDECAR", "value": "limits"}],
        "dependsOn": [
            {"name": "product", "localPort": LOCAL_PORT, "timeout": "2s", "retries": 2},
            {"name": "user", "localPort": LOCAL_PORT + 1},
        ],
    });
    for (name, fields) in [("user", user), ("gateway", gateway)] {
        let shop = Shop::new(session.client(), session.namespace(), name).await?;
        shop.apply(&Spec::new(1).replicas(1).patch(fields)).await?;
        shop.wait_stable(1, PATIENCE).await?;
    }
    Shop::new(session.client(), session.namespace(), "gateway").await
}

async fn get(shop: &Shop, path: &str) -> Result<Answer> {
    ask(shop.endpoint().await?, Request::get(path).body(http_body_util::Full::default())?).await
}

fn answered(answer: &Answer, status: StatusCode) -> Result<()> {
    ensure!(answer.status == status, "{answer:?}");
    Ok(())
}

/// Answered from the product service, and not by what the gateway remembers of it.
fn fetched(answer: &Answer) -> Result<()> {
    ensure!(answer.header("x-shop-degraded").is_empty(), "{answer:?}");
    answered(answer, StatusCode::OK)
}
