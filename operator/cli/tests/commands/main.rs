//! Whole commands against an API server inside of the test: what they create, what they print, and how they exit.

// Clippy takes what stands beside the tests for production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod server;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser as _;
use kubectl_shop::{Arguments, Cluster, Exit, Pace, Terminal, command::CommandError, run};
use serde_json::{Value, json};
use server::Server;
use tokio::sync::Notify;

/// Longest time that any of these tests may take.
const LIMIT: Duration = Duration::from_mins(2);
const AT: &str = "2026-01-02T03:04:05.000000Z";

/// What a command printed, and how it ended.
struct Ended {
    result: Result<Exit, CommandError>,
    out: String,
    notes: String,
}

impl Ended {
    fn exit(&self) -> Exit {
        *self.result.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", self.notes))
    }

    fn error(&self) -> String {
        self.result.as_ref().expect_err("the command should fail").to_string()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

async fn shop(server: &Server, line: &str) -> Ended {
    answered_within(LIMIT, server, line).await
}

/// The command, when the operator has so long to answer a decision.
async fn answered_within(answer: Duration, server: &Server, line: &str) -> Ended {
    let words = ["kubectl-shop"].into_iter().chain(line.split_whitespace());
    let arguments = Arguments::try_parse_from(words).unwrap();
    let namespace = arguments.connection.namespace.clone().unwrap_or_else(|| "shop".to_owned());
    let cluster = Cluster::new(server.client(), namespace);
    let pace = Pace { poll: Duration::from_millis(1), answer };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, notes: &mut notes, output: arguments.output };
    let command = run(&arguments.command, &cluster, pace, &mut terminal);
    let result = tokio::time::timeout(LIMIT, command).await.expect("the command ends");
    Ended { result, out: String::from_utf8(out).unwrap(), notes: String::from_utf8(notes).unwrap() }
}

fn revision(number: i64, result: Option<&str>, barred: bool) -> Value {
    let mut state = json!({
        "number": number, "hash": format!("h{number}"), "image": format!("shop/order:{number}"), "colour": "blue",
        "created": AT, "barred": barred,
    });
    if let Some(result) = result {
        state["outcome"] = json!({"result": result, "reason": "CrashLoop", "message": "it exits", "at": AT});
    }
    state
}

fn stable(active: i64, revisions: &[Value]) -> Value {
    let label = json!({"revision": active, "label": format!("r{active} blue")});
    json!({
        "observedGeneration": 4, "phase": "Stable", "ready": "3/3", "active": label, "stable": label,
        "revisions": revisions, "lastRevision": 7,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Stable", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
    })
}

fn releasing(phase: &str) -> Value {
    let mut status = stable(6, &[revision(6, Some("Completed"), false), revision(7, None, false)]);
    status["phase"] = json!(phase);
    status["candidate"] = json!({"revision": 7, "label": "r7 green"});
    status["release"] =
        json!({"from": 6, "to": 7, "started": AT, "phaseSince": AT, "promotedBy": "ann@shop.example"});
    status
}

fn waiting() -> Value {
    let mut status = releasing("Verifying");
    status["release"].as_object_mut().unwrap().remove("promotedBy");
    status["blocked"] = json!({
        "reason": "AwaitingPromotion", "message": "revision 7 is ready; promote or abort it", "since": AT,
        "command": "kubectl shop promote order --revision 7 -n shop",
    });
    status
}

fn completed() -> Value {
    stable(7, &[revision(7, Some("Completed"), false)])
}

fn aborted() -> Value {
    stable(6, &[revision(6, Some("Completed"), false), revision(7, Some("Aborted"), true)])
}

fn degraded() -> Value {
    let mut status = stable(6, &[revision(6, Some("Completed"), false)]);
    status["conditions"][0]["status"] = json!("False");
    status["ready"] = json!("1/3");
    status
}

fn answer(outcome: &str, reason: &str, message: &str) -> Value {
    json!({"outcome": outcome, "reason": reason, "message": message})
}

fn accepted() -> Value {
    answer("Accepted", "DecisionAccepted", "revision 7 becomes active when it is ready")
}

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
        "namespace": "shop", "service": "order", "action": "promote", "revision": 7, "decision": name,
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
        ended.out.contains("the operator has not taken up the decision yet; is it running?"),
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
async fn wait_ends_with_what_became_of_it() {
    for (goal, course, exit) in [
        ("stable", vec![releasing("Scaling"), releasing("Watching"), completed()], Exit::Done),
        ("stable", vec![releasing("Scaling"), aborted()], Exit::Aborted),
        ("promoted", vec![releasing("Preparing"), waiting()], Exit::Waiting),
        ("previewReady", vec![releasing("Preparing"), waiting()], Exit::Done),
        ("stable", vec![degraded(), completed()], Exit::Done),
    ] {
        let name = format!("{goal}, {} steps", course.len());
        let ended = shop(&Server::new(course), &format!("wait order --for={goal} -o json")).await;
        assert_eq!(ended.exit(), exit, "{name}: {}", ended.out);
        assert_eq!(ended.json()["for"], goal);
    }
    for (status, exit) in [(degraded(), Exit::Degraded), (releasing("Scaling"), Exit::TimedOut)] {
        let ended = shop(&Server::new([status]), "wait order --timeout 0s").await;
        assert_eq!(ended.exit(), exit, "{}", ended.out);
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

/// A terminal that tells when something was printed.
#[derive(Clone, Default)]
struct Screen {
    text: Arc<Mutex<String>>,
    printed: Arc<Notify>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        self.printed.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn watching_prints_each_change_once() {
    let server = Server::new([waiting(), waiting(), releasing("Scaling"), releasing("Scaling"), completed()]);
    let arguments = Arguments::try_parse_from(["kubectl-shop", "status", "order", "--watch"]).unwrap();
    let (cluster, screen) = (Cluster::new(server.client(), "shop"), Screen::default());
    let pace = Pace { poll: Duration::from_millis(1), ..Pace::default() };
    let (mut out, mut notes) = (screen.clone(), Vec::new());
    let mut terminal = Terminal { out: &mut out, notes: &mut notes, output: arguments.output };
    let last = async {
        while !screen.text.lock().unwrap().contains("users are with r7 blue (3/3 pods ready)") {
            screen.printed.notified().await;
        }
    };
    let watched = async {
        tokio::select! {
            ended = run(&arguments.command, &cluster, pace, &mut terminal) => panic!("ended: {ended:?}"),
            () = last => {}
        }
    };
    tokio::time::timeout(LIMIT, watched).await.expect("the last status is printed");
    let text = screen.text.lock().unwrap().clone();
    assert_eq!(text.matches("Service     shop/order\n").count(), 3, "{text}");
}

#[test]
fn the_program_exits_with_the_promised_codes() {
    let program = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-shop"));
        let ended = command.args(arguments).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap() + &String::from_utf8(ended.stdout).unwrap();
        (ended.status.code(), text)
    };
    let (code, text) = program(&["--help"]);
    assert!(code == Some(0) && text.contains("4  aborted"), "{code:?}: {text}");
    let (code, text) = program(&["promote", "order"]);
    assert!(code == Some(2) && text.contains("--revision <N>"), "{code:?}: {text}");
    let (code, text) = program(&["status", "order", "--kubeconfig", "/nowhere/config"]);
    assert!(code == Some(1) && text.starts_with("error: no cluster: "), "{code:?}: {text}");
    assert!(text.contains("name a kubeconfig with --kubeconfig"), "{text}");
}
