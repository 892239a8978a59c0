//! What sidecars tell of requests: as a plan says it, as sidecars read it; and back.

use shop_contract::Otlp as Spoken;
use shop_release::{AccessLog, Otlp, Telemetry, Tracing};

/// Absent if there is nothing to say: an older sidecar does not know the field.
pub(super) fn telemetry(telemetry: &Telemetry) -> Option<shop_contract::Telemetry> {
    let Telemetry { tracing, access_log, routes } = telemetry.clone();
    let tracing = tracing.map(|Tracing { endpoint, protocol, errors, slow, rest }| shop_contract::Tracing {
        endpoint,
        protocol: match protocol {
            Otlp::Grpc => Spoken::Grpc,
            Otlp::Http => Spoken::Http,
        },
        errors,
        slow,
        rest,
    });
    let access_log =
        access_log.map(|AccessLog { enabled, share }| shop_contract::AccessLog { enabled, share });
    let told = shop_contract::Telemetry { tracing, access_log, routes };
    (told != shop_contract::Telemetry::default()).then_some(told)
}

pub(super) fn stored(telemetry: Option<&shop_contract::Telemetry>) -> Telemetry {
    let shop_contract::Telemetry { tracing, access_log, routes } = telemetry.cloned().unwrap_or_default();
    Telemetry {
        tracing: tracing.map(|tracing| Tracing {
            endpoint: tracing.endpoint,
            protocol: match tracing.protocol {
                Spoken::Grpc => Otlp::Grpc,
                Spoken::Http => Otlp::Http,
            },
            errors: tracing.errors,
            slow: tracing.slow,
            rest: tracing.rest,
        }),
        access_log: access_log.map(|log| AccessLog { enabled: log.enabled, share: log.share }),
        routes,
    }
}
