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
mod operator;
mod walk;
#[path = "../release/world/mod.rs"]
mod world;

use std::time::Instant;

use coverage::Coverage;

/// Steps that are explored when nobody says how many; `MODEL_STEPS=1000000` is what `cargo verify` asks for.
const STEPS: u64 = 60_000;
/// Fixed: every run explores the same.
const SEED: u64 = 20_261_121;

fn steps() -> u64 {
    std::env::var("MODEL_STEPS").map_or(STEPS, |steps| steps.parse().expect("MODEL_STEPS is a number"))
}

/// Walks on two threads until so many steps are explored in all.
fn explore(steps: u64) -> Coverage {
    let halves = std::thread::scope(|scope| {
        let run = |half: u64| scope.spawn(move || walk::walks(SEED, half, 2, steps / 2));
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
    let began = Instant::now();
    let wanted = steps();
    let coverage = explore(wanted);
    println!("{coverage}in {:.1} s", began.elapsed().as_secs_f64());
    assert!(coverage.steps >= wanted, "{} steps of {wanted}", coverage.steps);
    coverage.assert_complete(wanted);
}
