//! Exit codes: what a pipeline branches on.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// What was asked for is so.
    Done,
    /// It could not be done: not found, not allowed, refused, unreachable.
    Error,
    /// The command line is wrong.
    Usage,
    /// The release waits for somebody to decide.
    Waiting,
    /// The release was undone: users have the revision before.
    Aborted,
    /// No release runs, and users have fewer ready pods than wanted.
    Degraded,
    /// It was not so before the timeout; the release goes on.
    TimedOut,
    /// A newer revision took the place of the one that was meant.
    Superseded,
}

impl Exit {
    /// All of them, by code.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::Waiting,
        Self::Aborted,
        Self::Degraded,
        Self::TimedOut,
        Self::Superseded,
    ];

    /// The process' exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Waiting => 3,
            Self::Aborted => 4,
            Self::Degraded => 5,
            Self::TimedOut => 6,
            Self::Superseded => 7,
        }
    }

    /// The word for it: `result` in JSON and YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::Usage => "usage",
            Self::Waiting => "waiting",
            Self::Aborted => "aborted",
            Self::Degraded => "degraded",
            Self::TimedOut => "timedOut",
            Self::Superseded => "superseded",
        }
    }

    /// What the code means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done: what was asked for is so",
            Self::Error => {
                "error: not found, not allowed, refused or unreachable; the message says what to do"
            }
            Self::Usage => "usage: the command line is wrong",
            Self::Waiting => "waiting: the release waits for somebody to decide",
            Self::Aborted => "aborted: the release was undone, users have the revision before",
            Self::Degraded => "degraded: users have fewer ready pods than wanted",
            Self::TimedOut => "timed out: not so yet; the release goes on",
            Self::Superseded => "superseded: a newer revision took the place of the one that was meant",
        }
    }

    /// The table of codes, for `--help`.
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            let _ = writeln!(text, "  {}  {}", exit.code(), exit.meaning());
        }
        text.push_str(
            "status and why exit with the code of what they show (0 while a release runs by itself).",
        );
        text
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_pipelines_were_promised() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7]);
        let words = ["done", "error", "usage", "waiting", "aborted", "degraded", "timedOut", "superseded"];
        assert_eq!(Exit::ALL.map(Exit::as_str), words);
    }

    #[test]
    fn help_and_readme_name_every_code() {
        let readme = include_str!("../README.md");
        for exit in Exit::ALL {
            assert!(Exit::help().contains(&format!("  {}  {}", exit.code(), exit.meaning())), "{exit:?}");
            assert!(readme.contains(&format!("| {} | {} |", exit.code(), exit.meaning())), "{exit:?}");
        }
    }
}
