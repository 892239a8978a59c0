//! What the provider says: pure.

use serde::Deserialize;

/// Longest id that the provider gives a user.
const LONGEST_ID: usize = 128;

/// What the provider says of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Who it is from.
    OpenId(String),
    /// The code is wrong, used or over.
    Refused,
    /// Its user asks too often.
    Limited,
    /// The provider takes its user for a fraud.
    AtRisk,
    /// The provider is busy, silent or says nothing that can be read.
    Again,
    /// Something that is wrong with our app.
    Ours(i64),
}

/// The session key that stands beside these is not read.
#[derive(Deserialize)]
struct Body {
    openid: Option<String>,
    #[serde(default)]
    errcode: i64,
}

/// Reads an answer of jscode2session.
pub(super) fn read(body: &[u8]) -> Reply {
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return Reply::Again };
    match (body.errcode, body.openid) {
        (0, Some(openid)) if (1..=LONGEST_ID).contains(&openid.len()) => Reply::OpenId(openid),
        (0 | -1, _) => Reply::Again,
        // Invalid, and used before.
        (40_029 | 40_163, _) => Reply::Refused,
        (45_011, _) => Reply::Limited,
        (40_226, _) => Reply::AtRisk,
        (code, _) => Reply::Ours(code),
    }
}
