//! Envoy's configuration: for the same work as the sidecar's.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Features, RATE, TRACED_PERCENT};
use crate::token;

const TYPE: &str = "type.googleapis.com/envoy.extensions";

/// One listener before one origin. `helper` has the collector of spans; `key_set` verifies tokens.
pub(super) fn config(
    address: SocketAddr,
    origin: SocketAddr,
    helper: SocketAddr,
    key_set: &Value,
    features: Features,
) -> String {
    let mut manager = json!({
        "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "inbound",
        "use_remote_address": true,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s", "rate_limits": rates(features)}}],
        }]},
        "http_filters": filters(key_set, features),
    });
    if let Some(manager) = manager.as_object_mut() {
        if features.logs() {
            manager.insert("access_log".to_owned(), access_log());
        }
        if features.traces() {
            manager.insert("tracing".to_owned(), tracing());
        }
    }
    let filters = json!([{"name": "http", "typed_config": manager}]);
    let config = json!({"static_resources": {
        "listeners": [{"address": place(address), "filter_chains": [{"filters": filters}]}],
        "clusters": [cluster("app", origin), cluster("spans", helper)],
    }});
    config.to_string()
}

fn place(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": place(address)}}]}]);
    json!({"name": name, "connect_timeout": "1s", "load_assignment": {"cluster_name": name, "endpoints": endpoints}})
}

/// The fields of the sidecar's own line.
fn access_log() -> Value {
    let format = json!({
        "timestamp": "%START_TIME%", "trace_id": "%REQ(TRACEPARENT)%", "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "duration_ms": "%DURATION%",
        "protocol": "%PROTOCOL%", "request_id": "%REQ(X-REQUEST-ID)%",
    });
    json!([{"name": "log", "typed_config": {
        "@type": format!("{TYPE}.access_loggers.file.v3.FileAccessLog"),
        "path": "/dev/null",
        "log_format": {"json_format": format},
    }}])
}

/// What a request is counted by: its sender.
fn rates(features: Features) -> Value {
    if features.limits() { json!([{"actions": [{"remote_address": {}}]}]) } else { json!([]) }
}

fn filters(key_set: &Value, features: Features) -> Value {
    let router =
        json!({"name": "router", "typed_config": {"@type": format!("{TYPE}.filters.http.router.v3.Router")}});
    let tokens = features.verifies().then(|| tokens(key_set, features != Features::AllUncached));
    let all = [tokens, features.limits().then(limit), Some(router)];
    Value::Array(all.into_iter().flatten().collect())
}

/// Tokens that are verified; each is remembered if `cached`.
fn tokens(key_set: &Value, cached: bool) -> Value {
    let mut provider = json!({
        "issuer": token::ISSUER, "audiences": [token::AUDIENCE], "forward": true,
        "local_jwks": {"inline_string": key_set.to_string()},
        "claim_to_headers": [{"header_name": "x-user-id", "claim_name": "sub"}],
    });
    if let (true, Some(provider)) = (cached, provider.as_object_mut()) {
        provider.insert("jwt_cache_config".to_owned(), json!({"jwt_cache_size": 10_000}));
    }
    json!({"name": "jwt", "typed_config": {
        "@type": format!("{TYPE}.filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": {"shop": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "shop"}}],
    }})
}

/// A bucket for each sender.
fn limit() -> Value {
    let bucket = json!({"max_tokens": RATE, "tokens_per_fill": RATE, "fill_interval": "1s"});
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({"name": "limit", "typed_config": {
        "@type": format!("{TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "limit", "token_bucket": bucket,
        "filter_enabled": always, "filter_enforced": always,
        "descriptors": [{"entries": [{"key": "remote_address"}], "token_bucket": bucket}],
    }})
}

/// Sampled by the caller's flag, which the load sets at this rate, and else by Envoy at the same.
fn tracing() -> Value {
    json!({
        "random_sampling": {"value": TRACED_PERCENT},
        "provider": {"name": "spans", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "service_name": "shop",
            "http_service": {"http_uri": {"uri": "http://collector/v1/traces", "cluster": "spans", "timeout": "1s"}},
        }},
    })
}
