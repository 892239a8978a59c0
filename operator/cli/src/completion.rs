//! Completing command lines: scripts for shells, and the answers for `kubectl_complete-shop`.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::arguments::{Arguments, Connection, Shell};

/// What kubectl should do after it has shown the words: not offer files (`ShellCompDirectiveNoFileComp` of cobra).
const NO_FILES: &str = ":4\n";

/// The script that a shell reads.
pub fn script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kubectl-shop", &mut text);
    text
}

fn definition() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

/// What the last word of an unfinished line may become, one word a line with what it means, in the words of cobra. `services`
/// is asked only where the name of a service stands.
pub async fn complete(words: &[String], services: impl AsyncFnOnce() -> Option<Vec<String>>) -> String {
    let (last, before) =
        words.split_last().map_or(("", [].as_slice()), |(last, before)| (last.as_str(), before));
    let definition = definition();
    let mut command = &definition;
    let mut given = 0;
    let mut awaits: Option<&Arg> = None;
    for word in before {
        if awaits.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            awaits = flag(command, word).filter(|_| !word.contains('='));
        } else if let Some(verb) = command.find_subcommand(word) {
            (command, given) = (verb, 0);
        } else {
            given += 1;
        }
    }
    let mut found = Vec::new();
    if let Some(argument) = awaits {
        found = values(argument);
    } else if last.starts_with('-') {
        found = flags(command);
    } else if let Some(argument) = command.get_positionals().nth(given) {
        found = values(argument);
        if argument.get_id() == "name" {
            found.extend(services().await.unwrap_or_default().into_iter().map(|name| (name, String::new())));
        }
    } else if given == 0 {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
        found = verbs.map(|verb| (verb.get_name().to_owned(), said(verb.get_about()))).collect();
    }
    let mut text = String::new();
    for (word, meaning) in found.into_iter().filter(|(word, _)| word.starts_with(last)) {
        text.push_str(&word);
        if !meaning.is_empty() {
            text.push('\t');
            text.push_str(&meaning);
        }
        text.push('\n');
    }
    text + NO_FILES
}

/// Cluster and namespace that an unfinished line names.
pub fn connection(words: &[String]) -> Connection {
    let named = |long: &str, short: Option<&str>| {
        words.iter().enumerate().rev().find_map(|(index, word)| {
            let attached = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
            let apart =
                || (word == long || Some(word.as_str()) == short).then(|| words.get(index + 1)).flatten();
            attached.map(str::to_owned).or_else(|| apart().cloned())
        })
    };
    Connection {
        namespace: named("--namespace", Some("-n")),
        context: named("--context", None),
        kubeconfig: named("--kubeconfig", None).map(Into::into),
    }
}

/// The flag that a word is, when it takes a value.
fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or_default();
    command.get_arguments().find(|argument| {
        let long = argument.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
        let short = argument.get_short().is_some_and(|short| name == format!("-{short}"));
        (long || short) && matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
    })
}

fn flags(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|one| Some((format!("--{}", one.get_long()?), said(one.get_help())))).collect()
}

fn values(argument: &Arg) -> Vec<(String, String)> {
    let values = argument.get_possible_values();
    values.iter().map(|value| (value.get_name().to_owned(), said(value.get_help()))).collect()
}

/// The first sentence of a text.
fn said(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines()
        .next()
        .unwrap_or_default()
        .split(". ")
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn offered(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let text = complete(&words, async || Some(vec!["order".to_owned(), "cart".to_owned()])).await;
        assert!(text.ends_with(NO_FILES), "{text}");
        let lines = text.lines().filter(|line| *line != NO_FILES.trim());
        lines.map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[tokio::test]
    async fn words_fit_where_they_are_offered() {
        for (line, expected) in [
            ("pro", &["promote"][..]),
            ("promote o", &["order"]),
            ("promote order --dig", &["--digest"]),
            ("promote order -", &["--revision", "--wait", "--namespace"]),
            ("status order -o ", &["table", "wide", "json", "yaml"]),
            ("-n shop status c", &["cart"]),
            ("wait order --for pre", &["previewReady"]),
            ("completion f", &["fish"]),
        ] {
            let found = offered(line).await;
            for word in expected {
                assert!(found.contains(&(*word).to_owned()), "{line:?}: {found:?}");
            }
        }
        assert_eq!(offered("promote order ").await, Vec::<String>::new());
        assert!(!offered("").await.contains(&"__complete".to_owned()));
    }

    #[test]
    fn the_line_names_the_cluster() {
        let words = ["get", "-n", "shop", "--context=west", "--kubeconfig", "/k"].map(str::to_owned);
        let found = connection(&words);
        assert_eq!(found.namespace.as_deref(), Some("shop"));
        assert_eq!(found.context.as_deref(), Some("west"));
        assert_eq!(found.kubeconfig, Some("/k".into()));
    }

    #[test]
    fn scripts_know_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(shell)).unwrap();
            assert!(text.contains("promote") && text.contains("kubectl-shop"), "{shell:?}");
        }
    }
}
