//! What sidecars tell of requests, from the live spec and the policies of the namespace: nothing of it belongs to a revision.

use shop_crds::{
    Percent, ShopServiceSpec,
    service::telemetry::{Sample, Tracing as Wanted, TracingProtocol},
};

use crate::observed::Policy;

/// The port of OTLP over HTTP by convention.
const HTTP_PORT: &str = ":4318";

/// What is told of requests, with every default filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Where spans go; `None`: none are made.
    pub tracing: Option<Tracing>,
    /// What is logged; `None`: the sidecar's own default.
    pub access_log: Option<AccessLog>,
    /// Templates of paths by which requests are counted.
    pub routes: Vec<String>,
}

/// Where spans go. Shares are in parts per 10,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Address of the receiver.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: Otlp,
    /// Share of requests that failed.
    pub errors: u32,
    /// Share of slow ones.
    pub slow: u32,
    /// Share of all others.
    pub rest: u32,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otlp {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
}

/// What is logged of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Whether anything is.
    pub enabled: bool,
    /// Share of those without error, in parts per 10,000.
    pub share: u32,
}

impl Telemetry {
    /// What a spec asks for, or where it says nothing, the policies of its namespace do.
    pub fn of(spec: &ShopServiceSpec, policies: &[Policy]) -> Self {
        let defaults = || policies.iter().filter_map(|policy| policy.spec.as_ref().ok()?.defaults.as_ref());
        let log = spec.access_log.as_ref().or_else(|| defaults().find_map(|one| one.access_log.as_ref()));
        let traced = spec.tracing.as_ref().or_else(|| defaults().find_map(|one| one.tracing.as_ref()));
        Self {
            tracing: traced.map(tracing),
            access_log: log.map(|log| AccessLog {
                enabled: log.enabled,
                share: log.sample.unwrap_or(Percent::parts(100)).per_10_000(),
            }),
            routes: spec.metrics.as_ref().map(|metrics| metrics.routes.clone()).unwrap_or_default(),
        }
    }
}

fn tracing(wanted: &Wanted) -> Tracing {
    let sample = wanted.sample.clone().unwrap_or_default();
    let Sample { errors, slow, rest } = sample;
    let share = |share: Option<Percent>, default: u32| share.map_or(default, Percent::per_10_000);
    Tracing {
        endpoint: wanted.endpoint.clone(),
        protocol: protocol(wanted),
        errors: share(errors, 10_000),
        slow: share(slow, 8_000),
        rest: share(rest, 500),
    }
}

/// As written, or what is usual at such an address.
fn protocol(wanted: &Wanted) -> Otlp {
    match wanted.protocol {
        Some(TracingProtocol::Grpc) => Otlp::Grpc,
        Some(TracingProtocol::Http) => Otlp::Http,
        None => {
            let rest = wanted.endpoint.trim_start_matches("http://");
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            if authority.ends_with(HTTP_PORT) || !path.is_empty() { Otlp::Http } else { Otlp::Grpc }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(endpoint: &str, protocol: Option<TracingProtocol>) -> Otlp {
        tracing(&Wanted { endpoint: endpoint.into(), protocol, sample: None }).protocol
    }

    #[test]
    fn the_address_says_what_is_spoken() {
        assert_eq!(wanted("http://otel:4317", None), Otlp::Grpc);
        assert_eq!(wanted("http://otel", None), Otlp::Grpc);
        assert_eq!(wanted("http://otel:4318", None), Otlp::Http);
        assert_eq!(wanted("http://otel:8080/otlp", None), Otlp::Http);
        assert_eq!(wanted("http://otel:4318", Some(TracingProtocol::Grpc)), Otlp::Grpc);
    }

    #[test]
    fn shares_have_defaults() {
        let sample = Some(Sample { rest: Some(Percent::parts(0)), ..Sample::default() });
        let made = tracing(&Wanted { endpoint: "http://otel".into(), protocol: None, sample });
        assert_eq!((made.errors, made.slow, made.rest), (10_000, 8_000, 0));
    }

    #[test]
    fn what_a_service_leaves_out_its_namespace_says() {
        let policy = |name: &str, defaults: serde_json::Value| {
            let spec = serde_json::from_value(serde_json::json!({ "defaults": defaults }));
            Policy { name: name.into(), spec: spec.map_err(|error| error.to_string()) }
        };
        let unread = Policy { name: "0".into(), spec: Err("unknown variant".into()) };
        let policies = [
            unread,
            policy("a", serde_json::json!({"accessLog": {"sample": "5%"}})),
            policy("b", serde_json::json!({"tracing": {"endpoint": "http://otel:4317"}, "accessLog": {}})),
        ];
        let bare: ShopServiceSpec = serde_json::from_str(r#"{"image": "order:1", "port": 8080}"#).unwrap();
        let made = Telemetry::of(&bare, &policies);
        assert_eq!(made.access_log, Some(AccessLog { enabled: true, share: 500 }));
        assert_eq!(made.tracing.unwrap().endpoint, "http://otel:4317");
        let own = Wanted { endpoint: "http://own:4318".into(), protocol: None, sample: None };
        let spec = ShopServiceSpec { tracing: Some(own), ..bare.clone() };
        assert_eq!(Telemetry::of(&spec, &policies).tracing.unwrap().endpoint, "http://own:4318");
        assert_eq!(Telemetry::of(&bare, &[]), Telemetry::default());
    }
}
