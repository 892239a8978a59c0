//! What the admission policies of the chart allow and refuse on a real cluster.

#![allow(clippy::indexing_slicing, reason = "a field that JSON does not have is null")]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use shop_crds::{DecisionOutcome, ReleaseDecision, Verb, names};
use shop_e2e::{
    cluster::Cluster,
    harness::{Session, eventually, test},
    scenario::{
        PATIENCE, Shop, Spec,
        drift::{Manner, kubectl},
    },
};

const JANE: &str = "jane@shop.example";

async fn shop(session: &Session) -> Result<Shop> {
    let shop = Shop::new(session.client(), session.namespace(), "product").await?;
    shop.apply(&Spec::new(1).replicas(1).drain("5s")).await?;
    shop.wait_stable(1, PATIENCE).await?;
    policies_are_active(session, &shop).await?;
    Ok(shop)
}

/// The API server learns of policies by watching: those that were installed a moment ago may not be asked yet.
async fn policies_are_active(session: &Session, shop: &Shop) -> Result<()> {
    let deployment = names::revision(&shop.name, 1);
    eventually("the policies are asked", async || {
        let edit = ["label", "deployment", &deployment, "test=true", "--dry-run=server"];
        let scale = ["scale", "deployment", &deployment, "--replicas=7", "--dry-run=server"];
        ensure!(session.kubectl(&edit).await.is_err(), "a label can still be set");
        ensure!(session.kubectl(&scale).await.is_err(), "the Deployment can still be scaled");
        let decision = decision("somebody@shop.example").to_string();
        let namespace = format!("--namespace={}", session.namespace());
        let create = ["create", "--dry-run=server", "--filename=-", namespace.as_str()];
        ensure!(kubectl(session.cluster(), &create, &decision).await.is_err(), "any actor is taken");
        Ok(())
    })
    .await
}

/// The outcome is a refusal that contains all of this.
fn refused<T>(what: &str, outcome: Result<T>, says: &[&str]) -> Result<()> {
    let Err(error) = outcome else { bail!("{what} was accepted") };
    let text = format!("{error:#}");
    for words in says {
        ensure!(text.contains(words), "{what} was refused without {words:?}: {text}");
    }
    Ok(())
}

#[test]
fn generated_objects_are_changed_by_the_operator_alone() {
    test("generated_objects_are_changed_by_the_operator_alone", async |session| {
        let shop = shop(session).await?;
        let says = ["shopkeeper-generated-objects", "ShopService \"product\"", "change that instead"];
        for manner in Manner::ALL {
            let changed = shop.point_users_at(session.cluster(), manner, 2).await;
            refused(&format!("a selector by {manner:?}"), changed, &says)?;
        }
        refused("another container", shop.add_container(1, &session.images().pause).await, &says)?;
        let restarted = session.kubectl(&["rollout", "restart", "deployment/product-r1"]).await;
        refused("a restart by hand", restarted, &["kubectl shop restart product"])?;
        refused("another replica", shop.scale_deployment(1, 5).await, &says)?;
        let scaled = session.kubectl(&["scale", "deployment", "product-r1", "--replicas=5"]).await;
        refused("kubectl scale", scaled, &["scale the ShopService instead", "shopservice product"])?;
        for edit in [
            &["set", "image", "deployment/product-r1", "app=registry.local/shop/shopd:2"][..],
            &["rollout", "restart", "deployment/product-r1"],
            &["label", "deployment", "product-r1", "app.kubernetes.io/managed-by-"],
            &["label", "service", "product", "app.kubernetes.io/managed-by=me", "--overwrite"],
            &["annotate", "deployment", "product-r1", "shopkeeper.dev/role=candidate", "--overwrite"],
            &["patch", "pdb", "product-r1", "--type=merge", "--patch={\"spec\":{\"maxUnavailable\":3}}"],
            &[
                "patch",
                "deployment",
                "product-r1",
                "--type=merge",
                "--patch={\"metadata\":{\"ownerReferences\":null}}",
            ],
        ] {
            refused(&edit.join(" "), session.kubectl(edit).await, &says)?;
        }
        let params = PatchParams::default();
        let patch = json!({"data": {"document.json": "{}"}});
        let document =
            shop.api::<ConfigMap>().patch("product-r1-sidecar", &params, &Patch::Merge(&patch)).await;
        refused("another sidecar document", document.context("patch"), &says)?;
        let patch = json!({"data": null});
        let keys = shop.api::<Secret>().patch("product-sidecar-keys", &params, &Patch::Merge(&patch)).await;
        refused("other keys", keys.context("patch"), &says)
    });
}

