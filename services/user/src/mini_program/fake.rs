//! A provider for trying and testing, with the answers of the real one: codes are good once, for 5 minutes. `POST /codes` makes one,
//! as a mini-program's `wx.login` would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use shop_common::{Problem, Routes, RunError, Strict};

use crate::routes::random;

/// Codes that are remembered.
const MOST: usize = 10_000;
const LIFE: Duration = Duration::from_mins(5);

/// What the fake provider can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// The id of the app that may ask
    #[arg(long, default_value = "shop")]
    pub app: String,
    /// Its secret; no secret at all, since nothing is behind it
    #[arg(long, default_value = "not-a-secret")]
    pub secret: String,
}

#[derive(Clone)]
struct App {
    id: Arc<str>,
    secret: Arc<str>,
    codes: Arc<Mutex<HashMap<String, Issued>>>,
}

struct Issued {
    openid: String,
    behaviour: Behaviour,
    at: Instant,
    used: bool,
}

/// How the provider behaves when it is shown a code.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Behaviour {
    #[default]
    Good,
    Busy,
    Limited,
    Risk,
    Hang,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    openid: String,
    #[serde(default)]
    behaviour: Behaviour,
}

#[derive(Deserialize)]
struct Shown {
    appid: String,
    secret: String,
    js_code: String,
    grant_type: String,
}

/// Runs the fake provider until it is told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    shop_common::run("fakelogin", &settings.common, async |_context| {
        Ok::<_, std::convert::Infallible>(routes(&settings.app, &settings.secret))
    })
    .await
}

/// The provider of one app.
pub fn routes(app: &str, secret: &str) -> Routes {
    let state = App { id: app.into(), secret: secret.into(), codes: Arc::default() };
    let web =
        Router::new().route("/codes", post(make)).route("/sns/jscode2session", get(show)).with_state(state);
    Routes { web, grpc: Router::new(), ready: None }
}

async fn make(State(app): State<App>, Strict(wanted): Strict<Wanted>) -> Result<Json<Value>, Problem> {
    let code = crate::domain::key(&random()?);
    let issued =
        Issued { openid: wanted.openid, behaviour: wanted.behaviour, at: Instant::now(), used: false };
    let mut codes = app.codes.lock().unwrap_or_else(PoisonError::into_inner);
    if codes.len() >= MOST {
        codes.retain(|_, one| one.at.elapsed() < LIFE && !one.used);
    }
    if codes.len() >= MOST {
        codes.clear();
    }
    codes.insert(code.clone(), issued);
    Ok(Json(json!({ "code": code })))
}

async fn show(State(app): State<App>, Query(shown): Query<Shown>) -> Response {
    let said = |code: i64, text: &str| Json(json!({"errcode": code, "errmsg": text})).into_response();
    if shown.appid != *app.id || shown.grant_type != "authorization_code" {
        return said(40_013, "invalid appid");
    }
    if shown.secret != *app.secret {
        return said(40_125, "invalid appsecret");
    }
    let behaviour = {
        let codes = app.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.get(&shown.js_code).map(|one| one.behaviour)
    };
    match behaviour {
        Some(Behaviour::Busy) => said(-1, "system error"),
        Some(Behaviour::Limited) => said(45_011, "api minute-quota reach limit"),
        Some(Behaviour::Risk) => said(40_226, "code blocked"),
        Some(Behaviour::Hang) => std::future::pending().await,
        Some(Behaviour::Good) | None => {
            let mut codes = app.codes.lock().unwrap_or_else(PoisonError::into_inner);
            match codes.get_mut(&shown.js_code).filter(|one| one.at.elapsed() < LIFE) {
                None => said(40_029, "invalid code"),
                Some(one) if one.used => said(40_163, "code been used"),
                Some(one) => {
                    one.used = true;
                    let key = format!("session-key-of-{}", one.openid);
                    Json(json!({"openid": one.openid, "session_key": key})).into_response()
                }
            }
        }
    }
}
