//! The program as it is started in a pod: what it says when it cannot run, and its end on SIGTERM.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes long; the deadline is for machines that are busy with something else.
const DEADLINE: Duration = Duration::from_mins(2);

fn shopd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopd"));
    command.args(arguments);
    for name in ["SHOP_VERSION", "SHOP_REVISION", "SHOP_FAULT", "SHOP_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Its exit code and what it says on standard error.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = shopd(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A running program that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self(shopd(arguments).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads its log until a line has `text`.
    fn wait_for(&mut self, text: &str) {
        let log = BufReader::new(self.0.stdout.as_mut().unwrap());
        assert!(log.lines().any(|line| line.unwrap().contains(text)), "it ended without {text}");
    }

    fn terminate(&mut self) -> ExitStatus {
        let pid = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end on SIGTERM");
    }
}

#[test]
fn without_a_command_it_shows_its_usage() {
    let (code, said) = refused(&[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("Usage: shopd <COMMAND>") && said.contains("product"), "{said}");
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = refused(&["product", "--host", "127.0.0.1", "--port", &port]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: cannot listen on 127.0.0.1:") && said.contains("--port"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn faults_at_start_end_it() {
    assert_eq!(refused(&["product", "--port", "0", "--fault", "crash-at-start"]).0, Some(1));
    assert_eq!(refused(&["product", "--port", "0", "--fault", "crash-after=1ms"]).0, Some(1));
    let (code, said) = refused(&["product", "--fault", "slow"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no fault `slow`; there are: not-ready"), "{said}");
}

#[test]
fn it_ends_well_on_sigterm() {
    for (fault, started) in [("", "\"listening\""), ("never-listen", "stays closed")] {
        let mut running =
            Running::start(&["product", "--host", "127.0.0.1", "--port", "0", "--fault", fault]);
        running.wait_for(started);
        assert_eq!(running.terminate().code(), Some(0), "{fault}");
    }
}
