//! What sidecars tell of the requests that they pass on: spans, lines of the access log, and by which routes they count.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, range};
use crate::traffic::WHOLE;

/// Most routes that are told apart.
pub const MAX_ROUTES: usize = 50;
/// Longest endpoint and route.
const LONGEST: usize = 256;

/// What is told of requests. Everything that is absent is as the sidecar has it without being told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// Where spans go; absent: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// What is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Templates of paths, as `/orders/{id}`, by which requests are counted; at most [`MAX_ROUTES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
}

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracing {
    /// `http://host:port`, with a path for [`Otlp::Http`] if it is not the usual one.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: Otlp,
    /// Share of requests that failed, in parts per 10,000.
    pub errors: u32,
    /// Share of slow ones.
    pub slow: u32,
    /// Share of all others.
    pub rest: u32,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Otlp {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as protobuf.
    Http,
}

/// What is logged of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLog {
    /// Whether anything is.
    pub enabled: bool,
    /// Share of the requests that did not fail, in parts per 10,000; those that did are always logged.
    pub share: u32,
}

impl Telemetry {
    /// Checks what the types do not.
    pub(crate) fn validate(&self) -> Result<(), InvalidDocument> {
        if let Some(tracing) = &self.tracing {
            endpoint(&tracing.endpoint)?;
            share("telemetry.tracing.errors", tracing.errors)?;
            share("telemetry.tracing.slow", tracing.slow)?;
            share("telemetry.tracing.rest", tracing.rest)?;
        }
        if let Some(log) = self.access_log {
            share("telemetry.accessLog.share", log.share)?;
        }
        range("telemetry.routes", "at most 50 routes", self.routes.len(), 0..=MAX_ROUTES)?;
        self.routes.iter().try_for_each(|route| self::route(route))
    }
}

fn share(field: &'static str, found: u32) -> Result<(), InvalidDocument> {
    range(field, "0 to 10000", found as usize, 0..=WHOLE as usize)
}

fn visible(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn endpoint(endpoint: &str) -> Result<(), InvalidDocument> {
    let rest = endpoint.strip_prefix("http://").filter(|_| visible(endpoint)).unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    let plain = !authority.is_empty() && !authority.contains('@') && !rest.contains(['?', '#']);
    if plain && port { Ok(()) } else { Err(InvalidDocument::Endpoint) }
}

/// A path, or one in which segments stand for anything: `/orders/{id}`, and `/files/{*rest}` at the end.
fn route(route: &str) -> Result<(), InvalidDocument> {
    let segment = |segment: &str| {
        let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        let name = inner.unwrap_or(segment);
        let name = if inner.is_some() { name.strip_prefix('*').unwrap_or(name) } else { name };
        (inner.is_none() || !name.is_empty()) && !name.contains(['{', '}', '?', '#', '*', '"', '\\'])
    };
    let fits = route.starts_with('/') && visible(route) && route.split('/').all(segment);
    if fits { Ok(()) } else { Err(InvalidDocument::Route(route.chars().take(40).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http_urls() {
        for good in
            ["http://otel:4317", "http://otel.monitoring", "http://[::1]:4318/v1/traces", "http://o/x"]
        {
            assert_eq!(endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "otel:4317",
            "https://otel",
            "http://",
            "http://:x",
            "http://u@o",
            "http://o/?k=v",
            "http://o t",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn routes_are_paths_with_named_segments() {
        for good in ["/", "/orders", "/orders/{id}", "/orders/{id}/items/{item}", "/files/{*rest}"] {
            assert_eq!(route(good), Ok(()), "{good}");
        }
        for bad in ["", "orders", "/{}", "/{*}", "/a{b", "/a?b", "/{a}{b}", "/a b", "/a*"] {
            assert!(route(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let tracing = Tracing {
            endpoint: "http://otel:4317".into(),
            protocol: Otlp::Grpc,
            errors: 10_000,
            slow: 8_000,
            rest: 500,
        };
        let good =
            Telemetry { tracing: Some(tracing.clone()), access_log: None, routes: vec!["/a".into(); 50] };
        assert_eq!(good.validate(), Ok(()));
        let says = |telemetry: Telemetry| telemetry.validate().unwrap_err().to_string();
        let rest = Telemetry { tracing: Some(Tracing { rest: 10_001, ..tracing }), ..good.clone() };
        assert!(says(rest).contains("telemetry.tracing.rest must be 0 to 10000"));
        let log = AccessLog { enabled: true, share: 10_001 };
        assert!(says(Telemetry { access_log: Some(log), ..good.clone() }).contains("accessLog.share"));
        assert!(says(Telemetry { routes: vec!["/a".into(); 51], ..good }).contains("at most 50 routes"));
    }
}
