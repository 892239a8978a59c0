//! Logging in, and what a client gets by it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::{Deserialize, Serialize};
use shop_common::token::Claims;
use shop_common::{Code, Problem, Strict};

use super::users::Shown;
use super::{App, invalid, random, store_failed};
use crate::domain::{ACCESS_LIFE, Name, Password, REFRESH_LIFE, Roles, Session, User, fingerprint, id, key};
use crate::passwords::Checked;
use crate::store::{Identity, NewUser};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    name: String,
    password: String,
}

/// What a client gets (RFC 6749 section 5.1).
#[derive(Serialize)]
struct Tokens<'a> {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    user: Shown<'a>,
}

pub(super) async fn login(State(app): State<App>, Strict(login): Strict<Login>) -> Result<Response, Problem> {
    let password = Password::present(login.password).map_err(invalid)?;
    // A name that nobody can have is as wrong as one that nobody has.
    let name = Name::parse(&login.name).map_err(|_| wrong())?;
    app.attempts.begin(&name, app.since()).map_err(|after| {
        Problem::new(Code::TooManyAttempts, "too many attempts with this name: come again later")
            .retry_after(after)
    })?;
    let (user, phc) = app.store.login(&name).await.map_err(store_failed)?.unzip();
    let phc = phc.flatten();
    let checked = app.passwords.check(password, phc.clone()).await?;
    let user = user.filter(|_| checked != Checked::Wrong).ok_or_else(wrong)?;
    app.attempts.succeeded(&name, app.since());
    if let (Checked::Outdated(new), Some(old)) = (checked, phc) {
        app.store.rehash(&user.id, &old, &new).await.map_err(store_failed)?;
    }
    begin_session(&app, &user).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MiniProgram {
    code: String,
}

/// By the code of a mini-program. Whoever comes for the first time becomes a customer without a password.
pub(super) async fn mini_program(
    State(app): State<App>,
    Strict(login): Strict<MiniProgram>,
) -> Result<Response, Problem> {
    let provider = app.mini_program.as_ref().ok_or_else(|| {
        Problem::new(Code::RouteNotFound, "logins from mini-programs are not set up: use a name and password")
    })?;
    let openid = provider.openid(&login.code).await?;
    let now = app.now();
    let new_id = id(now, &random()?);
    let new = NewUser {
        // Nobody can register it before: it is not known to anybody.
        name: Name::parse(&format!("mp-{new_id}")).map_err(invalid)?,
        id: new_id,
        display_name: "Customer".to_owned(),
        password: None,
        roles: Roles::customer(),
        created_at: now,
    };
    let identity = Identity { provider: "mini-program", app: provider.app().to_owned(), subject: openid };
    let user = app.store.user_of(identity, new).await.map_err(store_failed)?;
    begin_session(&app, &user).await
}

/// The same for an unknown name and a wrong password.
fn wrong() -> Problem {
    Problem::new(Code::WrongCredentials, "check both; which of them is wrong is not said")
}

/// Begins a session and answers with its tokens.
pub(super) async fn begin_session(app: &App, user: &User) -> Result<Response, Problem> {
    let now = app.now();
    let session = id(now, &random()?);
    let refresh_token = key(&random()?);
    let stored = Session {
        id: session.clone(),
        user: user.id.clone(),
        token_version: user.token_version,
        fingerprint: fingerprint(&refresh_token),
        expires_at: refresh_end(now),
    };
    app.store.begin(stored).await.map_err(store_failed)?;
    answer(app, user, session, refresh_token)
}

pub(super) fn refresh_end(now: i64) -> i64 {
    now.saturating_add(i64::try_from(REFRESH_LIFE.as_millis()).unwrap_or(i64::MAX))
}

/// A new access token of a session, and its refresh token.
pub(super) fn answer(
    app: &App,
    user: &User,
    session: String,
    refresh_token: String,
) -> Result<Response, Problem> {
    let now = app.now();
    let issued_at = now / 1_000;
    let claims = Claims {
        iss: app.rules.issuer.clone(),
        aud: app.rules.audience.clone(),
        sub: user.id.clone(),
        exp: issued_at + i64::try_from(ACCESS_LIFE.as_secs()).unwrap_or(0),
        iat: issued_at,
        jti: id(now, &random()?),
        sid: session,
        ver: user.token_version,
        roles: user.roles.names().map(str::to_owned).collect(),
    };
    let access_token = app
        .keys
        .sign(&claims)
        .ok_or_else(|| Problem::new(Code::Internal, "no token could be signed: try again later"))?;
    let tokens = Tokens {
        access_token,
        token_type: "Bearer",
        expires_in: ACCESS_LIFE.as_secs(),
        refresh_token,
        user: Shown::of(user),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response())
}
