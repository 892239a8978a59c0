//! Tokens that are not good any more although their time is not over, as the user service tells.

use std::collections::HashMap;

use serde::Deserialize;
use shop_common::token::Claims;

/// Most entries that are remembered: each logout is one for a day.
const MOST: usize = 200_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// The id of a token, a session or a user.
    pub subject: String,
    /// Of a user: tokens of a lower version; absent: all.
    pub below_version: Option<i64>,
    /// When the last such token ends by itself, in milliseconds since 1970.
    pub until: i64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Revoked(HashMap<String, (Option<i64>, i64)>);

impl Revoked {
    /// Takes what was told; what was told before changes nothing. `false`: there was no room, which is to be said.
    pub fn learn(&mut self, told: Vec<Told>, now_ms: i64) -> bool {
        if self.0.len() + told.len() > MOST {
            self.0.retain(|_, (_, until)| *until > now_ms);
        }
        let room = MOST.saturating_sub(self.0.len());
        let all = told.len();
        self.0.extend(told.into_iter().take(room).map(|one| (one.subject, (one.below_version, one.until))));
        all <= room
    }

    /// Whether a token is not good any more.
    pub fn has(&self, claims: &Claims) -> bool {
        let of = |subject: &str| self.0.get(subject);
        of(&claims.jti).is_some()
            || of(&claims.sid).is_some()
            || of(&claims.sub).is_some_and(|(below, _)| below.is_none_or(|version| claims.ver < version))
    }
}
