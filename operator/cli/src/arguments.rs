//! The command line.

// The comments are the text of --help, where backticks would stay.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shop_crds::{Span, Verb};

use crate::{exit::Exit, verdict::Goal};

/// Decides about releases of ShopServices, shows what they wait for, and waits for them in a pipeline.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl-shop", bin_name = "kubectl shop", version, after_help = Exit::help())]
pub struct Arguments {
    /// Which cluster and namespace.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print what was found.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Namespace of the service; default: the one of the kubeconfig's context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
}

/// How to print what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One JSON document on standard output; progress stays on standard error.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make the candidate active. Names the revision, so that nothing else is promoted than was tested.
    #[command(after_help = Exit::help())]
    Promote(PromoteArguments),
    /// End the release of the candidate; users stay with, or go back to, the stable revision.
    #[command(after_help = Exit::help())]
    Abort(DecisionArguments),
    /// Bring users from the active revision back to the one before it.
    #[command(after_help = Exit::help())]
    Rollback(DecisionArguments),
    /// Try a revision again that was aborted or rolled back, or that is held after a failure.
    #[command(after_help = Exit::help())]
    Retry(DecisionArguments),
    /// Show phase, revisions, pods, what blocks, and conditions.
    #[command(after_help = Exit::help())]
    Status(StatusArguments),
    /// Say what blocks, since when, when it is looked at again, and the command that moves it.
    #[command(after_help = Exit::help())]
    Why(Named),
    /// List revisions with their outcomes, and the decisions made.
    History(Named),
    /// Wait until the service is as asked for. Ends early when a decision is waited for, or the release was undone.
    #[command(after_help = Exit::help())]
    Wait(WaitArguments),
}

/// A service by name.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Name of the ShopService.
    pub name: String,
}

/// What every decision takes.
#[derive(Clone, Debug, Args)]
pub struct Choice {
    /// Name of the ShopService.
    pub name: String,
    /// Why, for the record.
    #[arg(long, value_parser = reason)]
    pub reason: Option<String>,
    /// Stay until the release has ended.
    #[arg(long)]
    pub wait: bool,
    /// How long to stay, with --wait; default 10m.
    #[arg(long, requires = "wait", value_name = "DURATION")]
    pub timeout: Option<Span>,
}

/// `promote`.
#[derive(Clone, Debug, Args)]
pub struct PromoteArguments {
    /// What every decision takes.
    #[command(flatten)]
    pub choice: Choice,
    /// The revision that was tested.
    #[arg(long, value_parser = revision, value_name = "N")]
    pub revision: i64,
    /// Image digest that was tested (sha256:...); a revision that runs another one is not promoted.
    #[arg(long, value_parser = digest)]
    pub digest: Option<String>,
}

/// `abort`, `rollback`, `retry`.
#[derive(Clone, Debug, Args)]
pub struct DecisionArguments {
    /// What every decision takes.
    #[command(flatten)]
    pub choice: Choice,
    /// The revision that is meant; default: the one that the status offers, which is printed.
    #[arg(long, value_parser = revision, value_name = "N")]
    pub revision: Option<i64>,
    /// Image digest that is meant (sha256:...).
    #[arg(long, value_parser = digest)]
    pub digest: Option<String>,
}

/// `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Name of the ShopService.
    pub name: String,
    /// Print it again at each change, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// `wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArguments {
    /// Name of the ShopService.
    pub name: String,
    /// What to wait for.
    #[arg(long = "for", value_enum, default_value_t, value_name = "GOAL")]
    pub goal: Goal,
    /// How long; 0s looks once.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub timeout: Span,
}

/// A decision as the command line asks for it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is decided.
    pub verb: Verb,
    /// The revision, where it is named.
    pub revision: Option<i64>,
    /// The image digest, where it is named.
    pub digest: Option<&'a str>,
    /// Name, reason and waiting.
    pub choice: &'a Choice,
}

impl Command {
    /// The decision that the command asks for, if it is one.
    pub fn request(&self) -> Option<Request<'_>> {
        let (verb, arguments) = match self {
            Self::Promote(PromoteArguments { choice, revision, digest }) => {
                let revision = Some(*revision);
                return Some(Request { verb: Verb::Promote, revision, digest: digest.as_deref(), choice });
            }
            Self::Abort(arguments) => (Verb::Abort, arguments),
            Self::Rollback(arguments) => (Verb::Rollback, arguments),
            Self::Retry(arguments) => (Verb::Retry, arguments),
            Self::Status(_) | Self::Why(_) | Self::History(_) | Self::Wait(_) => return None,
        };
        let DecisionArguments { choice, revision, digest } = arguments;
        Some(Request { verb, revision: *revision, digest: digest.as_deref(), choice })
    }
}

fn revision(text: &str) -> Result<i64, String> {
    text.trim_start_matches('r')
        .parse()
        .ok()
        .filter(|number| *number >= 1)
        .ok_or_else(|| "write the revision's number, as in 7".to_owned())
}

fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if valid { Ok(text.to_owned()) } else { Err("write sha256: and 64 hexadecimal digits".to_owned()) }
}

fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() <= 1024 {
        Ok(text.to_owned())
    } else {
        Err("write at most 1024 characters".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["kubectl-shop"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_what_the_readme_shows() {
        let arguments = parse("promote order --revision 7 --wait --timeout 10m -o json -n shop").unwrap();
        let request = arguments.command.request().unwrap();
        assert_eq!((request.verb, request.revision), (Verb::Promote, Some(7)));
        assert_eq!(request.choice.timeout, Some(Span::secs(600)));
        assert_eq!(
            (arguments.output, arguments.connection.namespace.as_deref()),
            (Output::Json, Some("shop"))
        );
        let Command::Wait(wait) = parse("-n shop wait order --for=previewReady").unwrap().command else {
            panic!("not a wait")
        };
        assert_eq!((wait.goal, wait.timeout), (Goal::PreviewReady, Span::secs(600)));
        assert_eq!(parse("abort order").unwrap().command.request().unwrap().revision, None);
    }

    #[test]
    fn wrong_lines_are_usage_errors() {
        for line in [
            "",
            "promote order",
            "promote order --revision 0",
            "promote order --revision 7 --digest sha256:abc",
            "promote order --revision 7 --timeout 5m",
            "abort",
            "wait order --for=lunch",
            "wait order --timeout 5",
            "status order -o xml",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}: {error}");
        }
    }

    #[test]
    fn help_exits_with_zero_and_names_the_codes() {
        for line in ["--help", "promote --help", "wait --help"] {
            let help = parse(line).unwrap_err();
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0), "{line}");
            assert!(help.to_string().contains("6  timed out"), "{line}: {help}");
        }
    }
}
