//! What each verb takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shop_crds::Span;

use crate::{exit::Exit, verdict::Goal};

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
    /// Skip the remaining steps, pauses and analyses; never the checks that pods are ready.
    #[arg(long)]
    pub full: bool,
    /// Promote even where something says that it should not be: in a freeze, say.
    #[arg(long)]
    pub force: bool,
}

/// `rollback`.
#[derive(Clone, Debug, Args)]
pub struct RollbackArguments {
    /// What every decision about a revision takes.
    #[command(flatten)]
    pub decision: DecisionArguments,
    /// The revision to go back to; default: the newest proven one before the one that is left.
    #[arg(long, value_parser = earlier, value_name = "N")]
    pub to: Option<i64>,
    /// Go back even where something says that it should not be: after a contract job, say.
    #[arg(long)]
    pub force: bool,
}

/// `abort`, `retry`, `pause`, `resume`.
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

/// `get`.
#[derive(Clone, Debug, Args)]
pub struct GetArguments {
    /// Name of the ShopService; default: all of the namespace.
    pub name: Option<String>,
    /// Those of every namespace.
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
}

/// `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Name of the ShopService.
    pub name: String,
    /// Print a line at each change, until the release ends or waits for a decision.
    #[arg(short, long)]
    pub watch: bool,
}

/// `set`.
#[derive(Clone, Debug, Subcommand)]
pub enum SetCommand {
    /// Ask for another image: a new revision is cut from it. Nothing else of the spec is touched.
    #[command(after_help = Exit::help())]
    Image(ImageArguments),
}

/// `set image`.
#[derive(Clone, Debug, Args)]
pub struct ImageArguments {
    /// Name of the ShopService.
    pub name: String,
    /// The image, with a fixed tag or a digest.
    #[arg(value_parser = image)]
    pub image: String,
    /// Stay until the release has ended.
    #[arg(long)]
    pub wait: bool,
    /// How long to stay, with --wait; default 10m.
    #[arg(long, requires = "wait", value_name = "DURATION")]
    pub timeout: Option<Span>,
}

/// `diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArguments {
    /// Name of the ShopService.
    pub name: String,
    /// One revision.
    #[arg(value_parser = revision, value_name = "A")]
    pub from: i64,
    /// The other one.
    #[arg(value_parser = revision, value_name = "B")]
    pub to: i64,
}

/// `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArguments {
    /// File with ShopServices, and the ConfigMaps and Secrets that come with them; -: standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    pub file: PathBuf,
}

/// `adopt`.
#[derive(Clone, Debug, Args)]
pub struct AdoptArguments {
    /// The Deployment: deploy/NAME, or its name.
    #[arg(value_parser = deployment, value_name = "DEPLOYMENT")]
    pub deployment: String,
    /// The Service that users reach; default: the only one that leads to the Deployment's pods. The ShopService gets its name.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Print the ShopService and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArguments {
    /// Name of the ShopService.
    pub name: String,
    /// What to wait for.
    #[arg(long = "for", value_enum, default_value_t, value_name = "GOAL")]
    pub goal: Goal,
    /// The revision that is meant; default: the one that is being released when the wait begins.
    #[arg(long, value_parser = revision, value_name = "N")]
    pub revision: Option<i64>,
    /// How long; 0s looks once.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub timeout: Span,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// A line that is being written: the words after `kubectl shop`, the last one unfinished.
#[derive(Clone, Debug, Args)]
pub struct CompleteArguments {
    /// The words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

fn revision(text: &str) -> Result<i64, String> {
    text.trim_start_matches('r')
        .parse()
        .ok()
        .filter(|number| *number >= 1)
        .ok_or_else(|| "write the revision's number, as in 7".to_owned())
}

/// A revision that may be an adopted one.
fn earlier(text: &str) -> Result<i64, String> {
    if text.trim_start_matches('r') == "0" { Ok(0) } else { revision(text) }
}

fn deployment(text: &str) -> Result<String, String> {
    let kinds = ["deploy/", "deployment/", "deployments/", "deployment.apps/", "deployments.apps/"];
    let name = kinds.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
    if name.is_empty() || name.contains('/') {
        return Err("write the Deployment as deploy/NAME, as in deploy/order".to_owned());
    }
    Ok(name.to_owned())
}

fn image(text: &str) -> Result<String, String> {
    let valid = (1..=512).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_graphic());
    if valid {
        Ok(text.to_owned())
    } else {
        Err("write the image as a pod has it, as in shop/order:1.4.2".to_owned())
    }
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
