//! What a good token says of the user: who it is, and the header fields that tell the app.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use shop_contract::{ClaimHeader, MAX_CLAIM_HEADERS, USER_HEADER};

use super::decide::{Bad, Claims};

/// Longest `sub`.
const MAX_USER: usize = 255;
/// Longest value of another claim; a longer one is not told.
const MAX_VALUE: usize = 1_024;

const USER_NAME: HeaderName = HeaderName::from_static(USER_HEADER);

/// A user that a token or another revision under its MAC vouches for: the claim `sub`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of who sent a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The user; `None` for a token without `sub`.
    pub user: Option<UserId>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Which claims become which header fields.
#[derive(Debug)]
pub(super) struct Naming {
    claims: Vec<(Box<str>, HeaderName)>,
}

impl Naming {
    pub(super) fn new(headers: &[ClaimHeader]) -> Self {
        let one = |one: &ClaimHeader| {
            Some((one.claim.as_str().into(), HeaderName::from_bytes(one.header.as_bytes()).ok()?))
        };
        Self { claims: headers.iter().filter_map(one).collect() }
    }

    /// What these claims say.
    pub(super) fn of(&self, claims: &Claims) -> Result<Verified, Bad> {
        let user = match claims.get("sub") {
            None => None,
            Some(Value::String(sub)) if sub.len() <= MAX_USER => {
                Some((UserId(sub.as_str().into()), value(sub).ok_or(Bad::Subject)?))
            }
            Some(_) => return Err(Bad::Subject),
        };
        let told = self
            .claims
            .iter()
            .filter_map(|(claim, name)| Some((name.clone(), value(&text(claims.get(&**claim)?)?)?)));
        let mut fields: Vec<_> = told.collect();
        let user = user.map(|(user, value)| {
            fields.push((USER_NAME, value));
            user
        });
        Ok(Verified { user, fields })
    }

    /// Removes what only a verified token may say. Servers that make variables of fields take `_` for `-`.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        for (_, name) in &self.claims {
            headers.remove(name);
        }
        headers.remove(USER_NAME);
        let like = |name: &str, own: &HeaderName| {
            let (name, own) = (name.as_bytes(), own.as_str().as_bytes());
            let same = |(one, other): (&u8, &u8)| one == other || (*one == b'_' && *other == b'-');
            name.len() == own.len() && name.iter().zip(own).all(same)
        };
        let poses = |name: &HeaderName| {
            let name = name.as_str();
            name.contains('_')
                && (like(name, &USER_NAME) || self.claims.iter().any(|(_, own)| like(name, own)))
        };
        if headers.keys().any(poses) {
            let names: Vec<HeaderName> = headers.keys().filter(|name| poses(name)).cloned().collect();
            for name in names {
                headers.remove(name);
            }
        }
    }

    fn knows(&self, name: &HeaderName) -> bool {
        *name == USER_NAME || self.claims.iter().any(|(_, own)| own == name)
    }

    /// What another revision says, under its MAC; fields that this one does not tell are left out.
    pub(super) fn open(&self, sealed: &str) -> Option<Verified> {
        let bytes = BASE64.decode(sealed).ok()?;
        let mut verified = Verified::default();
        for line in bytes.split(|byte| *byte == b'\n').take(MAX_CLAIM_HEADERS + 1) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
            let value = HeaderValue::from_bytes(line.get(colon + 1..)?).ok()?;
            if name == USER_NAME {
                verified.user = std::str::from_utf8(value.as_bytes()).ok().map(|user| UserId(user.into()));
            }
            if self.knows(&name) {
                verified.fields.push((name, value));
            }
        }
        Some(verified)
    }
}

impl Verified {
    /// Tells the app.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            headers.insert(name, value.clone());
        }
    }

    /// For another revision, in base64; `None`: there is nothing to tell.
    pub fn seal(&self) -> Option<String> {
        let lines = self
            .fields
            .iter()
            .map(|(name, value)| [name.as_str().as_bytes(), b":", value.as_bytes()].concat());
        let lines: Vec<Vec<u8>> = lines.collect();
        (!lines.is_empty()).then(|| BASE64.encode(lines.join(&b'\n')))
    }
}