#[test]
fn what_is_not_the_operators_may_be_changed() {
    test("what_is_not_the_operators_may_be_changed", async |session| {
        let shop = shop(session).await?;
        // Annotations of other tools, the users' own object, and objects that nobody made of a ShopService.
        session.kubectl(&["annotate", "deployment", "product-r1", "example.com/note=seen"]).await?;
        shop.merge(&json!({"spec": {"replicas": 2}})).await?;
        eventually("the operator scales its Deployment", async || {
            let path = "--output=jsonpath={.spec.replicas}";
            let replicas = session.kubectl(&["get", "deployment", "product-r1", path]).await?;
            ensure!(replicas == "2", "it has {replicas} replicas");
            Ok(())
        })
        .await?;
        session
            .apply(
                "apiVersion: v1\nkind: Service\nmetadata:\n  name: other\n  labels: {app.kubernetes.io/managed-by: shopkeeper}\n\
                 spec: {ports: [{port: 80}], selector: {a: b}}",
            )
            .await?;
        let patch = "--patch={\"spec\":{\"selector\":{\"a\":\"c\"}}}";
        session.kubectl(&["patch", "service", "other", "--type=merge", patch]).await?;
        // The garbage collector takes owner references away, and is let through.
        session.kubectl(&["delete", "shop", "product", "--cascade=orphan"]).await?;
        eventually("the Service is left without an owner", async || {
            let owners = shop.users_service().await?.metadata.owner_references.unwrap_or_default();
            ensure!(owners.is_empty(), "it has {} owners", owners.len());
            Ok(())
        })
        .await
    });
}

#[test]
fn in_an_emergency_the_glass_is_broken_with_a_reason() {
    test("in_an_emergency_the_glass_is_broken_with_a_reason", async |session| {
        shop(session).await?;
        let patch = |reason: &str| {
            let annotations = json!({names::ANNOTATION_BREAK_GLASS: reason});
            json!({"metadata": {"annotations": annotations}, "spec": {"sessionAffinity": "ClientIP"}})
        };
        let change = async |reason: &str| {
            let patch = format!("--patch={}", patch(reason));
            session.kubectl(&["patch", "service", "product", "--type=merge", &patch]).await
        };
        refused("no reason", change("").await, &["shopkeeper.dev/break-glass"])?;
        let reason = format!("INC-1 in {}", session.namespace());
        change(&reason).await?;
        eventually("the reason is in the audit log", async || {
            ensure!(
                audited(session.cluster(), "shopkeeper-generated-objects/break-glass", &reason)?,
                "no line has it"
            );
            Ok(())
        })
        .await
    });
}

