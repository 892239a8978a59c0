//! The model check: operators with caches of their own, an API server that fails, and everything that users, nodes and clocks
//! do at random moments. What must always hold is checked at every step; the README beside this file says how it is run.

// clippy.toml allows these in test functions only, not in what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::doc_markdown
)]

mod actions;
mod coverage;
mod faults;
mod operator;
mod outside;
mod policies;
mod reasons;
mod walk;
#[path = "../release/world/mod.rs"]
mod world;

use std::time::Instant;

use coverage::Coverage;

/// Steps that are explored when nobody says how many; `MODEL_STEPS=1000000` is what `cargo verify` asks for.
const STEPS: u64 = 60_000;
/// Every run explores the same, unless `MODEL_SEED` says otherwise.
const SEED: u64 = 20_261_121;

/// Threads that walk at the same time.
const PARTS: u64 = 2;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Walks on two threads until so many steps are explored in all.
fn explore(seed: u64, steps: u64) -> Coverage {
    let halves = std::thread::scope(|scope| {
        let run = |half: u64| scope.spawn(move || walk::walks(seed, half, PARTS, steps / PARTS));
        [run(0), run(1)].map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut all = Coverage::default();
    for half in halves {
        all.add(half);
    }
    all
}

#[test]
fn the_six_invariants_hold_at_every_step() {
    let (began, seed) = (Instant::now(), number("MODEL_SEED", SEED));
    if let Ok(walk) = std::env::var("MODEL_WALK") {
        return walk::again(walk.parse().expect("a number"), seed, PARTS);
    }
    let wanted = number("MODEL_STEPS", STEPS);
    let coverage = explore(seed, wanted);
    println!("{coverage}in {:.1} s", began.elapsed().as_secs_f64());
    assert!(coverage.steps >= wanted, "{} steps of {wanted}", coverage.steps);
    coverage.assert_complete(wanted);
}
