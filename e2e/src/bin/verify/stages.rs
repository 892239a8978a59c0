//! What is verified, in order: the one place that names every stage and every program of cluster tests.

use std::time::Duration;

/// A step of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    /// Its name, for `--only` and the summary. Of cluster tests it is also the name of the test program.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// How a stage is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Cargo commands that pass or fail.
    Commands(&'static [&'static [&'static str]]),
    /// Cargo commands that run tests.
    Tests(&'static [&'static [&'static str]]),
    /// Packages that tests need.
    Packages,
    /// Programs, images, cluster and operator.
    Prepare,
    /// A program of `e2e/tests`, named as the stage, so many tests at a time.
    ClusterTests { threads: &'static str },
}

/// After so long a command is taken for hanging and ended.
pub(crate) const LIMIT: Duration = Duration::from_mins(25);

/// All stages, in the order in which they are run.
pub(crate) const STAGES: [Stage; 12] = [
    Stage { name: "format", kind: Kind::Commands(&[&["fmt", "--all", "--check"]]) },
    Stage {
        name: "lint",
        kind: Kind::Commands(&[
            &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
            // Tests on the cluster are left out by `--all-targets`, as they are by `cargo test`.
            &["clippy", "--workspace", "--test", "*", "--quiet", "--", "-D", "warnings"],
        ]),
    },
    Stage { name: "packages", kind: Kind::Packages },
    Stage {
        name: "unit",
        // By themselves tests explore a little of the model; here they explore it whole, and with every kept mutation.
        kind: Kind::Tests(&[&[
            "test",
            "--config",
            "env.MODEL_STEPS='1000000'",
            "--config",
            "env.MODEL_MUTATIONS='1'",
            "--workspace",
            "--no-fail-fast",
        ]]),
    },
    Stage { name: "prepare", kind: Kind::Prepare },
    Stage { name: "cluster", kind: Kind::ClusterTests { threads: "4" } },
    Stage { name: "conformance", kind: Kind::ClusterTests { threads: "4" } },
    // One at a time: these break what the others stand on.
    Stage { name: "disruptive", kind: Kind::ClusterTests { threads: "1" } },
    Stage { name: "policies", kind: Kind::ClusterTests { threads: "1" } },
    Stage { name: "chart", kind: Kind::ClusterTests { threads: "1" } },
    Stage { name: "grpc", kind: Kind::ClusterTests { threads: "1" } },
    Stage { name: "harness", kind: Kind::ClusterTests { threads: "1" } },
];

impl Stage {
    /// Whether it is left out where there can be no cluster.
    pub(crate) fn needs_cluster(&self) -> bool {
        matches!(self.kind, Kind::Prepare | Kind::ClusterTests { .. })
    }
}
