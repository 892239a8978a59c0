//! What people read: pages and tables. Pure; the time is an argument.

mod table;

use std::fmt::Write as _;

use jiff::Timestamp;
use shop_crds::status::{Blocked, RevisionRef, RevisionState};

use crate::report::{Branch, Decided, Ending, History, Overview, Row, Why, faults};
use crate::{
    diff::Comparison,
    doctor::{Finding, Level, Report},
    plan::Forecast,
};

use table::columns;
pub use table::{age, printable};

#[cfg(test)]
mod tests;

/// Decisions that a page lists; JSON and YAML have all of them.
const DECISIONS: usize = 20;

/// One line on how a decision or a `wait` ended.
pub fn ending(ending: &Ending) -> String {
    let Ending { service, action, goal, revision, outcome, reason, message, .. } = ending;
    let mut text = format!("{service}: {action}");
    if let Some(revision) = revision {
        let _ = write!(text, " r{revision}");
    }
    if let Some(goal) = goal {
        let _ = write!(text, " for {goal}");
    }
    let _ = write!(text, ": {}", ending.result.as_str());
    if let Some(outcome) = outcome {
        let _ = write!(text, ", decision {}", format!("{outcome:?}").to_lowercase());
    }
    if let Some(reason) = reason {
        let _ = write!(text, " ({})", reason.as_str());
    }
    printable(&format!("{text}: {message}")) + "\n"
}

/// The page of `status`.
pub fn status(overview: &Overview, now: Timestamp) -> String {
    let status = &overview.status;
    let phase = status.phase.map_or("-", |phase| phase.as_str());
    let since = status.release.as_ref().map(|release| release.phase_since.0);
    let phase = since.map_or_else(|| phase.to_owned(), |since| format!("{phase}, for {}", age(since, now)));
    let mut rows = vec![
        vec!["Service".to_owned(), format!("{}/{}", overview.namespace, overview.service)],
        vec!["State".to_owned(), overview.message.clone()],
        vec!["Phase".to_owned(), phase],
        vec!["Pods ready".to_owned(), status.ready.clone().unwrap_or_else(|| "-".to_owned())],
        vec!["Active".to_owned(), revision(status.active.as_ref(), &status.revisions)],
        vec!["Stable".to_owned(), revision(status.stable.as_ref(), &status.revisions)],
        vec!["Candidate".to_owned(), revision(status.candidate.as_ref(), &status.revisions)],
    ];
    match &status.blocked {
        None => rows.push(vec!["Waits for".to_owned(), "nothing".to_owned()]),
        Some(blocked) => {
            let facts = waits_for(blocked, now);
            let labels = std::iter::once("Waits for").chain(std::iter::repeat(""));
            rows.extend(labels.zip(facts).map(|(label, fact)| vec![label.to_owned(), fact]));
        }
    }
    let labels = std::iter::once("Faults").chain(std::iter::repeat(""));
    rows.extend(labels.zip(faults(status)).map(|(label, fault)| vec![label.to_owned(), fault]));
    let mut text = columns(&rows);
    if !overview.revisions.is_empty() {
        let _ = write!(text, "\n{}", tree(&overview.revisions, now));
    }
    if !status.conditions.is_empty() {
        let mut rows = vec![["CONDITION", "STATUS", "REASON", "FOR", "MESSAGE"].map(str::to_owned).to_vec()];
        rows.extend(status.conditions.iter().map(|condition| {
            let since = age(condition.last_transition_time.0, now);
            let (kind, status) = (condition.type_.clone(), condition.status.clone());
            vec![kind, status, condition.reason.clone(), since, condition.message.clone()]
        }));
        let _ = write!(text, "\n{}", columns(&rows));
    }
    text
}

/// Revisions with their pods.
fn tree(branches: &[Branch], now: Timestamp) -> String {
    let heads = ["REVISION", "ROLE", "WEIGHT", "READY", "STATE", "RESTARTS", "AGE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for branch in branches {
        let weight = branch.weight.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![branch.label.clone(), branch.role.to_owned(), weight, branch.ready.clone()]);
        let last = branch.pods.len().saturating_sub(1);
        rows.extend(branch.pods.iter().enumerate().map(|(index, pod)| {
            let twig = if index == last { "└─" } else { "├─" };
            let ready = if pod.ready { "yes" } else { "no" }.to_owned();
            let age = pod.created.map_or_else(|| "-".to_owned(), |created| age(created, now));
            let (none, name) = (String::new(), format!("{twig} {}", pod.name));
            vec![name, none.clone(), none, ready, pod.state.clone(), pod.restarts.to_string(), age]
        }));
    }
    columns(&rows)
}

