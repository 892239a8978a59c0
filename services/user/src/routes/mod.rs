//! The users over HTTP.

mod caller;
mod login;
mod tokens;
mod users;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use axum::Router;
use axum::routing::{get, post};
use http::header;
use shop_common::token::Rules;
use shop_common::{Code, Problem, Routes};

use crate::attempts::Attempts;
use crate::domain::{ACCESS_LIFE, Invalid};
use crate::keys::KeyRing;
use crate::mini_program::Provider;
use crate::passwords::Passwords;
use crate::store::{Store, StoreError};

/// What the service can be asked.
const OPENAPI: &str = include_str!("openapi.json");

/// Tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What every route may use.
#[derive(Clone)]
pub struct App {
    /// Users, sessions, revocations.
    pub store: Arc<dyn Store>,
    /// What tokens are signed with.
    pub keys: Arc<KeyRing>,
    /// Whose tokens they are.
    pub rules: Arc<Rules>,
    /// Hashing.
    pub passwords: Passwords,
    /// Who tried to log in how often.
    pub attempts: Arc<Attempts>,
    /// Whom codes of mini-programs are shown to, if it is set up.
    pub mini_program: Option<Arc<Provider>>,
    /// The time.
    pub clock: Clock,
}

impl App {
    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// For state machines: a time since a fixed moment.
    fn since(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now()).unwrap_or(0))
    }

    /// When the last access token that is made now ends, and clocks that are late have noticed.
    fn tokens_end(&self) -> i64 {
        let life = ACCESS_LIFE + Duration::from_mins(1);
        self.now().saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The routes of the service.
pub fn routes(app: App) -> Routes {
    let web = Router::new()
        .route("/users", get(users::list).post(users::register))
        .route("/users/login", post(login::login))
        .route("/users/login/mini-program", post(login::mini_program))
        .route("/users/logout", post(tokens::logout))
        .route("/users/token/refresh", post(tokens::refresh))
        .route("/users/{id}", get(users::show).patch(users::change).delete(users::remove))
        .route("/tokens/revoked", get(tokens::revoked))
        .route("/.well-known/jwks.json", get(tokens::jwks))
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .with_state(app);
    Routes { web, ..Routes::default() }
}

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Problem::new(Code::Internal, "the system has no randomness"))?;
    Ok(bytes)
}

fn invalid(invalid: Invalid) -> Problem {
    Problem::new(Code::InvalidField, invalid.expected).field(invalid.field)
}

/// The caller learns nothing of the store.
#[allow(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn store_failed(error: StoreError) -> Problem {
    tracing::error!(%error, "the store failed");
    Problem::new(Code::Internal, "try again later")
}
