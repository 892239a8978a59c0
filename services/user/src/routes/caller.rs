//! Who calls: this service believes no header but the token itself, since it knows best which are good.

use axum::extract::FromRequestParts;
use http::request::Parts;
use shop_common::token::{Claims, bearer};
use shop_common::{Code, Problem};

use super::{App, store_failed};
use crate::domain::{User, may_administer, may_touch};

/// The caller of a request, by its token.
pub(super) struct Caller {
    /// As it is now, not as the token says.
    pub(super) user: User,
    pub(super) claims: Claims,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let refused = |detail: &'static str| Problem::new(Code::Unauthenticated, detail);
        let token = bearer(&parts.headers).ok_or_else(|| {
            refused("log in at `POST /users/login`, then send `authorization: Bearer <access_token>`")
        })?;
        let verified = app.keys.verify(token, &app.rules, app.now()).await;
        let again = "the token is not good, or not any more: refresh it, or log in again";
        let claims = verified.map_err(|reason| {
            tracing::debug!(%reason, "refused a token");
            refused(again)
        })?;
        if app.store.is_revoked(&claims.jti, &claims.sid).await.map_err(store_failed)? {
            return Err(refused(again));
        }
        let user = app.store.user(&claims.sub).await.map_err(store_failed)?;
        let user = user.filter(|user| user.token_version == claims.ver).ok_or_else(|| refused(again))?;
        Ok(Self { user, claims })
    }
}

impl Caller {
    /// Whether it is its own account, or it is an admin. To others the account is not there.
    pub(super) fn touches(&self, id: &str) -> Result<(), Problem> {
        if may_touch(&self.user.id, &self.user.roles, id) { Ok(()) } else { Err(no_such_user()) }
    }

    pub(super) fn is_admin(&self) -> bool {
        may_administer(&self.user.roles)
    }

    pub(super) fn administers(&self) -> Result<(), Problem> {
        if self.is_admin() { Ok(()) } else { Err(Problem::new(Code::Forbidden, "this needs the role admin")) }
    }
}

pub(super) fn no_such_user() -> Problem {
    Problem::new(Code::UserNotFound, "no user that you may see has this id")
}
