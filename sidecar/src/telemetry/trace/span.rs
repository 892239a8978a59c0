//! One kept span, and how it looks in OTLP. Names are those of OpenTelemetry's semantic conventions for HTTP servers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method};
use shop_flow::sampling::Why;

use super::{Place, otlp};
use crate::telemetry::metrics::Spoken;

/// Which end of a request.
#[derive(Clone, Debug)]
pub enum Kind {
    /// That of the app that answers.
    Server,
    /// That of the app that calls this dependency.
    Client(Arc<str>),
}

/// A request that has ended.
#[derive(Debug)]
pub struct Span {
    /// Which end of it.
    pub kind: Kind,
    /// Of the trace.
    pub trace_id: u128,
    /// Its own.
    pub span_id: u64,
    /// Of the caller's span.
    pub parent: Option<u64>,
    /// Flags of the context.
    pub flags: u8,
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The request's method.
    pub method: Method,
    /// Template that its path fits.
    pub route: Option<Arc<str>>,
    /// The path without query, cut off.
    pub path: Box<str>,
    /// Of the answer; `None`: the caller went away before.
    pub status: Option<u16>,
    /// What the caller speaks.
    pub spoken: Spoken,
    /// Whether it failed.
    pub failed: bool,
    /// Why the sidecar itself answered.
    pub reason: Option<&'static str>,
    /// The FaultPolicy that had to do with it.
    pub fault: Option<Arc<str>>,
    /// SPIFFE id of the service that sent it.
    pub caller: Option<HeaderValue>,
    /// This pod's revision.
    pub revision: i64,
    /// Its colour.
    pub colour: &'static str,
    /// What other revisions had to do with it.
    pub way: Option<&'static str>,
    /// Why it is kept.
    pub why: Why,
}

impl Place {
    /// Ids of a span that is kept: trace, span, parent, flags.
    pub fn identity(&self) -> Option<(u128, u64, Option<u64>, u8)> {
        let own = self.own.as_ref()?;
        Some((own.trace_id, own.span_id, self.came.map(|came| came.parent), own.flags))
    }
}

impl Span {
    /// As it is sent.
    pub fn to_otlp(&self) -> otlp::Span {
        let end = nanos(self.ended);
        let took = u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX);
        let method = method(&self.method);
        let name =
            self.route.as_deref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let parent_span_id = self.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default();
        let remote = if self.parent.is_some() { otlp::REMOTE_PARENT } else { 0 };
        otlp::Span {
            trace_id: self.trace_id.to_be_bytes().to_vec(),
            span_id: self.span_id.to_be_bytes().to_vec(),
            parent_span_id,
            name,
            kind: match self.kind {
                Kind::Server => otlp::SERVER,
                Kind::Client(_) => otlp::CLIENT,
            },
            start_time_unix_nano: end.saturating_sub(took),
            end_time_unix_nano: end,
            attributes: self.attributes(method),
            status: self.failed.then_some(otlp::Status { code: otlp::ERROR }),
            flags: u32::from(self.flags) | remote,
        }
    }

    fn attributes(&self, method: &'static str) -> Vec<otlp::KeyValue> {
        let mut all = vec![
            otlp::text("http.request.method", method),
            otlp::text("url.scheme", "http"),
            otlp::number("shop.revision", self.revision),
            otlp::text("shop.colour", self.colour),
            otlp::text("shop.kept", self.why.as_str()),
        ];
        all.push(match &self.kind {
            Kind::Server => otlp::text("url.path", self.route.as_deref().unwrap_or(&self.path)),
            Kind::Client(dependency) => otlp::text("server.address", &**dependency),
        });
        all.extend(self.route.as_deref().map(|route| otlp::text("http.route", route)));
        all.extend(self.status.map(|status| otlp::number("http.response.status_code", status.into())));
        all.extend(self.reason.map(|reason| otlp::text("shop.reason", reason)));
        all.extend(self.fault.as_deref().map(|policy| otlp::text("shop.fault", policy)));
        let caller = self.caller.as_ref().and_then(|caller| caller.to_str().ok());
        all.extend(caller.map(|caller| otlp::text("shop.caller", caller)));
        all.extend(self.way.map(|way| otlp::text("shop.way", way)));
        match self.spoken {
            Spoken::Http1 => all.push(otlp::text("network.protocol.version", "1.1")),
            Spoken::Http2 => all.push(otlp::text("network.protocol.version", "2")),
            Spoken::Grpc => all.push(otlp::text("rpc.system", "grpc")),
            Spoken::WebSocket => all.push(otlp::text("network.protocol.name", "websocket")),
            Spoken::Tcp => all.push(otlp::text("network.transport", "tcp")),
        }
        if self.failed {
            let status = self.status.filter(|status| *status >= 500);
            let broken = if self.spoken == Spoken::Grpc { "grpc-status" } else { "broken-off" };
            all.push(otlp::text("error.type", status.map_or_else(|| broken.to_owned(), |it| it.to_string())));
        }
        all
    }
}

