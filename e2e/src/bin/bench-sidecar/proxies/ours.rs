//! The sidecar's document.

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use shop_contract::SCHEMA;

use super::{Features, RATE, TRACED_PERCENT};
use crate::token;

/// Of an active revision outside of a release. `helper` has the key set and takes spans; `local` is the port of a dependency.
pub(super) fn document(
    app: SocketAddr,
    helper: SocketAddr,
    features: Features,
    local: SocketAddr,
) -> Result<Value> {
    let key = Ed25519KeyPair::generate().map_err(|_| anyhow!("make a key"))?;
    let mut document = json!({
        "schema": SCHEMA,
        "identity": {"namespace": "bench", "service": "shop", "serviceUid": "bench", "revision": 1},
        "leaderEpoch": 1, "generation": 1, "roleEpoch": 1, "role": "active", "colour": "blue",
        "app": {"port": app.port(), "protocol": "http", "readiness": {"timeoutMs": 1000}},
        "maxConnections": 10_000, "drainMaxMs": 10_000,
        "pushKeys": {"current": BASE64.encode(key.public_key())},
        "handoverKeys": {"current": "made"},
    });
    let Some(fields) = document.as_object_mut() else { return Ok(document) };
    fields.insert("trustedHops".to_owned(), json!(["127.0.0.1/32"]));
    let mut telemetry = json!({});
    if let Some(telemetry) = telemetry.as_object_mut() {
        if features.traces() {
            // Failures and slow ones are what Envoy does not look for: only the share of all is told.
            let tracing = json!({
                "endpoint": format!("http://{helper}"), "protocol": "http",
                "errors": 10_000, "slow": 0, "rest": TRACED_PERCENT * 100,
            });
            telemetry.insert("tracing".to_owned(), tracing);
        }
        if features.logs() {
            telemetry.insert("accessLog".to_owned(), json!({"enabled": true, "share": 10_000}));
        }
    }
    fields.insert("telemetry".to_owned(), telemetry);
    if features.verifies() {
        let jwt = json!({
            "issuer": token::ISSUER, "audience": token::AUDIENCE,
            "keys": {"jwks": format!("http://{helper}/keys")},
        });
        fields.insert("auth".to_owned(), json!({ "jwt": jwt }));
    }
    if features.limits() {
        let limits = json!({
            "concurrency": {"max": 1000, "queue": 1000}, "requestTimeoutMs": 15_000, "maxBodyBytes": 1 << 20,
            "rate": [{"per": "ip", "requests": RATE, "windowMs": 1000, "burst": RATE}],
        });
        fields.insert("limits".to_owned(), limits);
    }
    if features == Features::Outbound {
        let breaker =
            json!({"requests": 20, "errorPercent": 50, "windowMs": 10_000, "openMs": 5_000, "trials": 3});
        let dependency = json!({
            "name": "app", "host": app.to_string(), "localPort": local.port(), "timeoutMs": 15_000, "retries": 2,
            "balance": "leastRequest", "circuitBreaker": breaker, "maxInFlight": 1000,
        });
        fields.insert("dependsOn".to_owned(), json!([dependency]));
    }
    Ok(document)
}
