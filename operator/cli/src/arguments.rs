//! The command line.

// The comments are the text of --help, where backticks would stay.
#![allow(clippy::doc_markdown)]

mod verbs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shop_crds::Verb;

use crate::exit::Exit;

pub use verbs::{
    AdoptArguments, Choice, CompleteArguments, DecisionArguments, DiffArguments, GetArguments,
    ImageArguments, Named, PlanArguments, PromoteArguments, RollbackArguments, SetCommand, Shell,
    StatusArguments, WaitArguments,
};

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
    /// For people, with more columns.
    Wide,
    /// One JSON document on standard output; progress stays on standard error.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List ShopServices, or one: phase, ready pods, revisions, share of requests that the candidate has, what is waited for.
    Get(GetArguments),
    /// Show phase, revisions with their pods, what blocks, and conditions. With --watch one line per change, until the release
    /// ends or waits for somebody.
    #[command(after_help = Exit::help())]
    Status(StatusArguments),
    /// Say what blocks, since when, when it is looked at again, and the command that moves it.
    #[command(after_help = Exit::help())]
    Why(Named),
    /// Wait until the service is as asked for. Ends early when a decision is waited for, or the release was undone or superseded.
    #[command(after_help = Exit::help())]
    Wait(WaitArguments),
    /// Make the candidate active. Names the revision, so that nothing else is promoted than was tested.
    #[command(after_help = Exit::help())]
    Promote(PromoteArguments),
    /// End the release of the candidate; users stay with, or go back to, the stable revision.
    #[command(after_help = Exit::help())]
    Abort(DecisionArguments),
    /// Bring users from the active revision back to the one before it.
    #[command(after_help = Exit::help())]
    Rollback(RollbackArguments),
    /// Stop a release where it is. Nothing moves forward until it is resumed; trouble and aborts go on as ever.
    #[command(after_help = Exit::help())]
    Pause(DecisionArguments),
    /// Let a release go on that was paused.
    #[command(after_help = Exit::help())]
    Resume(DecisionArguments),
    /// Try a revision again that was aborted or rolled back, or that is held after a failure.
    #[command(after_help = Exit::help())]
    Retry(DecisionArguments),
    /// Change one thing of a spec.
    #[command(subcommand)]
    Set(SetCommand),
    /// Replace the pods of the active revision one by one, with the newest sidecar; no new revision is cut.
    #[command(after_help = Exit::help())]
    Restart(DecisionArguments),
    /// List revisions with their outcomes, and the decisions made.
    History(Named),
    /// Compare two revisions: what reaches the pod, and the content of their config. Of Secrets only the names of keys are shown.
    Diff(DiffArguments),
    /// Say what applying a file would lead to: writes in order, peak pods, quotas, budgets, least duration. Changes nothing.
    Plan(PlanArguments),
    /// Let a Deployment and its Service become a ShopService as they stand: no pod restarts, and the next release brings sidecars.
    /// Writes the ShopService with all that they have; what has no place in it is named, and then nothing is changed.
    #[command(after_help = Exit::help())]
    Adopt(AdoptArguments),
    /// Give back what users have as plain objects and delete the ShopService: no pod restarts, and the sidecars stay in the pods.
    #[command(after_help = Exit::help())]
    Eject(Named),
    /// Check the installation and your rights: operator, definitions, policies, sidecars, what is blocked. Exits with 1 if something
    /// must be put right.
    Doctor,
    /// Print a script that completes command lines in a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
    /// What kubectl_complete-shop asks: possible last words of a line.
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArguments),
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
    /// Where a rollback goes, where that is named.
    pub to: Option<i64>,
    /// Whether a promotion skips what is left.
    pub full: bool,
    /// Whether objections are overridden.
    pub force: bool,
    /// Name, reason and waiting.
    pub choice: &'a Choice,
}

impl<'a> Request<'a> {
    fn of(verb: Verb, arguments: &'a DecisionArguments) -> Self {
        let DecisionArguments { choice, revision, digest } = arguments;
        let digest = digest.as_deref();
        Self { verb, revision: *revision, digest, to: None, full: false, force: false, choice }
    }
}

impl Command {
    /// The decision that the command asks for, if it is one.
    pub fn request(&self) -> Option<Request<'_>> {
        Some(match self {
            Self::Promote(PromoteArguments { choice, revision, digest, full, force }) => Request {
                verb: Verb::Promote,
                revision: Some(*revision),
                digest: digest.as_deref(),
                to: None,
                full: *full,
                force: *force,
                choice,
            },
            Self::Rollback(RollbackArguments { decision, to, force }) => {
                Request { to: *to, force: *force, ..Request::of(Verb::Rollback, decision) }
            }
            Self::Abort(arguments) => Request::of(Verb::Abort, arguments),
            Self::Retry(arguments) => Request::of(Verb::Retry, arguments),
            Self::Pause(arguments) => Request::of(Verb::Pause, arguments),
            Self::Resume(arguments) => Request::of(Verb::Resume, arguments),
            Self::Restart(arguments) => Request::of(Verb::Restart, arguments),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
