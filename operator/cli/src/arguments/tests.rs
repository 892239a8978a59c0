//! Lines as people and pipelines write them.

use clap::{CommandFactory as _, error::ErrorKind};

use shop_crds::Span;

use super::*;
use crate::verdict::Goal;

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
    assert_eq!((arguments.output, arguments.connection.namespace.as_deref()), (Output::Json, Some("shop")));
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
        "get order -A",
        "completion powershell",
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
        assert!(help.to_string().contains("7  superseded"), "{line}: {help}");
    }
}

#[test]
fn the_readme_names_every_verb_and_flag() {
    let readme = include_str!("../../README.md");
    let mut command = Arguments::command();
    command.build();
    check(&command, "", readme);
}

fn check(command: &clap::Command, path: &str, readme: &str) {
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let listed = ["help", "version"].contains(&flag) || readme.contains(&format!("--{flag}"));
        assert!(listed, "README.md must name --{flag} of `kubectl shop{path}`");
    }
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    for verb in verbs {
        let path = format!("{path} {}", verb.get_name());
        let row = format!("| `{}", path.trim_start());
        assert!(readme.contains(&row), "README.md must have a row {row} NAME ...` | what it does |");
        assert!(verb.get_about().is_some(), "{path} needs a sentence of help");
        check(verb, &path, readme);
    }
}