/// A line of `status --watch`.
pub fn change(overview: &Overview, now: Timestamp) -> String {
    let status = &overview.status;
    let row = Row::judged(overview);
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "{}  {:<9}  {:>7}  {:<10}",
        now.strftime("%H:%M:%SZ"),
        status.phase.map_or("-", |phase| phase.as_str()),
        shown(row.ready),
        shown(row.active)
    );
    if let Some(candidate) = row.candidate {
        let _ = write!(text, "  -> {candidate} {}", shown(row.weight));
    }
    printable(&format!("{text}  {}: {}", overview.result.as_str(), overview.message)) + "\n"
}

/// The table of `get`.
pub fn list(rows: &[Row], namespaces: bool, wide: bool, now: Timestamp) -> String {
    let mut heads = vec!["NAME", "PHASE", "READY", "ACTIVE", "CANDIDATE", "WEIGHT", "IMAGE"];
    if namespaces {
        heads.insert(0, "NAMESPACE");
    }
    if wide {
        heads.extend(["DIGEST", "STRATEGY", "AGE"]);
    }
    heads.push("MESSAGE");
    let mut table = vec![heads.into_iter().map(str::to_owned).collect()];
    table.extend(rows.iter().map(|row| {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let phase = row.phase.map_or("-", |phase| phase.as_str()).to_owned();
        let mut cells = vec![row.service.clone(), phase, shown(&row.ready), shown(&row.active)];
        cells.extend([shown(&row.candidate), shown(&row.weight), row.image.clone()]);
        if namespaces {
            cells.insert(0, row.namespace.clone());
        }
        if wide {
            let age = row.created.map(|created| age(created, now));
            cells.extend([shown(&row.digest), row.strategy.clone(), shown(&age)]);
        }
        cells.push(row.message.clone());
        cells
    }));
    if rows.is_empty() { String::new() } else { columns(&table) }
}

/// The answer of `why`.
pub fn why(why: &Why, now: Timestamp) -> String {
    let mut text = String::new();
    match &why.blocked {
        None => {
            let line = format!("{}: nothing is waiting: {}", why.service, why.message);
            let _ = writeln!(text, "{}", printable(&line));
        }
        Some(blocked) => {
            let mut facts = waits_for(blocked, now).into_iter();
            let first = format!("{}: waits for {}", why.service, facts.next().unwrap_or_default());
            let _ = writeln!(text, "{}", printable(&first));
            for fact in facts.filter(|fact| !fact.starts_with("run: kubectl shop why ")) {
                let _ = writeln!(text, "  {}", printable(&fact));
            }
        }
    }
    for gate in &why.gates {
        let _ = writeln!(text, "  {}", printable(&format!("{}: {}", gate.name, gate.says)));
    }
    for warning in &why.warnings {
        let _ = writeln!(text, "  {}", printable(&format!("warning: {warning}")));
    }
    text
}

/// The page of `diff`.
pub fn comparison(found: &Comparison) -> String {
    let mut text = format!("{}: r{} -> r{}\n", found.service, found.from, found.to);
    if found.inputs.is_empty() && found.config.is_empty() {
        text.push_str("  no difference\n");
    }
    for changed in &found.inputs {
        let line = match (&changed.from, &changed.to) {
            (Some(from), Some(to)) => format!("~ {}: {from} -> {to}", changed.field),
            (None, Some(to)) => format!("+ {}: {to}", changed.field),
            (from, None) => format!("- {}: {}", changed.field, from.as_deref().unwrap_or_default()),
        };
        let _ = writeln!(text, "  {}", printable(&line));
    }
    for source in &found.config {
        let kind = shop_release::ObjectKind::from(source.kind).as_str();
        let note = source.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let _ = writeln!(text, "\n{}", printable(&format!("{kind} {}{note}", source.name)));
        for key in &source.keys {
            let _ = writeln!(text, "  {}", printable(&format!("{} {}", key.key, key.change)));
            for line in key.diff.iter().flat_map(|diff| diff.lines()) {
                let _ = writeln!(text, "    {}", printable(line));
            }
        }
    }
    text
}

