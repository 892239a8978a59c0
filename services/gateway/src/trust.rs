//! Whose tokens are good: keys and revocations of the user service, kept while it is away; and a bounded memory of tokens that were
//! verified, since verifying one costs more than all else here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use shop_common::token::{Bad, Claims, Keys, LEEWAY, Rules};

use crate::client::{Http, ask};
use crate::domain::{Revoked, Told};

/// How often revocations are asked for: so late a logout is noticed here.
const REVOCATIONS: Duration = Duration::from_secs(1);
/// How often keys are.
const KEYS: Duration = Duration::from_mins(5);
/// How soon again because a token names an unknown one.
const UNKNOWN: Duration = Duration::from_secs(5);
/// Verified tokens that are remembered, twice at most.
const REMEMBERED: usize = 25_000;

type Fingerprint = [u8; 32];

/// Whose tokens are good.
pub struct Trust {
    http: Http,
    /// Where the user service is; absent: nothing is revoked.
    user: Option<String>,
    /// Whether keys are secrets from a file.
    fixed: bool,
    rules: Rules,
    keys: RwLock<Option<Keys>>,
    revoked: RwLock<Revoked>,
    verified: Mutex<Verified>,
    /// When keys were last asked for.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// Tokens in two generations: when the newer is full, the older goes.
#[derive(Default)]
struct Verified {
    newer: HashMap<Fingerprint, Arc<Claims>>,
    older: HashMap<Fingerprint, Arc<Claims>>,
}

#[derive(Deserialize)]
struct Answer {
    revoked: Vec<Told>,
    next: i64,
    more: bool,
}

/// Why a token lets nobody in.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not good.
    Bad(Bad),
    /// It is not good any more.
    Revoked,
    /// No keys have been loaded yet.
    NoKeys,
}

impl Trust {
    /// Tokens by the keys of the user service, or by secrets.
    pub fn new(http: Http, user: Option<String>, secrets: Option<Keys>, rules: Rules) -> Self {
        Self {
            http,
            user,
            fixed: secrets.is_some(),
            rules,
            keys: RwLock::new(secrets),
            revoked: RwLock::default(),
            verified: Mutex::default(),
            asked: tokio::sync::Mutex::new(None),
        }
    }

    /// The claims of a good token.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Refused> {
        let now = now_ms();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let claims = match self.remembered(&fingerprint) {
            Some(claims) if now / 1_000 < claims.exp + LEEWAY => claims,
            Some(_) => return Err(Refused::Bad(Bad::Time)),
            None => {
                let claims = Arc::new(self.verify_anew(token, now / 1_000).await?);
                self.remember(fingerprint, Arc::clone(&claims));
                claims
            }
        };
        if self.revoked.read().unwrap_or_else(PoisonError::into_inner).has(&claims) {
            return Err(Refused::Revoked);
        }
        Ok(claims)
    }

    async fn verify_anew(&self, token: &str, now: i64) -> Result<Claims, Refused> {
        match self.by_keys(token, now) {
            Err(Refused::NoKeys | Refused::Bad(Bad::UnknownKey)) => {
                self.load_keys(UNKNOWN).await;
                self.by_keys(token, now)
            }
            verified => verified,
        }
    }

    fn by_keys(&self, token: &str, now: i64) -> Result<Claims, Refused> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref().ok_or(Refused::NoKeys)?.verify(token, &self.rules, now).map_err(Refused::Bad)
    }

    fn remembered(&self, token: &Fingerprint) -> Option<Arc<Claims>> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.newer.get(token).or_else(|| verified.older.get(token)).cloned()
    }

    fn remember(&self, token: Fingerprint, claims: Arc<Claims>) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.newer.len() >= REMEMBERED {
            verified.older = std::mem::take(&mut verified.newer);
        }
        verified.newer.insert(token, claims);
    }

    /// Asks for the keys, unless that was done this short a time ago. Those from before stay while there are no others.
    async fn load_keys(&self, not_within: Duration) {
        let Some(user) = self.user.as_ref().filter(|_| !self.fixed) else { return };
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < not_within) {
            return;
        }
        let answer = ask(&self.http, &format!("{user}/.well-known/jwks.json")).await;
        let Some(keys) = answer.and_then(|bytes| Keys::from_jwks(&bytes)) else {
            tracing::warn!("the user service tells no keys; those from before are used");
            return;
        };
        *asked = Some(Instant::now());
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        // A key that is not told any more signs nothing that is good.
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Verified::default();
    }

    /// Asks once for what was revoked since; answers where to go on, and whether at once.
    async fn load_revoked(&self, since: i64) -> (i64, bool) {
        let Some(user) = &self.user else { return (since, false) };
        let answer = ask(&self.http, &format!("{user}/tokens/revoked?since={since}")).await;
        let Some(answer) = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok()) else {
            return (since, false);
        };
        let more = answer.more && answer.next > since;
        if !self.revoked.write().unwrap_or_else(PoisonError::into_inner).learn(answer.revoked, now_ms()) {
            tracing::error!("more tokens were revoked than are remembered: some are let in until they end");
        }
        (answer.next, more)
    }

    /// Keeps keys and revocations up to date for as long as the process runs.
    pub async fn keep(&self) {
        let mut since = 0;
        loop {
            self.load_keys(KEYS).await;
            loop {
                let (next, more) = self.load_revoked(since).await;
                since = next;
                if !more {
                    break;
                }
            }
            tokio::time::sleep(REVOCATIONS).await;
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
