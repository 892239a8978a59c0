//! `adopt` and `eject`.

use kubectl_shop::Exit;
use serde_json::{Value, json};

use crate::{server::Server, *};

fn plain(statuses: impl IntoIterator<Item = Value>) -> Server {
    let server = Server::new(statuses);
    let template = json!({
        "metadata": {"labels": {"app": "order"}},
        "spec": {"containers": [{"name": "web", "image": "shop/order:1", "ports": [{"containerPort": 5000}]}]},
    });
    server.add(
        "/apis/apps/v1/namespaces/shop/deployments/web",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "order"}}, "template": template},
        }),
    );
    server.add(
        "/api/v1/namespaces/shop/services/order",
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "order", "namespace": "shop"},
            "spec": {"selector": {"app": "order"}, "ports": [{"port": 80, "targetPort": 5000}]},
        }),
    );
    server
}

fn served() -> Value {
    let mut status = stable(0, &[revision(0, Some("Completed"), false)]);
    status["active"] = json!({"revision": 0, "label": "r0 blue"});
    status
}

#[tokio::test]
async fn adopt_writes_the_service_and_waits_for_the_operator() {
    let server = plain([Value::Null, served()]);
    let ended = shop(&server, "adopt deploy/web -o json").await;
    assert_eq!(ended.exit(), Exit::Done, "{}", ended.out);
    assert!(ended.json()["message"].as_str().unwrap().contains("revision 0"), "{}", ended.out);
    let created = server.script().created.clone();
    assert_eq!(created.len(), 1);
    let expected = json!({
        "image": "shop/order:1", "port": 5000, "replicas": 2, "adopt": {"deployment": "web"},
        "service": {"type": "ClusterIP", "port": 80, "portName": ""},
    });
    assert_eq!((&created[0]["metadata"]["name"], &created[0]["spec"]), (&json!("order"), &expected));
}

#[tokio::test]
async fn status_counts_adopted_pods_as_the_operator_does() {
    let server = plain([served()]);
    let ended = shop(&server, "status order").await;
    let row = ended.out.lines().find(|line| line.starts_with("r0 blue")).unwrap();
    assert!(row.contains("active") && row.contains("3/3"), "{row}");
}

#[tokio::test]
async fn adopt_shows_what_it_would_write() {
    let server = plain([]);
    let ended = shop(&server, "adopt web --dry-run").await;
    assert_eq!(ended.exit(), Exit::Done);
    assert!(
        ended.out.contains("kind: ShopService") && ended.out.contains("deployment: web"),
        "{}",
        ended.out
    );
    assert!(ended.notes.contains("note: "), "{}", ended.notes);
    assert!(server.script().created.is_empty());
}

#[tokio::test]
async fn adopt_refuses_what_cannot_be() {
    let server = plain([]);
    let error = shop(&server, "adopt deploy/other").await.error();
    assert!(error.contains("there is none of that name"), "{error}");
    server.add(
        "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web",
        json!({
            "metadata": {"name": "web"},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
        }),
    );
    let error = shop(&server, "adopt deploy/web").await.error();
    assert!(error.contains("HorizontalPodAutoscaler web"), "{error}");
    assert!(server.script().created.is_empty());
    let blocked =
        json!({"reason": "AdoptionRefused", "message": "nothing was changed: it is blue", "since": AT});
    let server = plain([json!({"blocked": blocked, "lastRevision": 0, "roleEpoch": 0, "leaderEpoch": 1})]);
    let ended = shop(&server, "adopt deploy/web").await;
    assert_eq!(ended.exit(), Exit::Error);
    assert!(ended.out.contains("it is blue"), "{}", ended.out);
}

#[tokio::test]
async fn eject_deletes_the_service_when_all_is_given_back() {
    let mut ejected = completed();
    ejected["blocked"] = json!({"reason": "Ejected", "message": "given back", "since": AT});
    let server = Server::new([completed(), completed(), ejected]);
    let ended = shop(&server, "eject order -o json").await;
    assert_eq!(ended.exit(), Exit::Done, "{}", ended.out);
    assert!(
        ended.json()["message"].as_str().unwrap().contains("Deployment order-r7 and Service order"),
        "{}",
        ended.out
    );
    let script = server.script();
    assert_eq!(script.patches[0]["patch"]["spec"], json!({"eject": true}));
    assert_eq!((script.deleted.len(), &script.deleted[0]["propagationPolicy"]), (1, &json!("Background")));
}

#[tokio::test]
async fn eject_never_deletes_what_is_not_given_back() {
    let server = Server::new([releasing("Watching")]);
    let error = shop(&server, "eject order").await.error();
    assert!(error.contains("in the middle of a release"), "{error}");
    let server = Server::new([completed()]);
    let ended = answered_within(Duration::from_millis(20), &server, "eject order").await;
    assert_eq!(ended.exit(), Exit::TimedOut);
    assert!(server.script().deleted.is_empty());
}
