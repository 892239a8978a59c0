//! A real Kubernetes cluster on one machine, and what is done on it: the demo, the tests and the benchmarks.
//!
//! [`setup`] builds the cluster's programs, [`images`] the container images, [`cluster`] starts and stops the parts,
//! and [`harness`] is what a test sees of it. The cluster lives in a network namespace of its own ([`netns`]), so that
//! nothing outside of it is touched and several clusters can stand side by side.

pub mod cluster;
pub mod harness;
pub mod images;
pub mod load;
pub mod lock;
pub mod netns;
pub mod program;
pub mod resources;
pub mod scenario;
pub mod setup;
pub mod workspace;
