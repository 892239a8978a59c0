//! Logging in from a mini-program: its code is shown to the provider (jscode2session), which says who it is. The session key that
//! comes with it is not even read, and the app's secret is in no log: errors of the connection are told by their kind.

pub mod fake;
mod reply;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shop_common::{Code, Problem};
use shop_flow::breaker::{Breaker, Outcome, Rules};
use shop_flow::retry::pause;

use reply::{Reply, read};

/// How long the provider may take for one answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Tries after the first, if the provider is busy or silent.
const RETRIES: u32 = 2;
/// Longest answer that is read.
const LONGEST: usize = 16 * 1024;
/// Longest code that is shown to the provider.
const LONGEST_CODE: usize = 128;
/// What a caller is told to wait whose user has asked the provider too often (100 a minute).
const LIMITED: Duration = Duration::from_mins(1);
const LATER: Duration = Duration::from_secs(5);

/// A provider, and our app there.
pub struct Provider {
    http: Client<HttpConnector, Body>,
    url: String,
    app: String,
    secret: String,
    timeout: Duration,
    breaker: Mutex<Breaker>,
    rules: Rules,
    begun: Instant,
}

/// What the provider is told cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0} must be letters, digits, `-`, `_`, `.` and `~`, as the provider gives them")]
pub struct BadSetting(&'static str);

impl Provider {
    /// The provider at this URL, and the id and secret of our app there.
    pub fn new(url: &str, app: &str, secret: &str, timeout: Duration) -> Result<Self, BadSetting> {
        for (name, text) in [("--mini-program-app", app), ("the secret of the mini-program", secret)] {
            if !is_plain(text) {
                return Err(BadSetting(name));
            }
        }
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        let (url, app, secret) = (url.trim_end_matches('/').to_owned(), app.to_owned(), secret.to_owned());
        let (breaker, rules) = (Mutex::default(), Rules::default());
        Ok(Self { http, url, app, secret, timeout, breaker, rules, begun: Instant::now() })
    }

    /// The id of our app.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Who a code is from.
    pub async fn openid(&self, code: &str) -> Result<String, Problem> {
        if !is_plain(code) || code.len() > LONGEST_CODE {
            let detail = "the code that the mini-program got, at most 128 letters, digits and `-_.~`";
            return Err(Problem::new(Code::InvalidField, detail).field("code"));
        }
        for number in 0..=RETRIES {
            match self.ask(code).await? {
                Reply::OpenId(openid) => return Ok(openid),
                Reply::Refused => {
                    let detail = "let the mini-program get another code; each is good once, for 5 minutes";
                    return Err(Problem::new(Code::CodeRefused, detail));
                }
                Reply::Limited => {
                    let detail = "this user has logged in too often";
                    return Err(Problem::new(Code::RateLimited, detail).retry_after(LIMITED));
                }
                Reply::AtRisk => return Err(Problem::new(Code::AccountAtRisk, "ask the provider why")),
                Reply::Ours(code) => {
                    tracing::error!(code, "the provider refuses our app: its id, secret or URL is wrong");
                    return Err(away(LATER));
                }
                Reply::Again => {}
            }
            if number < RETRIES {
                let mut random = [0; 8];
                // Without randomness the pauses are none.
                let _ = rand::fill(&mut random);
                tokio::time::sleep(pause(number, u64::from_be_bytes(random))).await;
            }
        }
        Err(away(LATER))
    }

    /// Asks once, if the breaker lets it.
    async fn ask(&self, code: &str) -> Result<Reply, Problem> {
        let ticket = {
            let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            breaker.admit(&self.rules, self.begun.elapsed()).map_err(away)?
        };
        let answered = tokio::time::timeout(self.timeout, self.send(code)).await;
        let reply = answered.ok().flatten().map_or(Reply::Again, |body| read(&body));
        let outcome = if reply == Reply::Again { Outcome::Bad } else { Outcome::Good };
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.ended(&self.rules, &ticket, outcome, self.begun.elapsed());
        Ok(reply)
    }

    async fn send(&self, code: &str) -> Option<Bytes> {
        let Self { url, app, secret, .. } = self;
        let query = format!("appid={app}&secret={secret}&js_code={code}&grant_type=authorization_code");
        let request = Request::get(format!("{url}/sns/jscode2session?{query}")).body(Body::empty()).ok()?;
        match self.http.request(request).await {
            Ok(response) if response.status() == StatusCode::OK => {
                Some(Limited::new(response.into_body(), LONGEST).collect().await.ok()?.to_bytes())
            }
            Ok(response) => {
                tracing::warn!(status = response.status().as_u16(), "the provider does not answer the login");
                None
            }
            Err(error) => {
                tracing::warn!(connect = error.is_connect(), "the provider cannot be reached");
                None
            }
        }
    }
}

fn away(again: Duration) -> Problem {
    let detail = "the provider of the login is not there: come again, or log in with a password";
    Problem::new(Code::UpstreamUnavailable, detail).retry_after(again)
}

/// What needs no encoding in a query (RFC 3986 section 2.3).
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}
