//! The model check is itself checked: for each invariant mutations of the planner are kept that it must catch.
//!
//! All mutations are built into one copy of the crate, below `target/`, as choices at run time; the copy's model check is then run
//! once for each. `MODEL_MUTATIONS=1`, as `cargo verify` sets it, does so; without it is only tested that every mutation still
//! finds its place in the sources.

// clippy.toml allows these in test functions only, not in what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod list;

use std::{
    collections::BTreeMap,
    env, fs,
    ops::Range,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use list::{Edit, MUTATIONS, Mutation};

/// Steps within which a mutation must be caught.
const STEPS: &str = "1500000";
/// Mutations that each invariant must have at least.
const LEAST: usize = 3;
/// Folder of the copy of this crate.
const COPY: &str = "release-with-mutations";

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace: this crate is `operator/release` of it.
fn workspace() -> PathBuf {
    here().ancestors().nth(2).unwrap().to_owned()
}

/// Cargo's build directory.
fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Every place of `wanted` in the text, however either is broken into lines.
fn places(text: &str, wanted: &str) -> Vec<Range<usize>> {
    let solid: Vec<(usize, char)> = text.char_indices().filter(|(_, one)| !one.is_whitespace()).collect();
    let wanted: Vec<char> = wanted.chars().filter(|one| !one.is_whitespace()).collect();
    let same = |window: &[(usize, char)]| window.iter().map(|(_, one)| one).eq(&wanted);
    let found = solid.windows(wanted.len()).filter(|window| same(window));
    found.map(|window| window[0].0..window[wanted.len() - 1].0 + 1).collect()
}

/// Where an edit is made.
fn place(edit: &Edit, text: &str) -> Result<Range<usize>, String> {
    let anchors = places(text, edit.anchor);
    let [anchor] = &anchors[..] else {
        return Err(format!("src/{} has {} times `{}`", edit.file, anchors.len(), edit.anchor));
    };
    let found = places(&text[anchor.start..], edit.from);
    let found = found.first().ok_or_else(|| format!("src/{} has no `{}` there", edit.file, edit.from))?;
    Ok(anchor.start + found.start..anchor.start + found.end)
}

/// A source with every mutation that belongs to it as a choice.
fn with_choices(name: &str, mut text: String) -> String {
    let mut choices: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (number, mutation) in MUTATIONS.iter().enumerate() {
        for edit in mutation.edits.iter().filter(|edit| edit.file == name) {
            let place = place(edit, &text).unwrap_or_else(|why| {
                panic!(
                    "mutation \"{}\": {why}; adapt operator/release/tests/mutations/list.rs",
                    mutation.what
                )
            });
            let before = choices.remove(&(place.start, place.end)).unwrap_or_else(|| edit.from.to_owned());
            let choice = format!("(if crate::chosen({number}) {{ {} }} else {{ {before} }})", edit.to);
            choices.insert((place.start, place.end), choice);
        }
    }
    let places: Vec<(usize, usize)> = choices.keys().copied().collect();
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "mutations overlap in src/{name}");
    for ((start, end), choice) in choices.into_iter().rev() {
        text.replace_range(start..end, &choice);
    }
    text
}

fn sources(folder: &Path, below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            found.extend(sources(&entry.path(), &format!("{name}/")));
        } else {
            found.push((name, fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // What has not changed is not built again.
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return;
    }
    fs::write(path, text).unwrap();
}

/// A link to what is in the workspace.
fn link(original: &Path, copy: &Path) {
    // One that is left from an earlier run, or what was there before it, goes.
    match copy.symlink_metadata() {
        Ok(found) if found.is_symlink() && fs::read_link(copy).unwrap() == original => return,
        Ok(found) if found.is_dir() => fs::remove_dir_all(copy).unwrap(),
        Ok(_) => fs::remove_file(copy).unwrap(),
        Err(_) => {}
    }
    symlink(original, copy).unwrap();
}

/// Links to everything in a folder of the workspace but `without`, which is there in its own right.
fn link_all(original: &Path, copy: &Path, without: &[&str]) {
    fs::create_dir_all(copy).unwrap();
    for entry in fs::read_dir(original).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !without.contains(&name.as_str()) && !name.starts_with('.') {
            link(&entry.path(), &copy.join(name));
        }
    }
}