/// Whether a line of the API server's audit log, rotated files included, has both.
fn audited(cluster: &Cluster, one: &str, other: &str) -> Result<bool> {
    let log = cluster.audit_log();
    let folder = log.parent().context("the audit log is in a folder")?;
    for entry in fs::read_dir(folder).context("list the logs")? {
        let path = entry.context("list the logs")?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit")) {
            continue;
        }
        for line in BufReader::new(File::open(&path).context("open the audit log")?).lines() {
            let line = line.context("read the audit log")?;
            if line.contains(one) && line.contains(other) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn decision(actor: &str) -> Value {
    json!({
        "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ReleaseDecision",
        "metadata": {"name": "product-r9-promote"},
        "spec": {"service": "product", "verb": "promote", "revision": 9, "actor": actor},
    })
}

/// Jane's decision with this verb.
fn decision_to(verb: Verb) -> Value {
    let mut decision = decision(JANE);
    decision["metadata"]["name"] = json!(format!("product-r9-{}", verb.as_str()));
    decision["spec"]["verb"] = json!(verb.as_str());
    decision
}

async fn decide_as(session: &Session, user: &str, decision: &Value) -> Result<String> {
    let (namespace, user) = (format!("--namespace={}", session.namespace()), format!("--as={user}"));
    kubectl(session.cluster(), &["create", "--filename=-", &namespace, &user], &decision.to_string()).await
}

#[test]
fn a_decision_needs_ones_own_name_and_the_right_to_it() {
    test("a_decision_needs_ones_own_name_and_the_right_to_it", async |session| {
        let shop = shop(session).await?;
        let namespace = format!("--namespace={}", session.namespace());
        let create = ["create", "--filename=-", namespace.as_str()];
        let forged = kubectl(session.cluster(), &create, &decision(JANE).to_string()).await;
        refused("another's name", forged, &["spec.actor must be the user who decides", JANE])?;

        // Jane may create decisions, and read; nothing is said yet about which ones.
        session
            .kubectl(&[
                "create",
                "role",
                "decides",
                "--verb=create",
                "--resource=releasedecisions.shopkeeper.dev",
            ])
            .await?;
        let user = format!("--user={JANE}");
        session.kubectl(&["create", "rolebinding", "decides", "--role=decides", &user]).await?;
        eventually("jane is told which right is missing", async || {
            let says =
                ["may not promote", "\"product\"", "the verb \"promote\" on shopservices", "shop-promoter"];
            refused("a decision without the verb", decide_as(session, JANE, &decision(JANE)).await, &says)
        })
        .await?;
        let forged = decide_as(session, JANE, &decision("bob@shop.example")).await;
        refused("another's name", forged, &["spec.actor must be the user who decides", "bob@shop.example"])?;

        // The right to abort is none to promote.
        session
            .kubectl(&["create", "role", "aborts", "--verb=abort", "--resource=shopservices.shopkeeper.dev"])
            .await?;
        session.kubectl(&["create", "rolebinding", "aborts", "--role=aborts", &user]).await?;
        let mut abort = decision(JANE);
        abort["metadata"]["name"] = json!("product-r9-abort");
        abort["spec"]["verb"] = json!("abort");
        eventually("jane may abort", async || decide_as(session, JANE, &abort).await).await?;
        let promote = decide_as(session, JANE, &decision(JANE)).await;
        refused("a promotion by who may abort", promote, &["may not promote"])?;

        // Nor is any of the other verbs, each of which is a right of its own.
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Abort) {
            let says = format!("may not {}", verb.as_str());
            let decided = decide_as(session, JANE, &decision_to(verb)).await;
            refused(verb.as_str(), decided, &[&says, "shop-promoter"])?;
        }

        session.kubectl(&["create", "rolebinding", "promotes", "--clusterrole=shop-promoter", &user]).await?;
        eventually("jane may promote", async || decide_as(session, JANE, &decision(JANE)).await).await?;
        for verb in [Verb::Rollback, Verb::Pause, Verb::Resume, Verb::Retry, Verb::Restart] {
            decide_as(session, JANE, &decision_to(verb)).await?;
        }
        // Revision 9 does not exist: what the policy lets through, the operator still refuses.
        eventually("the operator answers", async || {
            let decision = shop.api::<ReleaseDecision>().get("product-r9-promote").await?;
            let outcome = decision.status.and_then(|status| status.outcome);
            ensure!(outcome == Some(DecisionOutcome::Refused), "its outcome is {outcome:?}");
            Ok(())
        })
        .await
    });
}
