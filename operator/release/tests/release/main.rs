//! Releases in a cluster in memory: as they are meant to go, and with everything that can go wrong.

// clippy.toml allows these in test functions only, not in what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::doc_markdown
)]

mod adopted;
mod analysed;
mod back;
mod canary;
mod decided;
mod drills;
mod forward;
mod found;
mod gates;
mod gates_outside;
mod hazards;
mod mtls;
mod paused;
mod people;
mod recreate;
mod restarted;
mod returned;
mod stories;
mod trouble;
mod world;

use world::{World, spec};

/// A service whose first revision runs.
fn running(replicas: i32) -> World {
    let mut world = World::new(spec("good-1", replicas));
    world.run_until(60, World::stable);
    world
}

/// A service whose second revision has just got the users.
fn switched() -> World {
    let mut world = running(3);
    world.image("good-2");
    world.run_until(60, |world| world.active() == 2);
    world
}

/// A service whose second revision is stable, and whose first is scaled to zero.
fn twice() -> World {
    let mut world = switched();
    world.run_until(120, World::stable);
    world
}
