//! `set image`, `diff`, `doctor` and `plan`.

use kubectl_shop::Exit;
use serde_json::{Value, json};

use crate::{server::Server, *};

const APPS: &str = "/apis/apps/v1/namespaces/shop/controllerrevisions";

#[tokio::test]
async fn set_image_changes_nothing_else() {
    let server = Server::new([completed()]);
    let ended = shop(&server, "set image order shop/order:3 -o json").await;
    assert_eq!((ended.exit(), ended.json()["action"].as_str()), (Exit::Done, Some("set image")));
    assert_eq!(ended.json()["message"], "asks for image shop/order:3 instead of shop/order:2");
    let patches = server.script().patches.clone();
    let expected = json!({"metadata": {"resourceVersion": "41"}, "spec": {"image": "shop/order:3"}});
    assert_eq!(patches, [json!({"patch": expected, "query": {"fieldManager": "kubectl-shop"}})]);
}

#[tokio::test]
async fn set_image_refuses_what_would_do_nothing_or_harm() {
    let server = Server::new([completed()]);
    let error = shop(&server, "set image order shop/order:2").await.error();
    assert!(error.contains("asks for image \"shop/order:2\" already; nothing was changed"), "{error}");
    server.script().conflict = true;
    let error = shop(&server, "set image order shop/order:3").await.error();
    assert!(error.contains("somebody changed it meanwhile; run the command again"), "{error}");
    assert!(server.script().patches.is_empty());
}

#[tokio::test]
async fn set_image_waits_for_its_release() {
    for (last, exit) in [(completed(), Exit::Done), (aborted(), Exit::Aborted), (waiting(), Exit::Waiting)] {
        let server = Server::new([stable(6, &[]), releasing("Preparing"), last]);
        let ended = shop(&server, "set image order shop/order:3 --wait -o json").await;
        assert_eq!((ended.exit(), ended.json()["revision"].as_i64()), (exit, Some(7)), "{}", ended.out);
    }
}

fn kept(revision: i64, hash: &str) -> Value {
    let facts = json!({
        "hash": "h", "image": format!("shop/order:{revision}"), "port": 8080, "protocol": "http", "readinessTimeoutMs": 5000,
        "drainMax": "10m", "sidecarMemory": 1, "snapshots": [
            {"kind": "configMap", "source": "settings", "name": format!("order-r{revision}-settings"), "hash": hash},
            {"kind": "secret", "source": "keys", "name": format!("order-r{revision}-keys"), "hash": hash},
        ],
    });
    let container = json!({"name": "app", "image": format!("shop/order:{revision}")});
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": format!("order-r{revision}")},
        "revision": revision, "data": {"facts": facts, "template": {"spec": {"containers": [container]}}},
    })
}

#[tokio::test]
async fn diff_shows_config_and_no_secret() {
    let server = Server::new([completed()]);
    for (revision, hash, text, password) in
        [(6, "a", "a: 1\n", "aHVudGVyMg=="), (7, "b", "a: 2\n", "c3dvcmRmaXNo")]
    {
        server.add(&format!("{APPS}/order-r{revision}"), kept(revision, hash));
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"app.yaml": text}});
        server.add(&format!("/api/v1/namespaces/shop/configmaps/order-r{revision}-settings"), map);
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"password": password}});
        server.add(&format!("/api/v1/namespaces/shop/secrets/order-r{revision}-keys"), secret);
    }
    let page = shop(&server, "diff order 6 7").await;
    let expected = "\
order: r6 -> r7
  ~ image: shop/order:6 -> shop/order:7

ConfigMap settings
  app.yaml changed
    @@ -1 +1 @@
    -a: 1
    +a: 2

Secret keys
  password changed
";
    assert_eq!((page.exit(), page.out.as_str()), (Exit::Done, expected));
    let json = shop(&server, "diff order r6 r7 -o json").await;
    assert_eq!(json.json()["config"][1]["keys"], json!([{"key": "password", "change": "changed"}]));
    assert_eq!(shop(&server, "diff order 7 7").await.out, "order: r7 -> r7\n  no difference\n");
    let error = shop(&server, "diff order 5 7").await.error();
    assert!(error.contains("\"order\" has no revision 5; it has 7"), "{error}");
}

fn installed(server: &Server) {
    let operator = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shopkeeper", "namespace": "shopkeeper",
                     "labels": {"app.kubernetes.io/name": "shopkeeper", "app.kubernetes.io/component": "operator"}},
        "spec": {"replicas": 1, "selector": {}, "template": {"spec": {"containers": [
            {"name": "operator", "env": [{"name": "SHOP_SIDECAR_IMAGE", "value": "sidecar:1"}]}]}}},
        "status": {"readyReplicas": 1},
    });
    server.add("/apis/apps/v1/namespaces/shopkeeper/deployments/shopkeeper", operator);
    let renewed =
        (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "shopkeeper"},
        "spec": {"holderIdentity": "shopkeeper-0", "renewTime": renewed.to_string(), "leaseDurationSeconds": 10},
    });
    server.add("/apis/coordination.k8s.io/v1/namespaces/shopkeeper/leases/shopkeeper", lease);
    for definition in shop_crds::definitions() {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        server.add(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"), definition);
    }
    let admission = "/apis/admissionregistration.k8s.io/v1";
    for name in kubectl_shop::doctor::POLICIES {
        let (policy, binding) = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding");
        let version = "admissionregistration.k8s.io/v1";
        let object = json!({"apiVersion": version, "kind": policy, "metadata": {"name": name}});
        server.add(&format!("{admission}/validatingadmissionpolicies/{name}"), object);
        let object = json!({"apiVersion": version, "kind": binding, "metadata": {"name": name},
                            "spec": {"policyName": name, "validationActions": ["Deny"]}});
        server.add(&format!("{admission}/validatingadmissionpolicybindings/{name}"), object);
    }
}

