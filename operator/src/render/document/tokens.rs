//! Which tokens requests need: as a plan says it, as sidecars read it; and back.

use shop_contract::{ClaimHeader, Open};
use shop_release::{Jwt, JwtKeys};

/// Beginning of the name of a JWK Set in the sidecars' Secret; the hash of what it was copied from follows.
const PREFIX: &str = "jwt-";

/// Name in the sidecars' Secret of the keys that were copied from a content with this hash.
pub fn token_keys_name(hash: &str) -> String {
    format!("{PREFIX}{hash}")
}

pub(super) fn jwt(jwt: &Jwt) -> shop_contract::Jwt {
    let header =
        |(claim, header): &(String, String)| ClaimHeader { claim: claim.clone(), header: header.clone() };
    let open =
        |(path, methods): &(String, Vec<String>)| Open { path: path.clone(), methods: methods.clone() };
    shop_contract::Jwt {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        keys: match &jwt.keys {
            JwtKeys::Jwks(url) => shop_contract::JwtKeys::Jwks(url.clone()),
            JwtKeys::Secret(hash) => shop_contract::JwtKeys::Secret(token_keys_name(hash)),
        },
        headers: jwt.headers.iter().map(header).collect(),
        except: jwt.except.iter().map(open).collect(),
    }
}

pub(super) fn stored_jwt(jwt: &shop_contract::Jwt) -> Option<Jwt> {
    Some(Jwt {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        keys: match &jwt.keys {
            shop_contract::JwtKeys::Jwks(url) => JwtKeys::Jwks(url.clone()),
            shop_contract::JwtKeys::Secret(name) => JwtKeys::Secret(name.strip_prefix(PREFIX)?.to_owned()),
        },
        headers: jwt.headers.iter().map(|one| (one.claim.clone(), one.header.clone())).collect(),
        except: jwt.except.iter().map(|one| (one.path.clone(), one.methods.clone())).collect(),
    })
}