/// A claim as text: of lists the entries with commas between them. `None`: it has no plain text.
fn text(claim: &Value) -> Option<String> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    };
    match claim {
        Value::Array(several) => {
            let all: Option<Vec<String>> = several.iter().map(one).collect();
            // With a comma in it, one entry would look like two.
            all.filter(|all| !all.iter().any(|one| one.contains(','))).map(|all| all.join(","))
        }
        _ => one(claim),
    }
}

/// As a field's value: not empty, without control characters, and without spaces that its reader would cut off.
fn value(text: &str) -> Option<HeaderValue> {
    let fits = !text.is_empty() && text.len() <= MAX_VALUE && text.trim() == text && !text.contains('\t');
    fits.then(|| HeaderValue::from_bytes(text.as_bytes()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        let one = |claim: &str, header: &str| ClaimHeader { claim: claim.into(), header: header.into() };
        Naming::new(&[one("tier", "x-user-tier"), one("roles", "x-roles"), one("n", "x-n")])
    }

    fn claims(value: Value) -> Claims {
        serde_json::from_value(value).expect("object")
    }

    fn told(value: Value) -> Result<Vec<(String, String)>, Bad> {
        let verified = naming().of(&claims(value))?;
        let mut headers = HeaderMap::new();
        verified.tell(&mut headers);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut told: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        told.sort();
        Ok(told)
    }

    #[test]
    fn claims_become_fields() {
        let all =
            serde_json::json!({"sub": "u-1", "tier": "premium", "roles": ["a", "b"], "n": 7, "other": 1});
        let expected = [("x-n", "7"), ("x-roles", "a,b"), ("x-user-id", "u-1"), ("x-user-tier", "premium")];
        let expected: Vec<_> = expected.map(|(name, value)| (name.into(), value.into())).into();
        assert_eq!(told(all), Ok(expected));
        assert_eq!(told(serde_json::json!({})), Ok(Vec::new()));
    }

    #[test]
    fn what_could_be_misread_is_not_told() {
        for odd in [
            serde_json::json!({"tier": "a\nx-user-id: root"}),
            serde_json::json!({"tier": " premium"}),
            serde_json::json!({"roles": ["a,admin"]}),
            serde_json::json!({"roles": [{"a": 1}]}),
            serde_json::json!({"tier": {"a": 1}}),
            serde_json::json!({"tier": ""}),
            serde_json::json!({"tier": "a".repeat(MAX_VALUE + 1)}),
        ] {
            assert_eq!(told(odd.clone()), Ok(Vec::new()), "{odd}");
        }
        for sub in [serde_json::json!(7), "".into(), " root".into(), "a\r\nb".into(), "a".repeat(256).into()]
        {
            assert_eq!(told(serde_json::json!({ "sub": sub })), Err(Bad::Subject), "{sub}");
        }
    }

    #[test]
    fn nobody_else_may_say_it() {
        let mut headers = HeaderMap::new();
        for name in ["x-user-id", "x_user_id", "x-user_id", "x-user-tier", "x_roles", "x-user-idx", "x_other"]
        {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("name"),
                HeaderValue::from_static("1"),
            );
        }
        naming().strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-user-idx", "x_other"]);
    }

    #[test]
    fn another_revision_learns_the_same() {
        let all = claims(serde_json::json!({"sub": "ü:1", "tier": "a:b"}));
        let verified = naming().of(&all).expect("claims");
        let sealed = verified.seal().expect("something");
        assert_eq!(naming().open(&sealed), Some(verified));
        let fewer = Naming::new(&[]).open(&sealed).expect("opened");
        assert_eq!((fewer.fields.len(), fewer.user.as_ref().map(UserId::as_str)), (1, Some("ü:1")));
        assert_eq!(Verified::default().seal(), None);
        assert_eq!(naming().open("?"), None);
    }
}
