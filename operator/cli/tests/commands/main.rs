//! Whole commands against an API server inside of the test: what they create, what they print, and how they exit.

// Clippy takes what stands beside the tests for production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adopts;
mod changes;
mod decisions;
mod examples;
mod program;
mod server;
mod shows;
mod waits;

use std::time::Duration;

use clap::Parser as _;
use kubectl_shop::{Arguments, Cluster, Exit, Pace, Terminal, command::CommandError, run};
use serde_json::{Value, json};
use server::Server;

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
    paced(Pace { poll: Duration::from_millis(1), answer }, server, line).await
}

async fn paced(pace: Pace, server: &Server, line: &str) -> Ended {
    let words = ["kubectl-shop"].into_iter().chain(line.split_whitespace());
    let arguments = Arguments::try_parse_from(words).unwrap();
    let namespace = arguments.connection.namespace.clone().unwrap_or_else(|| "shop".to_owned());
    let cluster = Cluster::new(server.client(), namespace);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, notes: &mut notes, output: arguments.output };
    let command = Box::pin(run(&arguments.command, &cluster, pace, &mut terminal));
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
