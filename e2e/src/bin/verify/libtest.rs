//! What a run of Rust's test programs printed, in figures and names.

/// The counts of one or more test programs, and the tests that failed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Reads the output of `cargo test`. Each program ends with a `test result:` line; before it, a program with
    /// failures lists their names under `failures:`, indented by four spaces.
    pub(crate) fn parse(output: &str) -> Self {
        let mut report = Self::default();
        let mut listed: Vec<String> = Vec::new();
        for line in output.lines() {
            if line == "failures:" {
                // The first such heading is over the tests' own output; the second over the list.
                listed.clear();
            } else if let Some(counts) = line.strip_prefix("test result: ") {
                report.passed += count(counts, " passed");
                report.failed += count(counts, " failed");
                report.ignored += count(counts, " ignored");
                if count(counts, " failed") > 0 {
                    report.failures.append(&mut listed);
                }
                listed.clear();
            } else if let Some(name) = line.strip_prefix("    ").filter(|name| is_name(name)) {
                listed.push(name.to_owned());
            } else if !line.is_empty() {
                listed.clear();
            }
        }
        report
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':'))
}

/// The number before a word: `ok. 12 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    let Some((before, _)) = counts.split_once(word) else { return 0 };
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_programs_one_with_failures() {
        let output = "
running 2 tests
test a ... ok
test b ... FAILED

failures:

---- b stdout ----
    indented_output_of_the_test
said something

failures:
    b
    deep::c

test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test d ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let failures = vec!["b".to_owned(), "deep::c".to_owned()];
        assert_eq!(Report::parse(output), Report { passed: 2, failed: 2, ignored: 3, failures });
    }

    #[test]
    fn a_program_that_crashed_counts_nothing() {
        assert_eq!(Report::parse("running 2 tests\ntest a ... ok\n"), Report::default());
    }
}
