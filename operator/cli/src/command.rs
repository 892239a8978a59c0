//! The verbs: what is read, what is written, what is printed, and the exit code.

mod adopt;
mod decide;
mod diff;
mod doctor;
mod eject;
mod follow;
mod get;
mod inspect;
mod plan;
mod set;
mod watch;

use std::{io::Write, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use shop_crds::{Span, Verb};

use crate::{
    arguments::{Command, Output, SetCommand},
    client::{ClientError, Cluster},
    exit::Exit,
};

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The API server did not do what it was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No revision was named, and the status offers none.
    #[error("there is nothing to {} for {service:?}: {now}; name a revision with --revision if you know better", .verb.as_str())]
    NothingOffered {
        /// What was to be decided.
        verb: Verb,
        /// About which service.
        service: String,
        /// What is so.
        now: String,
    },
    /// The spec asks for that image already.
    #[error(
        "{service:?} asks for image {image:?} already; nothing was changed. Name another image; a revision that was left is tried \
         again with: kubectl shop retry {service}"
    )]
    SameImage {
        /// The service.
        service: String,
        /// The image.
        image: String,
    },
    /// A revision is not kept, or never was.
    #[error("{service:?} has no revision {revision}; it has {known}. See: kubectl shop history {service}")]
    NoRevision {
        /// The service.
        service: String,
        /// The number that was named.
        revision: i64,
        /// Numbers that are kept.
        known: String,
    },
    /// A revision's record cannot be read.
    #[error(
        "the record of revision {revision}, ControllerRevision {name:?}, is not one that this program knows; use the kubectl-shop of \
         the operator's version"
    )]
    StrangeRevision {
        /// The number.
        revision: i64,
        /// Name of the object.
        name: String,
    },
    /// A Deployment cannot become a ShopService.
    #[error("cannot adopt Deployment {deployment:?}; nothing was changed:\n{}", .problems.join("\n"))]
    Unfit {
        /// Its name.
        deployment: String,
        /// What to change, a line each.
        problems: Vec<String>,
    },
    /// A release runs, and would be cut short.
    #[error(
        "{service:?} is in the middle of a release, and stays as it is: wait for its end (kubectl shop wait {service}), or abort it"
    )]
    Releasing {
        /// The service.
        service: String,
    },
    /// A file cannot be used.
    #[error("cannot plan {file:?}: {message}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The answer could not be printed.
    #[error("cannot print the answer: {0}")]
    Print(#[from] std::io::Error),
    /// The answer could not be written as JSON.
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The answer could not be written as YAML.
    #[error("cannot write the answer as YAML: {0}")]
    Yaml(String),
}

/// Longest wait with `--wait` where none is given.
const TIMEOUT: Span = Span::secs(600);

/// How often is looked, and how long the operator may take to answer a decision.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two looks where changes cannot be watched.
    pub poll: Duration,
    /// Longest wait for the operator to answer a decision, without `--wait`.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { poll: Duration::from_millis(500), answer: Duration::from_secs(10) }
    }
}

/// Where answers and progress are printed, and how.
pub struct Terminal<'a> {
    /// Answers: standard output.
    pub out: &'a mut dyn Write,
    /// Progress: standard error.
    pub notes: &'a mut dyn Write,
    /// How answers are printed.
    pub output: Output,
}

impl Terminal<'_> {
    /// Prints an answer: data as it is, or as a page.
    fn answer<T: Serialize>(
        &mut self,
        answer: &T,
        page: impl FnOnce(&T, Timestamp) -> String,
    ) -> Result<(), CommandError> {
        let text = match self.output {
            Output::Table | Output::Wide => page(answer, Timestamp::now()),
            Output::Json => serde_json::to_string_pretty(answer)? + "\n",
            Output::Yaml => {
                serde_yaml::to_string(answer).map_err(|error| CommandError::Yaml(error.to_string()))?
            }
        };
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Prints one of several answers: a line, also in JSON.
    fn line<T: Serialize>(
        &mut self,
        answer: &T,
        line: impl FnOnce(&T, Timestamp) -> String,
    ) -> Result<(), CommandError> {
        if self.output == Output::Json {
            writeln!(self.out, "{}", serde_json::to_string(answer)?)?;
            return Ok(self.out.flush()?);
        }
        if self.output == Output::Yaml {
            self.out.write_all(b"---\n")?;
        }
        self.answer(answer, line)
    }

    /// Whether more columns are wanted.
    fn wide(&self) -> bool {
        self.output == Output::Wide
    }

    /// Prints a line of progress.
    fn note(&mut self, line: &str) -> Result<(), CommandError> {
        Ok(writeln!(self.notes, "{}", crate::render::printable(line))?)
    }
}

/// Does what the command line asks for.
pub async fn run(
    command: &Command,
    cluster: &Cluster,
    pace: Pace,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    if let Some(request) = command.request() {
        return decide::decide(&request, cluster, pace, terminal).await;
    }
    match command {
        Command::Get(arguments) => get::get(arguments, cluster, terminal).await,
        Command::Status(arguments) if arguments.watch => {
            watch::watch(&arguments.name, cluster, pace, terminal).await
        }
        Command::Status(arguments) => inspect::status(&arguments.name, cluster, terminal).await,
        Command::Why(named) => inspect::why(&named.name, cluster, terminal).await,
        Command::Set(SetCommand::Image(arguments)) => set::image(arguments, cluster, pace, terminal).await,
        Command::Diff(arguments) => diff::diff(arguments, cluster, terminal).await,
        Command::Plan(arguments) => Box::pin(plan::plan(arguments, cluster, terminal)).await,
        Command::Adopt(arguments) => Box::pin(adopt::adopt(arguments, cluster, pace, terminal)).await,
        Command::Eject(named) => Box::pin(eject::eject(&named.name, cluster, pace, terminal)).await,
        Command::Doctor => doctor::doctor(cluster, terminal).await,
        Command::History(named) => inspect::history(&named.name, cluster, terminal).await,
        Command::Wait(arguments) => follow::wait(arguments, cluster, pace, terminal).await,
        // Answered above, or where there is no cluster.
        Command::Promote(_)
        | Command::Abort(_)
        | Command::Rollback(_)
        | Command::Retry(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Restart(_)
        | Command::Completion { .. }
        | Command::Complete(_) => Ok(Exit::Usage),
    }
}
