//! Who calls, as the sidecar or the gateway before this service says it: both verify the token and remove what clients claim
//! themselves. A service that anybody can reach without one of them must not believe these headers: let only the gateway reach it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::HeaderName;
use http::request::Parts;

use crate::problem::{Code, Problem};

/// The user's id.
pub const USER: HeaderName = HeaderName::from_static("x-user-id");
/// The user's roles, with commas between them.
pub const ROLES: HeaderName = HeaderName::from_static("x-user-roles");

/// The longest id of a user.
const MAX_USER: usize = 64;

/// The user of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Their id.
    pub user: Arc<str>,
    /// Whether they are of the shop: support, ops or admin.
    pub is_staff: bool,
}

impl Caller {
    /// Refuses whoever is not of the shop.
    pub fn staff(&self) -> Result<(), Problem> {
        if self.is_staff {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "one of the roles support, ops and admin is needed"))
    }

    fn read(parts: &Parts) -> Option<Self> {
        let user = parts.headers.get(USER)?.to_str().ok()?;
        let is_form =
            (1..=MAX_USER).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_graphic());
        let roles = parts.headers.get(ROLES).and_then(|roles| roles.to_str().ok()).unwrap_or_default();
        let is_staff = roles.split(',').any(|role| matches!(role.trim(), "support" | "ops" | "admin"));
        is_form.then(|| Self { user: user.into(), is_staff })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(parts).ok_or_else(|| {
            let detail =
                "the header x-user-id is missing: call through the gateway or the sidecar, which set it";
            Problem::new(Code::Unauthenticated, detail)
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::read(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Option<Caller> {
        let mut request = http::Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Caller::read(&request.into_parts().0)
    }

    #[test]
    fn a_caller_is_who_the_headers_say() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("x-user-id", "")]), None);
        assert_eq!(read(&[("x-user-id", "a b")]), None);
        assert_eq!(read(&[("x-user-id", &"a".repeat(65))]), None);
        let caller = |is_staff| Some(Caller { user: "u-1".into(), is_staff });
        assert_eq!(read(&[("x-user-id", "u-1"), ("x-user-roles", "customer")]), caller(false));
        assert_eq!(read(&[("x-user-id", "u-1"), ("x-user-roles", "customer, ops")]), caller(true));
    }
}