/// Makes the copy; returns its folder. It is the whole workspace, of links but for this crate: what cargo selects decides with which
/// features dependencies are built, and with the same members those that are built already are used as they are. Below the
/// workspace it has the workspace's `.cargo/config.toml` too.
fn copy() -> PathBuf {
    let (original, root) = (workspace(), workspace().join("target/mutations"));
    link_all(&original, &root, &["operator", "target", "Cargo.toml", "Cargo.lock"]);
    link_all(&original.join("operator"), &root.join("operator"), &["release"]);
    // In another place than the original: what is built of a crate is named after its place in the workspace.
    let folder = root.join("operator").join(COPY);
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = fs::read_to_string(original.join(file)).unwrap();
        write(&root.join(file), &text.replace("\"operator/release\"", &format!("\"operator/{COPY}\"")));
    }
    write(&folder.join("Cargo.toml"), &fs::read_to_string(here().join("Cargo.toml")).unwrap());
    for (name, text) in sources(&here().join("src"), "") {
        let mut text = with_choices(&name, text);
        if name == "lib.rs" {
            text.push_str(CHOSEN);
        }
        write(&folder.join("src").join(name), &text);
    }
    for part in ["model", "release"] {
        for (name, text) in sources(&here().join("tests").join(part), "") {
            write(&folder.join("tests").join(part).join(name), &text);
        }
    }
    root
}

/// Which mutation is chosen: read once, from the environment.
const CHOSEN: &str = r#"
static CHOSEN: std::sync::LazyLock<Option<usize>> =
    std::sync::LazyLock::new(|| std::env::var("MODEL_MUTATION").ok()?.parse().ok());

/// Whether this mutation is chosen.
#[allow(clippy::all)]
pub(crate) fn chosen(number: usize) -> bool {
    *CHOSEN == Some(number)
}
"#;

/// Builds the copy's model check; returns the program.
fn build(folder: &Path) -> PathBuf {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args([
        "test",
        "--offline",
        "--no-run",
        "--test",
        "model",
        "--message-format",
        "json-render-diagnostics",
    ]);
    command.current_dir(folder).env("CARGO_TARGET_DIR", target());
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(
        status.success(),
        "the copy with the mutations is not built: {}",
        String::from_utf8_lossy(&stderr)
    );
    let lines = String::from_utf8(stdout).unwrap();
    let mut programs = lines.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "model").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    programs.next_back().expect("cargo names the program")
}

/// Runs the model check with a mutation, or none; returns what it says is violated.
fn run(program: &Path, number: Option<usize>) -> Option<String> {
    let mut command = Command::new(program);
    command.args(["the_six_invariants", "--nocapture"]).env("MODEL_STEPS", STEPS).env("RUST_BACKTRACE", "0");
    if let Some(number) = number {
        command.env("MODEL_MUTATION", number.to_string());
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    if status.success() {
        return None;
    }
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let line = said.lines().find(|line| line.starts_with("invariant "));
    Some(line.map_or_else(|| format!("broken: {said}"), |line| line.chars().take(160).collect()))
}

/// Two at a time.
fn run_all(program: &Path) -> BTreeMap<usize, Option<String>> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= MUTATIONS.len() {
                        return;
                    }
                    let caught = run(program, Some(number));
                    all.lock().unwrap().insert(number, caught);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn every_mutation_finds_its_place() {
    for (name, text) in sources(&here().join("src"), "") {
        with_choices(&name, text);
    }
    let files: Vec<String> = sources(&here().join("src"), "").into_iter().map(|(name, _)| name).collect();
    for Mutation { what, edits, .. } in MUTATIONS {
        assert!(edits.iter().all(|edit| files.contains(&edit.file.to_owned())), "{what}: no such file");
    }
    for invariant in 1..=6 {
        let kept = MUTATIONS.iter().filter(|mutation| mutation.invariant == invariant).count();
        assert!(kept >= LEAST, "invariant {invariant} has {kept} mutations");
    }
}

#[test]
fn every_mutation_is_caught() {
    if env::var_os("MODEL_MUTATIONS").is_none() {
        return;
    }
    let began = Instant::now();
    let program = build(&copy());
    println!("built in {:.0} s", began.elapsed().as_secs_f64());
    assert_eq!(run(&program, None), None, "without a mutation everything holds");
    let caught = run_all(&program);
    let mut missed = Vec::new();
    for (number, mutation) in MUTATIONS.iter().enumerate() {
        let said = caught[&number].clone().unwrap_or_else(|| "not caught".to_owned());
        println!("{number:2} invariant {}: {}\n     {said}", mutation.invariant, mutation.what);
        if !said.starts_with(&format!("invariant {} ", mutation.invariant)) {
            missed.push(mutation.what);
        }
    }
    println!("{} mutations in {:.0} s", MUTATIONS.len(), began.elapsed().as_secs_f64());
    assert!(missed.is_empty(), "not caught as what they are: {missed:#?}");
}
