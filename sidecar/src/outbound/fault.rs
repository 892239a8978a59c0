//! A try that a fault strikes: it waits, and may get no answer of the pod. What follows is what would follow from a pod that does
//! so; only the pod's own health is left alone.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use shop_contract::reasons;

use super::call::Tried;
use super::endpoints::Endpoint;
use crate::faults::{End, Faults};
use crate::inbound::{headers, refusal};
use crate::telemetry::Telemetry;
use crate::upstream::{Failure, Outbound};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What becomes of a try; `None`: it goes on. `until` is when it is given up.
pub(super) async fn step(
    faults: &Faults,
    telemetry: &Telemetry,
    endpoint: &Arc<Endpoint>,
    outbound: &Outbound,
    until: Duration,
) -> Option<Tried> {
    let strike = faults.strike(&outbound.request, &telemetry.metrics)?;
    if !strike.delay.is_zero() {
        let left = until.saturating_sub(telemetry.clock.now());
        tokio::time::sleep(strike.delay.min(left)).await;
        if strike.delay >= left {
            return Some(Tried::Slow);
        }
    }
    Some(match strike.end? {
        End::Drop => Tried::Lost(Failure::Reset),
        End::Abort { status, grpc } => {
            let is_grpc = headers::is_grpc(outbound.request.headers());
            let mut response = refusal(status, reasons::FAULT, is_grpc);
            if let Some(code) = grpc.filter(|_| is_grpc) {
                response.headers_mut().insert(GRPC_STATUS, code);
            }
            Tried::Answered(Box::new(endpoint.upstream.instead(response)))
        }
    })
}
