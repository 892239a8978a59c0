//! `spec.auth`: who may send requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may send requests. Changes count at once, in all revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Every request needs a JSON Web Token in `Authorization: Bearer`, and the app finds its user in `x-user-id`. What comes
    /// without a good one is answered 401 by the sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// TLS between sidecars, with certificates that the operator makes and renews: `strict` takes nothing else, `permissive` plain
    /// connections too, `"off"` (in quotes) or left out is plain. ShopServices of the namespace that have this one in `dependsOn` call it by
    /// TLS as soon as it takes that. Begin with `permissive`; `strict` comes into force once they all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MtlsMode>,
    /// ShopServices that may call this one, beside its own pods; left out, everybody may. They show who they are by their
    /// certificate, and a NetworkPolicy lets only their pods in. Others are answered 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub callers: Vec<Caller>,
}

impl Auth {
    /// The mode; `Off` where nothing is said.
    pub fn mtls(&self) -> MtlsMode {
        self.mtls.unwrap_or_default()
    }
}

/// Whether sidecars speak TLS with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MtlsMode {
    /// They do not.
    #[default]
    Off,
    /// TLS, and plain connections too.
    Permissive,
    /// TLS alone.
    Strict,
}

/// A ShopService that may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its namespace; left out, the one of this ShopService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Which tokens are good: signed with one of the keys, by this issuer, for this audience, and in their time (60 seconds are
/// allowed for clocks that differ).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Jwt {
    /// What the claim `iss` must be, exactly: `https://shop.example`.
    #[schemars(length(min = 1, max = 253))]
    pub issuer: String,
    /// What the claim `aud` must be, or have in its list.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
    /// URL of the keys, a JWK Set: tokens are signed with RS256, ES256 or EdDSA. It is read every 10 minutes, and when a token names
    /// an unknown key. While it is away the keys of before are used. Either this or `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub jwks: Option<String>,
    /// The Secret with keys for HS512. Each of its entries is a key of at least 64 bytes, under its key id, and all count: add a
    /// new one, let the issuer sign with it, take the old one away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Headers in which the app finds claims beside the user: name of the header and name of the claim, as in
    /// `{x-user-tier: tier}`. Such headers are removed from what clients send.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, String>,
    /// Places that need no token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub except: Vec<OpenPath>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A path and everything below it. A good token still tells the user there; a bad one counts as none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenPath {
    /// Whole segments: `/products` is `/products` and `/products/7`, not `/products-old`.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Methods, as in GET; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32)))]
    pub methods: Vec<String>,
}
