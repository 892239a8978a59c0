//! Tokens after the login: refreshing and ending them, and what others need to verify them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shop_common::{Code, Problem, Strict};

use super::caller::Caller;
use super::login::{answer, refresh_end};
use super::{App, random, store_failed};
use crate::domain::{fingerprint, key};
use crate::store::{MOST_LISTED, Rotated};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    refresh_token: String,
}

pub(super) async fn refresh(
    State(app): State<App>,
    Strict(refresh): Strict<Refresh>,
) -> Result<Response, Problem> {
    let now = app.now();
    let used = fingerprint(&refresh.refresh_token);
    let next = key(&random()?);
    let rotated = app.store.rotate(&used, &fingerprint(&next), now, refresh_end(now), app.tokens_end()).await;
    match rotated.map_err(store_failed)? {
        Rotated::Next { session, user } => answer(&app, &user, session, next),
        Rotated::Reused => {
            tracing::warn!("a refresh token was used twice: its session is over");
            Err(refused())
        }
        Rotated::Unknown => Err(refused()),
    }
}

fn refused() -> Problem {
    Problem::new(Code::RefreshRefused, "log in again; each refresh token is good once")
}

pub(super) async fn logout(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    let claims = caller.claims;
    app.store.end(&claims.sid, &claims.jti, app.now(), app.tokens_end()).await.map_err(store_failed)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn jwks(State(app): State<App>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.keys.jwks())).into_response()
}

#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<i64>,
}

#[derive(Serialize)]
struct Ended {
    /// Where to go on: the `since` of the next request.
    next: i64,
    /// Whether there is more now.
    more: bool,
    revoked: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    below_version: Option<i64>,
    until: i64,
}

/// How far back the next request looks again: what was committed late is not missed.
const OVERLAP_MS: i64 = 5_000;

/// For those who verify tokens themselves: what is not good any more. Ids are no secrets, and nothing else is told.
pub(super) async fn revoked(
    State(app): State<App>,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<impl Serialize>, Problem> {
    let Query(Since { since }) =
        since.map_err(|_| Problem::new(Code::InvalidRequest, "`since` is `next` of the answer before"))?;
    let now = app.now();
    let list = app.store.revoked_since(since.unwrap_or(0), now).await.map_err(store_failed)?;
    let more = list.len() == MOST_LISTED;
    let next = match list.last() {
        Some(newest) if more => newest.created_at,
        _ => now - OVERLAP_MS,
    };
    let revoked = list.into_iter().map(|one| Entry {
        subject: one.subject,
        below_version: one.below_version,
        until: one.until,
    });
    Ok(Json(Ended { next, more, revoked: revoked.collect() }))
}
