//! Verbs that show.

use kubectl_shop::Exit;
use serde_json::json;

use crate::{server::Server, *};

#[tokio::test]
async fn errors_say_what_to_do() {
    let server = Server::new([waiting()]);
    for (line, says) in [
        ("status order -n other", "no ShopService \"order\" in namespace \"other\"; did you mean -n shop?"),
        ("why cart", "no ShopService \"cart\" in namespace \"shop\"; name its namespace with -n"),
        ("wait cart", "no ShopService \"cart\""),
        ("abort cart", "no ShopService \"cart\""),
    ] {
        let error = shop(&server, line).await.error();
        assert!(error.contains(says), "{line}: {error}");
    }
    server.script().forbidden = Some("only ann may promote order".to_owned());
    let error = shop(&server, "promote order --revision 7").await.error();
    assert!(
        error.starts_with("not allowed to create the ReleaseDecision: only ann may promote order"),
        "{error}"
    );
    server.script().installed = false;
    let error = shop(&server, "status order").await.error();
    assert!(error.starts_with("the cluster has no kind ShopService; install Shopkeeper"), "{error}");
}

#[tokio::test]
async fn status_and_why_exit_with_what_they_show() {
    for (status, exit, says) in [
        (completed(), Exit::Done, "nothing is waiting"),
        (releasing("Scaling"), Exit::Done, "nothing is waiting: r7 green is being released (Scaling)"),
        (waiting(), Exit::Waiting, "run: kubectl shop promote order --revision 7 -n shop"),
        (aborted(), Exit::Aborted, "r7 was aborted (CrashLoop: it exits)"),
        (degraded(), Exit::Degraded, "users are with r6 blue (1/3 pods ready)"),
    ] {
        let server = Server::new([status]);
        let why = shop(&server, "why order").await;
        assert_eq!(why.exit(), exit, "{}", why.out);
        assert!(why.out.contains(says), "{}", why.out);
        let page = shop(&server, "status order -o json").await;
        assert_eq!((page.exit(), page.json()["exitCode"].as_u64()), (exit, Some(u64::from(exit.code()))));
        let page = shop(&server, "status order -o yaml").await;
        assert!(page.out.contains(&format!("result: {}\n", exit.as_str())), "{}", page.out);
        assert!(shop(&server, "status order").await.out.contains("Service     shop/order\n"));
    }
}

#[tokio::test]
async fn history_lists_this_services_decisions() {
    let server = Server::new([aborted()]);
    for (service, verb) in [("order", "promote"), ("cart", "abort")] {
        server.script().decisions.push(json!({
            "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ReleaseDecision",
            "metadata": {"name": format!("{service}-x"), "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"service": service, "verb": verb, "revision": 7, "actor": "ann"},
            "status": {"outcome": "Refused", "reason": "StaleRevision", "message": "too late"},
        }));
    }
    let ended = shop(&server, "history order").await;
    assert_eq!(ended.exit(), Exit::Done);
    assert!(ended.out.contains("too late") && !ended.out.contains("abort "), "{}", ended.out);
    assert_eq!(shop(&server, "history order -o json").await.json()["decisions"].as_array().unwrap().len(), 1);
}

fn pod(name: &str, revision: &str, ready: bool, waiting: Option<&str>) -> Value {
    let state =
        waiting.map_or_else(|| json!({"running": {}}), |reason| json!({"waiting": {"reason": reason}}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z",
                     "labels": {"shopkeeper.dev/service": "order", "shopkeeper.dev/revision": revision}},
        "spec": {"containers": [], "nodeName": "node-1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                   "containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": ready, "restartCount": 2, "state": state}]},
    })
}

#[tokio::test]
async fn status_shows_revisions_with_their_pods() {
    let server = Server::new([releasing("Shifting")]);
    for (name, revision, ready, waiting) in [
        ("order-r6-a", "6", true, None),
        ("order-r6-b", "6", true, None),
        ("order-r7-c", "7", true, None),
        ("order-r7-d", "7", false, Some("CrashLoopBackOff")),
    ] {
        server.add(&format!("/api/v1/namespaces/shop/pods/{name}"), pod(name, revision, ready, waiting));
    }
    let page = shop(&server, "status order").await;
    let tree: Vec<String> = page
        .out
        .lines()
        .skip_while(|line| !line.starts_with("REVISION"))
        .take(7)
        .map(|line| {
            // The age is that of the test.
            let words: Vec<&str> = line.split_whitespace().collect();
            words[..words.len().min(5)].join(" ")
        })
        .collect();
    assert_eq!(
        tree,
        [
            "REVISION ROLE WEIGHT READY STATE",
            "r6 blue active 0% 2/2",
            "├─ order-r6-a yes Running 2",
            "└─ order-r6-b yes Running 2",
            "r7 green candidate 100% 1/2",
            "├─ order-r7-c yes Running 2",
            "└─ order-r7-d no CrashLoopBackOff 2",
        ],
        "{}",
        page.out
    );
    let found = shop(&server, "status order -o json").await.json();
    assert_eq!(found["revisions"][1]["pods"][1]["state"], "CrashLoopBackOff");
}

#[tokio::test]
async fn get_lists_services_and_one() {
    let server = Server::new([releasing("Shifting")]);
    let page = shop(&server, "get").await;
    assert_eq!(page.exit(), Exit::Done);
    let lines: Vec<&str> = page.out.lines().collect();
    assert!(
        lines[0].starts_with("NAME   PHASE     READY  ACTIVE   CANDIDATE  WEIGHT  IMAGE"),
        "{}",
        page.out
    );
    assert!(
        lines[2].starts_with("order  Shifting  3/3    r6 blue  r7 green   100%    shop/order:2"),
        "{}",
        page.out
    );
    assert!(lines[1].starts_with("cart   -"), "{}", page.out);
    let page = shop(&server, "get -A -o wide").await;
    assert!(page.out.starts_with("NAMESPACE  NAME"), "{}", page.out);
    assert!(page.out.contains("STRATEGY") && page.out.contains("blueGreen"), "{}", page.out);
    assert_eq!(shop(&server, "get -o json").await.json()["items"][1]["weight"], "100%");
    assert_eq!(shop(&server, "get order -o json").await.json()["candidate"], "r7 green");
    let error = shop(&server, "get order -n other").await.error();
    assert!(error.contains("did you mean -n shop?"), "{error}");
}

#[tokio::test]
async fn why_and_doctor_warn_of_a_dependency_that_nobody_calls() {
    let server = Server::new([releasing("Shifting")]);
    server.script().depends_on = vec![json!({"name": "inventory"}), json!({"name": "payment"})];
    for name in ["order-r6-a", "order-r6-b"] {
        server.add(&format!("/api/v1/namespaces/shop/pods/{name}"), pod(name, "6", true, None));
    }
    let stats = |calls: u64| {
        json!({"revision": 6, "dependencies": [
            {"name": "inventory", "calls": calls, "failures": 0}, {"name": "payment", "calls": 0, "failures": 0},
        ]})
    };
    let path = |name: &str| format!("/api/v1/namespaces/shop/pods/{name}:9442/proxy/stats");
    server.add(&path("order-r6-a"), stats(0));
    server.add(&path("order-r6-b"), stats(4));
    let why = shop(&server, "why order").await;
    assert!(why.out.contains("warning: payment: no call of it has been seen"), "{}", why.out);
    assert!(!why.out.contains("inventory: no call"), "{}", why.out);
    let doctor = shop(&server, "doctor").await;
    assert!(
        doctor.out.contains("calls of order") && doctor.out.contains("SHOP_PAYMENT_URL"),
        "{}",
        doctor.out
    );
}
