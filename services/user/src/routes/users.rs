//! Accounts: registering, reading, changing and removing them.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shop_common::{Code, Problem, Strict};

use super::caller::{Caller, no_such_user};
use super::{App, invalid, random, store_failed};
use crate::domain::{DisplayName, Name, Password, Role, Roles, User, id};
use crate::passwords::Checked;
use crate::store::{Change, NewUser};

/// Users of a page, if nothing is asked for, and at most.
const PAGE: usize = 20;
const MOST: usize = 100;

/// A user as it is sent.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    display_name: &'a str,
    roles: &'a Roles,
    created_at: i64,
}

impl<'a> Shown<'a> {
    pub(super) fn of(user: &'a User) -> Self {
        Self {
            id: &user.id,
            name: &user.name,
            display_name: &user.display_name,
            roles: &user.roles,
            created_at: user.created_at,
        }
    }
}

fn shown(user: &User) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(Shown::of(user))).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    name: String,
    password: String,
    display_name: Option<String>,
}

pub(super) async fn register(
    State(app): State<App>,
    Strict(asked): Strict<Registration>,
) -> Result<Response, Problem> {
    let name = Name::parse(&asked.name).map_err(invalid)?;
    let display_name = DisplayName::parse(asked.display_name.as_deref().unwrap_or(name.as_str()));
    let display_name = display_name.map_err(invalid)?.as_str().to_owned();
    let password = Password::choose(asked.password).map_err(invalid)?;
    // Before hashing: a taken name costs nothing.
    let taken = || Problem::new(Code::NameTaken, "choose another name, or log in").field("name");
    if app.store.login(&name).await.map_err(store_failed)?.is_some() {
        return Err(taken());
    }
    let now = app.now();
    let new = NewUser {
        id: id(now, &random()?),
        name,
        display_name,
        password: Some(app.passwords.hash(password).await?),
        roles: Roles::customer(),
        created_at: now,
    };
    let user = app.store.add_user(new).await.map_err(store_failed)?.ok_or_else(taken)?;
    let place = [(header::LOCATION, format!("/users/{}", user.id))];
    Ok((StatusCode::CREATED, place, shown(&user)).into_response())
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.touches(&id)?;
    let user = app.store.user(&id).await.map_err(store_failed)?;
    user.as_ref().map(shown).ok_or_else(no_such_user)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    display_name: Option<String>,
    password: Option<String>,
    current_password: Option<String>,
    roles: Option<Vec<Role>>,
}

pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Strict(asked): Strict<Changes>,
) -> Result<Response, Problem> {
    caller.touches(&id)?;
    if asked.roles.is_some() {
        caller.administers()?;
    }
    let display_name = asked.display_name.as_deref().map(DisplayName::parse).transpose().map_err(invalid)?;
    let roles = asked.roles.map(Roles::of).transpose().map_err(invalid)?;
    let password = asked.password.map(Password::choose).transpose().map_err(invalid)?;
    let password = match password {
        Some(password) => {
            // Whoever has found an open session must not be able to keep it for ever.
            if caller.user.id == id {
                confirm(&app, &caller.user, asked.current_password).await?;
            }
            Some(app.passwords.hash(password).await?)
        }
        None => None,
    };
    let change = Change { display_name: display_name.map(|name| name.as_str().to_owned()), password, roles };
    let user = app.store.change(&id, change, app.now(), app.tokens_end()).await.map_err(store_failed)?;
    user.as_ref().map(shown).ok_or_else(no_such_user)
}

/// The owner shows that it knows the password that is to be changed. One that has none yet need not.
async fn confirm(app: &App, user: &User, current: Option<String>) -> Result<(), Problem> {
    let Some(phc) = app.store.password(&user.id).await.map_err(store_failed)? else { return Ok(()) };
    let wrong =
        || Problem::new(Code::InvalidField, "send the password as it is until now").field("current_password");
    let current = Password::present(current.ok_or_else(wrong)?).map_err(invalid)?;
    let name = Name::parse(&user.name).map_err(invalid)?;
    app.attempts.begin(&name, app.since()).map_err(|after| {
        Problem::new(Code::TooManyAttempts, "too many attempts with this name: come again later")
            .retry_after(after)
    })?;
    if app.passwords.check(current, Some(phc)).await? == Checked::Wrong {
        return Err(wrong());
    }
    app.attempts.succeeded(&name, app.since());
    Ok(())
}

pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.touches(&id)?;
    let removed = app.store.remove(&id, app.now(), app.tokens_end()).await.map_err(store_failed)?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_user()) }
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<Shown<'a>>,
    next: Option<&'a str>,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.administers()?;
    let Query(query) = query.map_err(|_| {
        Problem::new(Code::InvalidRequest, "the query is `limit` and `cursor`, each at most once")
    })?;
    let limit = match query.limit.filter(|text| !text.is_empty()) {
        None => PAGE,
        Some(text) => text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
            Problem::new(Code::InvalidLimit, "write a whole number from 1 to 100, or leave it out for 20")
        })?,
    };
    let after = query.cursor.unwrap_or_default();
    if !after.bytes().all(|byte| byte.is_ascii_hexdigit()) || after.len() > 32 {
        return Err(Problem::new(
            Code::InvalidCursor,
            "send `next` of the page before, or start without one",
        ));
    }
    let users = app.store.users(&after, limit + 1).await.map_err(store_failed)?;
    let items: Vec<_> = users.iter().take(limit).map(Shown::of).collect();
    let next = if users.len() > limit { items.last().map(|last| last.id) } else { None };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(List { items, next })).into_response())
}