/// Methods that everybody knows; callers invent others.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn span() -> Span {
        Span {
            kind: Kind::Server,
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0x00f0_67aa_0ba9_02b7,
            parent: Some(0xb7ad_6b71_6920_3331),
            flags: 1,
            ended: SystemTime::UNIX_EPOCH + Duration::from_secs(2),
            took: Duration::from_millis(500),
            method: Method::POST,
            route: Some("/orders/{id}".into()),
            path: "/orders/7".into(),
            status: Some(503),
            spoken: Spoken::Http1,
            failed: true,
            reason: Some("app-unreachable"),
            fault: None,
            caller: Some(HeaderValue::from_static("spiffe://a/svc/cart")),
            revision: 7,
            colour: "green",
            way: None,
            why: Why::Error,
        }
    }

    fn value(span: &otlp::Span, key: &str) -> Option<String> {
        let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
        Some(match value {
            otlp::Value::Text(text) => text,
            otlp::Value::Number(number) => number.to_string(),
        })
    }

    #[test]
    fn names_are_those_of_the_conventions() {
        let sent = span().to_otlp();
        assert_eq!((sent.name.as_str(), sent.kind, sent.flags), ("POST /orders/{id}", 2, 0x301));
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (1_500_000_000, 2_000_000_000));
        for (key, expected) in [
            ("http.request.method", "POST"),
            ("http.route", "/orders/{id}"),
            ("url.path", "/orders/{id}"),
            ("http.response.status_code", "503"),
            ("error.type", "503"),
            ("shop.reason", "app-unreachable"),
            ("shop.caller", "spiffe://a/svc/cart"),
            ("shop.revision", "7"),
            ("shop.kept", "error"),
        ] {
            assert_eq!(value(&sent, key).as_deref(), Some(expected), "{key}");
        }
        let method = Method::from_bytes(b"BREW").expect("token");
        let sent = Span { method, route: None, status: Some(200), spoken: Spoken::Grpc, ..span() }.to_otlp();
        assert_eq!(
            (sent.name.as_str(), value(&sent, "error.type").as_deref()),
            ("_OTHER", Some("grpc-status"))
        );
        assert_eq!(value(&sent, "url.path").as_deref(), Some("/orders/7"));
        assert!(span().to_otlp().encoded_len() < 512);
    }

    /// Bytes that OpenTelemetry's own messages (Python package `opentelemetry-proto`) read as what they are.
    #[test]
    fn bytes_are_those_of_the_protocol() {
        let bytes = otlp::Span { attributes: vec![otlp::number("a", 7)], ..span().to_otlp() }.encode_to_vec();
        let expected = "0a100af7651916cd43dd8448eb211c80319c120800f067aa0ba902b72208b7ad6b71692033312a11504f5354202f6f72646572732f7b69647d300239002f6859000000004100943577000000004a070a0161120218077a021802850101030000";
        let byte = |at: usize| u8::from_str_radix(&expected[at..at + 2], 16).expect("digits");
        let expected: Vec<_> = (0..expected.len()).step_by(2).map(byte).collect();
        assert_eq!(bytes, expected);
    }
}
