//! Verbs that decide: what they write, and how they end.

use kubectl_shop::Exit;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{server::Server, *};

#[tokio::test]
async fn promote_writes_a_decision_in_the_users_name() {
    let server = Server::new([waiting()]);
    server.script().answers = [Value::Null, accepted()].into();
    let digest = format!("sha256:{}", "a".repeat(64));
    let ended =
        shop(&server, &format!("promote order --revision 7 --digest {digest} --reason tested -o json")).await;
    assert_eq!(ended.exit(), Exit::Done, "{}", ended.notes);

    let script = server.script();
    let [decision] = script.decisions.as_slice() else { panic!("{:?}", script.decisions) };
    let name = decision["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("order-promote-r7-"), "{name}");
    assert_eq!(decision["metadata"]["namespace"], "shop");
    assert_eq!(decision["metadata"]["labels"]["shopkeeper.dev/service"], "order");
    let spec = json!({
        "service": "order", "verb": "promote", "revision": 7, "digest": digest, "actor": "ann@shop.example", "reason": "tested",
    });
    assert_eq!(decision["spec"], spec);
    let expected = json!({
        "namespace": "shop", "service": "order", "action": "promote", "revision": 7, "digest": digest, "decision": name,
        "actor": "ann@shop.example", "outcome": "Accepted", "reason": "DecisionAccepted", "result": "done", "exitCode": 0,
        "message": "revision 7 becomes active when it is ready",
    });
    assert_eq!(ended.json(), expected);
    assert!(
        ended.notes.contains(&format!("releasedecision/{name} created as ann@shop.example")),
        "{}",
        ended.notes
    );
}

#[tokio::test]
async fn promote_follows_until_the_release_has_ended() {
    let mut held = releasing("Preparing");
    held["release"]["held"] = json!(true);
    for (name, last, exit) in [
        ("stable", completed(), Exit::Done),
        ("undone", aborted(), Exit::Aborted),
        ("on hold", held, Exit::Waiting),
    ] {
        let course =
            [waiting(), waiting(), releasing("Scaling"), releasing("Switching"), releasing("Watching"), last];
        let server = Server::new(course);
        server.script().answers = [Value::Null, accepted()].into();
        let ended = shop(&server, "promote order --revision 7 --wait --timeout 10m -o json").await;
        assert_eq!(ended.exit(), exit, "{name}: {}", ended.out);
        assert_eq!(ended.json()["result"], exit.as_str(), "{name}");
        assert!(ended.notes.contains("r7 green is being released (Switching)"), "{name}: {}", ended.notes);
    }
}

#[tokio::test]
async fn promote_looks_past_trouble_that_passes() {
    let server = Server::new([waiting(), releasing("Scaling"), completed()]);
    server.script().answers = [accepted()].into();
    server.script().failures = [500, 503, 429].into();
    let ended = shop(&server, "promote order --revision 7 --wait").await;
    assert_eq!(ended.exit(), Exit::Done, "{}", ended.notes);
    assert!(server.script().failures.is_empty());
    assert!(ended.notes.contains("etcd is away; trying again"), "{}", ended.notes);
}

#[tokio::test]
async fn time_runs_out_or_only_clean_up_is_left() {
    let mut draining = releasing("Draining");
    draining["active"] = json!({"revision": 7, "label": "r7 green"});
    draining["release"]["succeeded"] = json!(AT);
    for (status, exit, says) in [
        (releasing("Scaling"), Exit::TimedOut, "to see more: kubectl shop why order -n shop"),
        (draining, Exit::Done, "r7 green is stable"),
    ] {
        let server = Server::new([status]);
        server.script().answers = [accepted()].into();
        let ended = shop(&server, "promote order --revision 7 --wait --timeout 0s").await;
        assert_eq!(ended.exit(), exit, "{}", ended.out);
        assert!(ended.out.contains(says), "{}", ended.out);
    }
}

#[tokio::test]
async fn refused_decisions_show_the_operators_message() {
    for line in [
        "promote order --revision 7",
        "promote order --revision 7 --wait",
        "abort order",
        "rollback order --wait",
    ] {
        let server = Server::new([waiting()]);
        let message = "the candidate is revision 8, not 7";
        server.script().answers = [Value::Null, answer("Refused", "StaleRevision", message)].into();
        let ended = shop(&server, line).await;
        assert_eq!(ended.exit(), Exit::Error, "{line}: {}", ended.out);
        assert!(
            ended.out.contains(&format!("decision refused (StaleRevision): {message}")),
            "{line}: {}",
            ended.out
        );
    }
}

#[tokio::test]
async fn an_operator_that_does_not_answer_is_named() {
    let server = Server::new([waiting()]);
    let ended = answered_within(Duration::from_millis(10), &server, "abort order").await;
    assert_eq!(ended.exit(), Exit::TimedOut);
    assert!(
        ended.out.contains(
            "the operator has not taken up the decision yet (kubectl shop doctor tells whether it runs)"
        ),
        "{}",
        ended.out
    );
    assert_eq!(server.script().decisions.len(), 1);
}

#[tokio::test]
async fn without_a_revision_the_offered_one_is_taken_and_said() {
    for (verb, status, revision, says) in [
        ("abort", waiting(), 7, "abort: takes r7 green, the candidate"),
        ("rollback", completed(), 7, "rollback: takes r7 blue, the active one"),
        ("retry", aborted(), 7, "retry: takes r7, the one that the spec asks for and users left"),
    ] {
        let server = Server::new([status]);
        server.script().answers = [accepted()].into();
        let ended = shop(&server, &format!("{verb} order")).await;
        assert_eq!(ended.exit(), Exit::Done, "{verb}");
        assert!(ended.notes.contains(says), "{}", ended.notes);
        let script = server.script();
        assert_eq!(
            (&script.decisions[0]["spec"]["verb"], &script.decisions[0]["spec"]["revision"]),
            (&json!(verb), &json!(revision))
        );
    }
    let server = Server::new([completed()]);
    let error = shop(&server, "abort order").await.error();
    assert!(error.contains("there is nothing to abort for \"order\": users are with r7 blue"), "{error}");
    assert!(server.script().decisions.is_empty());
}

#[tokio::test]
async fn abort_and_rollback_follow_users_back() {
    let mut leaving = releasing("Aborting");
    leaving["release"]["aborting"] =
        json!({"reason": "Decided", "message": "ann decided so", "since": AT, "traffic": true});
    let back = stable(6, &[revision(6, Some("Completed"), false), revision(7, Some("RolledBack"), true)]);
    for (line, first) in
        [("abort order --wait", releasing("Shifting")), ("rollback order --revision 7 --wait", completed())]
    {
        let server = Server::new([first, leaving.clone(), back.clone()]);
        server.script().answers = [accepted(), answer("Done", "DecisionDone", "users are back")].into();
        let ended = shop(&server, line).await;
        assert_eq!(ended.exit(), Exit::Done, "{line}: {}", ended.out);
        assert!(ended.out.contains("users are with r6 blue (3/3 pods ready)"), "{line}: {}", ended.out);
        assert!(ended.notes.contains("r7 green is being left: ann decided so"), "{line}: {}", ended.notes);
    }
}

#[tokio::test]
async fn verbs_write_what_they_were_given() {
    for (line, status, expected) in [
        (
            "promote order --revision 7 --full --force",
            waiting(),
            json!({"verb": "promote", "revision": 7, "full": true, "force": true}),
        ),
        (
            "rollback order --to 5 --force",
            completed(),
            json!({"verb": "rollback", "revision": 7, "to": 5, "force": true}),
        ),
        ("pause order", releasing("Scaling"), json!({"verb": "pause", "revision": 7})),
        ("resume order", releasing("Scaling"), json!({"verb": "resume", "revision": 7})),
        ("restart order", completed(), json!({"verb": "restart", "revision": 7})),
        ("retry order --revision 7", aborted(), json!({"verb": "retry", "revision": 7})),
    ] {
        let server = Server::new([status]);
        server.script().answers = [answer("Done", "DecisionDone", "so it is")].into();
        let ended = shop(&server, line).await;
        assert_eq!(ended.exit(), Exit::Done, "{line}: {}", ended.out);
        let mut spec = server.script().decisions[0]["spec"].clone();
        let given = spec.as_object_mut().unwrap();
        given.retain(|field, _| field != "service" && field != "actor");
        assert_eq!(spec, expected, "{line}");
    }
}
