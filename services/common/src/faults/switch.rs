//! `/faults` of a service that was started with `switchable`: faults that come and go while it runs.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::state::crash;
use super::{Faults, state};
use crate::problem::{Code, Problem};

#[derive(Serialize)]
struct Switched {
    not_ready: bool,
    error_rate: f64,
}

/// The routes; without `switchable` there are none.
pub(crate) fn router(faults: &state::Faults) -> Router {
    if !faults.switchable() {
        return Router::new();
    }
    Router::new()
        .route("/faults", get(show))
        .route("/faults/{name}", post(switch_on).delete(switch_off))
        .with_state(faults.clone())
}

async fn show(State(faults): State<Faults>) -> Json<Switched> {
    Json(Switched { not_ready: faults.not_ready(), error_rate: faults.error_rate() })
}

async fn switch_on(faults: State<Faults>, Path(name): Path<String>) -> Result<Json<Switched>, Problem> {
    if name == "crash" {
        crash("crash");
    }
    switch(faults, &name, true).await
}

async fn switch_off(faults: State<Faults>, Path(name): Path<String>) -> Result<Json<Switched>, Problem> {
    switch(faults, &name, false).await
}

async fn switch(faults: State<Faults>, name: &str, on: bool) -> Result<Json<Switched>, Problem> {
    match name {
        "not-ready" => faults.set_not_ready(on),
        "error" => faults.set_error_rate(if on { 1.0 } else { 0.0 }),
        _ => {
            return Err(Problem::new(
                Code::UnknownFault,
                "`not-ready` and `error` are switched by POST and DELETE; `crash` by POST only",
            ));
        }
    }
    tracing::warn!(fault = name, on, "fault switched");
    Ok(show(faults).await)
}
