//! What the run found, for whoever reads the end of a long log.

use std::time::Duration;

use crate::libtest::Report;

/// So many flaky tests are put up with in a run: each is named, to be mended.
const FLAKY_LIMIT: usize = 2;

/// What became of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    state: State,
    why: String,
    tests: Option<Report>,
    took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    pub(crate) fn passed() -> Self {
        Self { state: State::Passed, why: String::new(), tests: None, took: Duration::ZERO }
    }

    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { state: State::Failed, why: why.into(), ..Self::passed() }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self { state: State::Skipped, why: why.into(), ..Self::passed() }
    }

    pub(crate) fn with_tests(self, tests: Report) -> Self {
        Self { tests: Some(tests), ..self }
    }

    pub(crate) fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }
}

/// The outcomes of all stages so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    stages: Vec<(&'static str, Outcome)>,
    flaky: Vec<String>,
}

impl Summary {
    pub(crate) fn add(&mut self, stage: &'static str, outcome: Outcome) {
        self.stages.push((stage, outcome));
    }

    /// Remembers a test that passed at the second try.
    pub(crate) fn add_flaky(&mut self, test: String) {
        self.flaky.push(test);
    }

    pub(crate) fn failed(&self) -> bool {
        self.flaky.len() > FLAKY_LIMIT || self.stages.iter().any(|(_, outcome)| outcome.has_failed())
    }

    pub(crate) fn print(&self) {
        println!(
            "\n{:<12}{:<9}{:>8}{:>8}{:>8}{:>9}",
            "STAGE", "RESULT", "PASSED", "FAILED", "SKIPPED", "SECONDS"
        );
        let mut total = Report::default();
        for (stage, outcome) in &self.stages {
            let tests = outcome.tests.clone().unwrap_or_default();
            let state = format!("{:?}", outcome.state).to_lowercase();
            let seconds = outcome.took.as_secs();
            println!("{stage:<12}{state:<9}{}{seconds:>9}  {}", counts(outcome.tests.as_ref()), outcome.why);
            for name in &tests.failures {
                println!("            failed: {name}");
            }
            total.add(tests);
        }
        for test in &self.flaky {
            println!("flaky: {test} (passed at the second try)");
        }
        if self.flaky.len() > FLAKY_LIMIT {
            println!("more than {FLAKY_LIMIT} flaky tests fail the run");
        }
        println!("\n{} tests passed, {} failed, {} skipped", total.passed, total.failed, total.ignored);
        println!("{}", if self.failed() { "verify: FAILED" } else { "verify: ok" });
    }
}

fn counts(tests: Option<&Report>) -> String {
    match tests {
        Some(tests) => format!("{:>8}{:>8}{:>8}", tests.passed, tests.failed, tests.ignored),
        None => " ".repeat(24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_flaky_tests_are_told_and_a_third_fails() {
        let mut summary = Summary::default();
        summary.add("cluster", Outcome::passed());
        for test in ["a", "b"] {
            summary.add_flaky(test.to_owned());
        }
        assert!(!summary.failed());
        summary.add_flaky("c".to_owned());
        assert!(summary.failed());
    }

    #[test]
    fn a_skipped_stage_is_no_failure() {
        let mut summary = Summary::default();
        summary.add("chart", Outcome::skipped("there is no cluster"));
        assert!(!summary.failed());
        summary.add("lint", Outcome::failed("x"));
        assert!(summary.failed());
    }
}
