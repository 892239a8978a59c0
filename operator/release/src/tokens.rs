//! `spec.auth.jwt`: which tokens sidecars ask for, and the copy of the keys that they verify them with.

use shop_crds::service::auth::Jwt as Spec;

use crate::{
    document::{Jwt, JwtKeys},
    inputs::{SourceKind, token_secret},
    observed::SourceState,
    view::View,
    write::Write,
};

/// What documents say of tokens. Keys are named by what the sidecars' Secret holds: until a new content is there, by the one before.
pub(crate) fn wanted(view: &View<'_>) -> Option<Jwt> {
    let spec: &Spec = view.subject.spec.auth.as_ref()?.jwt.as_ref()?;
    let keys = match &spec.jwks {
        Some(url) => JwtKeys::Jwks(url.clone()),
        // A name that nothing has yet: with the first keys it is in the same plan.
        None => JwtKeys::Secret(view.observed.token_keys.clone().or_else(|| content(view))?),
    };
    let headers = spec.headers.iter().map(|(header, claim)| (claim.clone(), header.clone()));
    let except = spec.except.iter().map(|open| (open.path.clone(), open.methods.clone()));
    Some(Jwt {
        issuer: spec.issuer.clone(),
        audience: spec.audience.clone(),
        keys,
        headers: headers.collect(),
        except: except.collect(),
    })
}

/// The write that brings the keys of a changed Secret to the sidecars.
pub(crate) fn copy(view: &View<'_>) -> Option<Write> {
    let hash = content(view).filter(|_| view.observed.keys)?;
    let changed = view.observed.token_keys.as_ref() != Some(&hash);
    changed.then_some(Write::CopyTokenKeys { hash })
}

/// Hash of what the user's Secret holds now.
fn content(view: &View<'_>) -> Option<String> {
    let name = token_secret(&view.subject.spec)?;
    let found =
        view.observed.sources.iter().find(|one| one.kind == SourceKind::Secret && one.name == name)?;
    match &found.state {
        SourceState::Found { hash, .. } => Some(hash.clone()),
        SourceState::Missing | SourceState::Unreadable(_) => None,
    }
}
