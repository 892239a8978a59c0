//! `spec.auth`: which tokens, with which keys, where none is needed; and which services.

use super::{NAME, Rule, shop};

/// Headers that no claim may become: `shop-contract` has the same list.
const RESERVED: [&str; 25] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "grpc-timeout",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];

pub(super) fn rules() -> Vec<Rule> {
    let reserved = RESERVED.map(|name| format!("'{name}'")).join(", ");
    vec![
        shop("spec.auth", "has(self.jwt) || has(self.mtls)", "write jwt or mtls, or leave auth out"),
        shop(
            "spec.auth",
            "!has(self.callers) || has(self.mtls) && self.mtls != 'off'",
            "callers are known by their certificates: write mtls: permissive or mtls: strict with them, or leave callers out",
        ),
        shop(
            "spec.auth.callers[].name",
            format!("self.matches({NAME})"),
            "write the name of a ShopService, as in gateway",
        ),
        shop(
            "spec.auth.callers[].namespace",
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "write the name of a namespace, as in shop",
        ),
        shop(
            "spec.auth.jwt",
            "has(self.jwks) != has(self.secretRef)",
            "write exactly one of jwks: <URL of published keys> and secretRef: {name: <Secret with keys for HS512>}",
        ),
        shop(
            "spec.auth.jwt.jwks",
            "self.matches('^https?://[!-~]+$')",
            "write the URL of a JWK Set, as in http://user/.well-known/jwks.json",
        ),
        shop(
            "spec.auth.jwt.secretRef.name",
            "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            "write the name of a Secret in the same namespace, as in token-keys",
        ),
        shop(
            "spec.auth.jwt.headers",
            "self.all(key, key.matches('^[a-z0-9][-a-z0-9]{0,63}$'))",
            "write names of headers in lower case, of letters, digits and '-', and the claim, as in x-user-tier: tier",
        ),
        shop(
            "spec.auth.jwt.headers",
            format!(
                "self.all(key, !(key in [{reserved}]) && !key.startsWith('x-shop-') && !key.startsWith('x-forwarded-') && \
                 !key.startsWith('sec-websocket-'))"
            ),
            "a header that HTTP or the sidecar needs cannot tell a claim: write another name, as in x-user-tier",
        ),
        shop(
            "spec.auth.jwt.headers{}",
            "self.size() >= 1 && self.size() <= 128",
            "write the name of a claim of at most 128 characters, as in tier",
        ),
        shop(
            "spec.auth.jwt.except[].path",
            r"self.matches('^/[!-~]*$') && !self.matches('[?#%;\\\\]|//|/[.][.]?(/|$)')",
            "write a path as in /products, without empty segments, '.', '..' and any of ? # \\ % ;",
        ),
        shop(
            "spec.auth.jwt.except[].methods[]",
            "self.matches('^[A-Z]{1,32}$')",
            "write methods in capitals, as in GET or OPTIONS",
        ),
        shop(
            "spec",
            "!has(self.release) || !has(self.release.canary) || !has(self.release.canary.sticky) || \
             !has(self.release.canary.sticky.user) || !self.release.canary.sticky.user || has(self.auth) && has(self.auth.jwt)",
            "release.canary.sticky.user goes by the user of verified tokens: write auth.jwt too, or another kind of sticky",
        ),
    ]
}
