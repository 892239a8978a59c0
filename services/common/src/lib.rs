//! What the services of the shop share: one port for HTTP/1.1, h2c, gRPC and WebSocket, an end without lost requests, health,
//! problem details, logs, and faults that can be asked for, so that a bad version can be shown and tested.
//!
//! A service builds its [`Routes`] from a [`Context`] and hands them to [`run()`]; everything else happens here.

pub mod body;
pub mod caller;
pub mod etag;
pub mod faults;
pub mod front;
pub mod logs;
pub mod problem;
pub mod run;
pub mod serve;
pub mod settings;
pub mod stop;
pub mod token;

pub use body::Strict;
pub use caller::Caller;
pub use front::{Context, Front, Ready, Routes};
pub use problem::{Code, Problem};
pub use run::{RunError, run};
pub use serve::Peer;
pub use settings::Settings;
pub use stop::{Held, Stop};
