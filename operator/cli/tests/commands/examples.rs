//! The pipelines in `examples/`: every `kubectl shop` line in them is one that the program understands.

use std::collections::BTreeSet;

use clap::Parser as _;
use kubectl_shop::{Arguments, Exit};
use serde_json::Value;

const PIPELINES: [(&str, &str); 2] = [
    ("github-actions.yaml", include_str!("../../examples/github-actions.yaml")),
    ("gitlab-ci.yml", include_str!("../../examples/gitlab-ci.yml")),
];

/// Every text of a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// What a shell and the CI system would make of a line: values where variables stand, without what follows the command.
fn words(line: &str) -> Vec<String> {
    let mut line = line.to_owned();
    while let Some((before, (inside, after))) =
        line.split_once("${{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        line = format!("{before}{}{after}", value(inside));
    }
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            '|' | '>' | ';' if !quoted => break,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    let filled = words.into_iter().filter(|word| !word.is_empty());
    filled.map(|word| if word.starts_with('$') { value(&word) } else { word }).collect()
}

fn value(variable: &str) -> String {
    let variable = variable.to_lowercase();
    if variable.contains("digest") {
        return format!("sha256:{}", "a".repeat(64));
    }
    if variable.contains("revision") { "7".to_owned() } else { "shop/order:2".to_owned() }
}

fn lines(text: &str) -> Vec<String> {
    let document: Value = serde_yaml::from_str(text).unwrap();
    let mut found = Vec::new();
    texts(&document, &mut found);
    let lines = found.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| Some(line[line.find("kubectl shop ")?..].to_owned())).collect()
}

#[test]
fn every_line_is_understood() {
    for (name, text) in PIPELINES {
        let mut verbs = BTreeSet::new();
        for line in lines(text) {
            let words = words(&line);
            let parsed = Arguments::try_parse_from(words.iter().skip(1));
            assert!(parsed.is_ok(), "{name}: {line}\n{words:?}\n{}", parsed.unwrap_err());
            verbs.insert(words[2].clone());
        }
        let expected = ["abort", "promote", "set", "wait", "why"].map(str::to_owned);
        assert_eq!(verbs, expected.into(), "{name}");
    }
}

#[test]
fn what_is_promoted_is_what_was_tested() {
    for (name, text) in PIPELINES {
        let promotes: Vec<String> =
            lines(text).into_iter().filter(|line| line.contains("shop promote")).collect();
        assert!(!promotes.is_empty(), "{name}");
        for line in promotes {
            assert!(line.contains("--revision") && line.contains("--digest"), "{name}: {line}");
        }
    }
}

#[test]
fn every_exit_code_of_a_promotion_is_handled() {
    for (name, text) in PIPELINES {
        for exit in Exit::ALL.into_iter().filter(|exit| !matches!(exit, Exit::Error | Exit::Usage)) {
            assert!(text.contains(&format!("{}) echo", exit.code())), "{name}: {exit:?}");
        }
    }
}