/// The page of `plan`.
pub fn forecast(found: &Forecast) -> String {
    let name =
        |revision: Option<i64>| revision.map_or_else(|| "-".to_owned(), |revision| format!("r{revision}"));
    let mut text =
        format!("{}/{}: {} -> {}\n\n", found.namespace, found.service, name(found.from), name(found.to));
    let mut rows = vec![["AT LEAST", "PHASE", "STEP"].map(str::to_owned).to_vec()];
    rows.extend(
        found
            .steps
            .iter()
            .map(|step| vec![format!("+{}", step.at), step.phase.as_str().to_owned(), step.text.clone()]),
    );
    if found.steps.is_empty() {
        text.push_str("nothing is written\n");
    } else {
        text.push_str(&columns(&rows));
    }
    let times: Vec<String> = found.times.iter().map(|time| format!("{} {}", time.on, time.time)).collect();
    let times = if times.is_empty() { String::new() } else { format!(": {}", times.join(", ")) };
    let _ = write!(
        text,
        "\nEnd       {}\nWrites    {}, of the status included\nPods      {} now, {} at the peak\nDuration  at least {}{times}\n\n",
        printable(&found.ends),
        found.api_writes,
        found.pods.now,
        found.pods.peak,
        found.at_least
    );
    text + &findings(&found.checks)
}

/// The lines of `doctor`.
pub fn doctor(report: &Report) -> String {
    findings(&report.findings)
}

fn findings(found: &[Finding]) -> String {
    let word = |level| match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    };
    let mut rows = Vec::new();
    for finding in found {
        rows.push(vec![word(finding.level).to_owned(), finding.subject.clone(), finding.message.clone()]);
        rows.extend(
            finding.remedy.iter().map(|remedy| vec![String::new(), String::new(), format!("-> {remedy}")]),
        );
    }
    columns(&rows)
}

/// The tables of `history`.
pub fn history(history: &History, now: Timestamp) -> String {
    let mut rows = vec![
        ["REVISION", "COLOUR", "AGE", "OUTCOME", "REASON", "IMAGE", "DIGEST", "MESSAGE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(history.revisions.iter().map(|state| {
        let active = if history.active == Some(state.number) { " (active)" } else { "" };
        let outcome = state.outcome.as_ref();
        vec![
            format!("r{}{active}", state.number),
            state.colour.as_str().to_owned(),
            age(state.created.0, now),
            outcome.map_or_else(|| "-".to_owned(), |outcome| format!("{:?}", outcome.result)),
            outcome.map_or("-", |outcome| outcome.reason.as_str()).to_owned(),
            state.image.clone(),
            state.digest.as_deref().map_or_else(|| "-".to_owned(), short),
            outcome.map_or_else(String::new, |outcome| outcome.message.clone()),
        ]
    }));
    let mut text = columns(&rows);
    if history.decisions.is_empty() {
        text.push_str("\nNo decisions are kept.\n");
        return text;
    }
    let mut rows = vec![
        ["AGE", "DECISION", "REVISION", "ACTOR", "OUTCOME", "WHY", "MESSAGE"].map(str::to_owned).to_vec(),
    ];
    let hidden = history.decisions.len().saturating_sub(DECISIONS);
    rows.extend(history.decisions.iter().skip(hidden).map(|decided| decision(decided, now)));
    let _ = write!(text, "\n{}", columns(&rows));
    if hidden > 0 {
        let _ = writeln!(text, "({hidden} older decisions: -o json)");
    }
    text
}

/// The beginning of a digest, enough to tell two apart.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn decision(decided: &Decided, now: Timestamp) -> Vec<String> {
    vec![
        decided.at.map_or_else(|| "-".to_owned(), |at| age(at, now)),
        decided.verb.as_str().to_owned(),
        format!("r{}", decided.revision),
        decided.actor.clone(),
        decided.outcome.map_or_else(|| "-".to_owned(), |outcome| format!("{outcome:?}")),
        decided.reason.clone().unwrap_or_else(|| "-".to_owned()),
        decided.message.clone().unwrap_or_default(),
    ]
}

/// Reason and age, message, next check, command.
fn waits_for(blocked: &Blocked, now: Timestamp) -> Vec<String> {
    let mut facts = vec![format!("{}, for {}", blocked.reason.as_str(), age(blocked.since.0, now))];
    facts.push(blocked.message.clone());
    if let Some(next) = &blocked.next_check {
        let next = if next.0 > now { format!("in {}", age(now, next.0)) } else { "now".to_owned() };
        facts.push(format!("next check: {next}"));
    }
    if let Some(command) = &blocked.command {
        facts.push(format!("run: {command}"));
    }
    facts
}

fn revision(named: Option<&RevisionRef>, revisions: &[RevisionState]) -> String {
    let Some(named) = named else { return "-".to_owned() };
    let label = if named.label.is_empty() { format!("r{}", named.revision) } else { named.label.clone() };
    let image =
        revisions.iter().find(|state| state.number == named.revision).map(|state| state.image.as_str());
    image.map_or_else(|| label.clone(), |image| format!("{label}, {image}"))
}