#[tokio::test]
async fn doctor_finds_a_whole_installation_well() {
    let server = Server::new([completed()]);
    installed(&server);
    let page = shop(&server, "doctor").await;
    assert_eq!(page.exit(), Exit::Done, "{}", page.out);
    assert!(page.out.lines().all(|line| line.starts_with("ok ")), "{}", page.out);
}

#[tokio::test]
async fn doctor_says_what_to_do() {
    let server = Server::new([waiting()]);
    installed(&server);
    server.script().denied = vec!["create"];
    server.script().objects.retain(|path, _| !path.contains("customresourcedefinitions/releasedecisions"));
    let page = shop(&server, "doctor").await;
    assert_eq!(page.exit(), Exit::Error, "{}", page.out);
    for says in [
        "FAIL  definition releasedecisions.shopkeeper.dev  the cluster does not have it",
        "-> upgrade: helm upgrade shopkeeper",
        "warn  right to create releasedecisions",
        "--clusterrole=shop-promoter",
        "warn  service shop/order",
        "-> kubectl shop promote order --revision 7 -n shop",
    ] {
        assert!(page.out.contains(says), "{says}: {}", page.out);
    }
    let empty = Server::new([completed()]);
    let found = shop(&empty, "doctor -o json").await;
    assert_eq!(found.json()["findings"][0]["message"], "no operator runs in this cluster");
    assert_eq!(found.json()["exitCode"], 1);
}

const FILE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
---
apiVersion: shopkeeper.dev/v1alpha1
kind: ShopService
metadata: {name: order}
spec:
  image: shop/order:3
  port: 8080
  replicas: 2
  config:
  - {configMap: settings, mountPath: /etc/order}
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn plan_asks_the_api_server_first_and_writes_nothing() {
    let server = Server::new([Value::Null]);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
                       "spec": {"hard": {"pods": "1"}}, "status": {"used": {"pods": "0"}}});
    server.add("/api/v1/namespaces/shop/resourcequotas/team", quota);
    let file = file(FILE);
    let page = shop(&server, &format!("plan -f {}", file.path().display())).await;
    assert_eq!(page.exit(), Exit::Error, "{}", page.out);
    for says in [
        "create ConfigMap order-r1-settings, a copy of settings",
        "End       users are with r1",
        "FAIL  quota team  pods: 0 of 1 used, 2 more at the peak",
    ] {
        assert!(page.out.contains(says), "{says}: {}", page.out);
    }
    let asked = server.asked();
    assert!(
        asked[0].starts_with("PATCH") && asked[1..].iter().all(|line| line.starts_with("GET")),
        "{asked:?}"
    );
    assert_eq!(server.script().dry_runs.len(), 1);
}

#[tokio::test]
async fn plan_looks_at_freeze_windows() {
    let running = json!({"phase": "Stable", "observedGeneration": 1, "active": {"revision": 1}});
    let server = Server::new([running]);
    let policy = json!({"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopPolicy", "metadata": {"name": "calendar"},
                        "spec": {"freeze": [{"name": "no-zone", "duration": "1d"}]}});
    server.add("/apis/shopkeeper.dev/v1alpha1/namespaces/shop/shoppolicies/calendar", policy);
    let file = file(FILE);
    let page = shop(&server, &format!("plan -f {}", file.path().display())).await;
    assert!(!page.out.contains("freeze windows"), "they were read: {}", page.out);
    let path = "/apis/shopkeeper.dev/v1alpha1/namespaces/shop/shoppolicies";
    assert!(server.asked().iter().any(|line| line.contains(path)), "{:?}", server.asked());
}

#[tokio::test]
async fn plan_refuses_bad_files_in_the_words_of_the_api_server() {
    let server = Server::new([Value::Null]);
    server.script().invalid = Some("spec.port: Invalid value: 9440: is the sidecar's".to_owned());
    let good = file(FILE);
    let error = shop(&server, &format!("plan -f {}", good.path().display())).await.error();
    assert!(
        error.contains("cannot apply the file (a dry run)") && error.contains("is the sidecar's"),
        "{error}"
    );
    let other = file("kind: ConfigMap\n");
    let error = shop(&server, &format!("plan -f {}", other.path().display())).await.error();
    assert!(error.contains("it holds no ShopService"), "{error}");
    let error = shop(&server, "plan -f /nowhere.yaml").await.error();
    assert!(error.starts_with("cannot plan \"/nowhere.yaml\": "), "{error}");
}
