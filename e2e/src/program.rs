//! Running other programs: their output becomes part of the error when they fail. And how this one ends.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, ExitCode, Output, Stdio, Termination};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::netns;

/// Error texts carry this many of the last bytes of a program's output.
const TAIL: usize = 4000;

/// Ends this program: an error is told on standard error, with all its causes.
pub fn end(outcome: Result<impl Termination>) -> ExitCode {
    match outcome {
        Ok(outcome) => outcome.report(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a program to its end and returns what it wrote to standard output; a failure carries what it wrote to both.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    finish(command, &output.with_context(|| format!("start {}", name(command)))?)
}

/// [`run`] with a text on standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", name(command)))?;
    let mut stdin = child.stdin.take().context("the program's standard input is piped")?;
    let output = thread::scope(|scope| {
        // Written beside the reading: a program may answer before it has read everything.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output()
    });
    finish(command, &output.with_context(|| format!("run {}", name(command)))?)
}

/// A command that runs inside of a cluster's network namespace.
pub fn inside(cluster: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    // Only the network is entered: `ip netns exec` would also mount another /sys and hide the cgroups.
    let mut network = std::ffi::OsString::from("--net=");
    network.push(netns::path(cluster));
    command.arg(network).arg("--").arg(program);
    command
}

/// The last part of a text, whole lines, for an error message.
pub fn tail(text: &str) -> &str {
    let text = text.trim_end();
    if text.len() <= TAIL {
        return text;
    }
    let from = text.ceil_char_boundary(text.len() - TAIL);
    let cut = text.get(from..).unwrap_or(text);
    cut.split_once('\n').map_or(cut, |(_, rest)| rest)
}

fn finish(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("{} ended with {}\n{}\n{}", name(command), output.status, tail(&stdout), tail(&stderr))
}

fn name(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_and_its_output() {
        let error = run(Command::new("sh").args(["-c", "echo told; echo wrong >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        for part in ["sh -c", "exit status: 3", "told", "wrong"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn input_larger_than_a_pipe_is_echoed() {
        let input = "line\n".repeat(100_000);
        assert_eq!(run_with_input(&mut Command::new("cat"), &input).unwrap(), input);
    }

    #[test]
    fn a_tail_begins_at_a_line() {
        let text = format!("{}\nlast", "ä".repeat(TAIL));
        assert_eq!(tail(&text), "last");
    }
}
