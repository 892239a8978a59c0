//! A request that a fault strikes: it waits, and may get no answer of the app.

use http::{HeaderName, Request, Response, StatusCode};
use shop_contract::reasons;

use super::answer::{AnswerBody, Flight, GRPC_FAILURES};
use super::request::Answer;
use crate::faults::{End, Faults};
use crate::limits::{Admission, Refusal};
use crate::telemetry::metrics::Spoken;
use crate::upstream::Body;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What the caller gets instead of an answer of the app.
pub(super) enum Instead {
    /// Its time was over while it waited.
    Late(Refusal),
    /// What the fault says.
    End(End),
}

/// Lets a request that a fault strikes wait, as long as it has time. `None`: it goes on.
pub(super) async fn step(
    faults: &Faults,
    request: &Request<Body>,
    admission: &Admission,
    flight: &mut Flight,
) -> Option<Instead> {
    let telemetry = std::sync::Arc::clone(&flight.proxy.telemetry);
    let strike = faults.strike(request, &telemetry.metrics)?;
    flight.fault = Some(strike.policy);
    if !strike.delay.is_zero() {
        let waited = std::pin::pin!(tokio::time::sleep(strike.delay));
        if let Err(refusal) = admission.wait(telemetry.clock, waited).await {
            return Some(Instead::Late(refusal));
        }
    }
    strike.end.map(Instead::End)
}

/// Ends a request as a fault says. What is counted of it is what its caller saw.
pub(super) fn end(mut flight: Flight, end: End) -> Answer {
    match end {
        End::Abort { status, grpc } => {
            let grpc = grpc.filter(|_| flight.spoken == Spoken::Grpc);
            flight.failed |= grpc.as_ref().is_some_and(|code| GRPC_FAILURES.contains(&code.as_bytes()));
            let mut response: Response<AnswerBody> = flight.refuse(status, reasons::FAULT);
            if let Some(code) = grpc {
                response.headers_mut().insert(GRPC_STATUS, code);
            }
            response.into()
        }
        End::Drop => {
            flight.failed = true;
            // Never sent: log and metrics have the status of an app that closed the connection.
            let response = flight.refuse(StatusCode::BAD_GATEWAY, reasons::FAULT);
            Answer { is_dropped: true, ..response.into() }
        }
    }
}
