//! The program itself, against an API server on a socket: every exit code that was promised.

use std::path::Path;

use kubectl_shop::Exit;
use serde_json::json;

use crate::{server::Server, *};

/// Exit code, and everything that was printed.
async fn program(kubeconfig: Option<&Path>, line: &str) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-shop"));
    command.args(line.split_whitespace());
    if let Some(path) = kubeconfig {
        command.arg("--kubeconfig").arg(path);
    }
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(ended.stderr).unwrap() + &String::from_utf8(ended.stdout).unwrap();
    (ended.status.code(), text)
}

#[tokio::test]
async fn every_exit_code_is_one_of_the_program() {
    let newer = superseded();
    let mut seen = Vec::new();
    for (line, status, exit) in [
        ("status order", completed(), Exit::Done),
        ("promote cart --revision 7", completed(), Exit::Error),
        ("promote order", completed(), Exit::Usage),
        ("wait order --for=promoted", waiting(), Exit::Waiting),
        ("wait order", aborted(), Exit::Aborted),
        ("why order", degraded(), Exit::Degraded),
        ("wait order --timeout 0s", releasing("Scaling"), Exit::TimedOut),
        ("wait order --revision 7", newer, Exit::Superseded),
    ] {
        let server = Server::new([status]);
        let kubeconfig = server.listen().await;
        let (code, text) = program(Some(kubeconfig.path()), line).await;
        assert_eq!(code, Some(i32::from(exit.code())), "{line}: {text}");
        seen.push(exit);
    }
    assert_eq!(seen, Exit::ALL);
}

#[tokio::test]
async fn the_program_says_what_is_wrong_without_a_cluster() {
    let (code, text) = program(None, "--help").await;
    assert!(code == Some(0) && text.contains("7  superseded"), "{code:?}: {text}");
    let (code, text) = program(None, "promote order").await;
    assert!(code == Some(2) && text.contains("--revision <N>"), "{code:?}: {text}");
    let (code, text) = program(Some(Path::new("/nowhere/config")), "status order").await;
    assert!(code == Some(1) && text.starts_with("error: no cluster: "), "{code:?}: {text}");
    assert!(text.contains("name a kubeconfig with --kubeconfig"), "{text}");
}

#[tokio::test]
async fn lines_are_completed_with_and_without_a_cluster() {
    let (code, text) = program(None, "completion bash").await;
    assert!(code == Some(0) && text.contains("_kubectl__shop()"), "{code:?}: {text}");
    let server = Server::new([completed()]);
    let kubeconfig = server.listen().await;
    let (code, text) =
        program(None, &format!("__complete -- --kubeconfig {} status o", kubeconfig.path().display())).await;
    assert_eq!((code, text.as_str()), (Some(0), "order\n:4\n"));
    let (code, text) = program(None, "__complete -- --kubeconfig /nowhere/config status o").await;
    assert_eq!((code, text.as_str()), (Some(0), ":4\n"));
}

fn superseded() -> Value {
    let mut seven = revision(7, Some("Superseded"), false);
    seven["outcome"]["reason"] = json!("Superseded");
    let mut status = releasing("Preparing");
    status["revisions"] = json!([revision(6, Some("Completed"), false), seven, revision(8, None, false)]);
    status["candidate"] = json!({"revision": 8, "label": "r8 green"});
    status["release"]["to"] = json!(8);
    status["lastRevision"] = json!(8);
    status
}
