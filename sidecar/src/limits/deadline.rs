//! Until when a request must be answered: what its sender says, and what the service allows.
//!
//! A deadline is one for the head of the answer: streams and sockets that have begun are not cut by it. A gRPC call has only the
//! deadline that it brings, because a stream may have its first answer whenever the app wants.

use std::pin::Pin;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shop_contract::{headers, reasons};

use super::{Asked, Refusal};
use crate::clock::Clock;
use crate::grpc;
use crate::telemetry::metrics::Spoken;

const DEADLINE: HeaderName = HeaderName::from_static(headers::DEADLINE);
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Longest deadline that is taken seriously.
const LONGEST: Duration = Duration::from_hours(24);

/// Until when a request must be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline {
    /// On the clock; `None`: it may take for ever.
    at: Option<Duration>,
    /// It is the service's own, not the sender's.
    is_own: bool,
    has_grpc: bool,
    has_field: bool,
}

impl Deadline {
    /// The earliest of what the sender says and what the service allows.
    pub(super) fn of(fields: &HeaderMap, asked: Asked<'_>, timeout: Option<Duration>) -> Self {
        let field = fields.get(DEADLINE).and_then(|value| millis(value.as_bytes()));
        let is_grpc = asked.spoken == Spoken::Grpc;
        let grpc = if is_grpc { fields.get(GRPC_TIMEOUT) } else { None };
        let grpc = grpc.and_then(|value| grpc::timeout(value.as_bytes()));
        let told = field.into_iter().chain(grpc).min();
        let timeout = timeout.filter(|_| !is_grpc);
        let span = told.into_iter().chain(timeout).min();
        Self {
            at: span.map(|span| asked.began + span.min(LONGEST)),
            is_own: told.is_none_or(|told| timeout.is_some_and(|timeout| timeout < told)),
            has_grpc: grpc.is_some(),
            has_field: field.is_some(),
        }
    }

    /// On the clock.
    pub(super) fn at(&self) -> Option<Duration> {
        self.at
    }

    /// Tells the next hop how long the request may still take.
    pub(super) fn pass_on(&self, fields: &mut HeaderMap, clock: Clock) {
        let Some(at) = self.at else { return };
        // Rounded up: the app is not told that there is no time at all.
        let left = at.saturating_sub(clock.now()).as_micros().div_ceil(1_000).max(1);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        if self.has_field || !self.has_grpc {
            fields.insert(DEADLINE, HeaderValue::from(left));
        }
        // A day has more milliseconds than eight digits.
        let text = if left < 100_000_000 { format!("{left}m") } else { format!("{}S", left / 1_000) };
        if self.has_grpc
            && let Ok(text) = HeaderValue::try_from(text)
        {
            fields.insert(GRPC_TIMEOUT, text);
        }
    }

    /// Waits for an answer, as long as there is time. It is pinned by the caller, so that it is not copied from future to future.
    pub(super) async fn wait<T>(
        &self,
        clock: Clock,
        answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Refusal> {
        match self.at {
            None => Ok(answer.await),
            Some(at) => {
                let answered = tokio::time::timeout_at(clock.instant(at), answer).await;
                answered.map_err(|_| self.passed())
            }
        }
    }

    fn passed(&self) -> Refusal {
        let reason = if self.is_own { reasons::REQUEST_TIMEOUT } else { reasons::DEADLINE_EXCEEDED };
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason)
    }
}

fn millis(text: &[u8]) -> Option<Duration> {
    grpc::digits(text, 15).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(HeaderName, &'static str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn asked(spoken: Spoken) -> Asked<'static> {
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        Asked { client, user: None, was_handed_over: false, spoken, began: Duration::from_secs(10) }
    }

    fn deadline(all: &[(HeaderName, &'static str)], spoken: Spoken, timeout: Option<u64>) -> Option<u128> {
        let timeout = timeout.map(Duration::from_millis);
        let deadline = Deadline::of(&fields(all), asked(spoken), timeout);
        deadline.at.map(|at| at.saturating_sub(Duration::from_secs(10)).as_millis())
    }

    #[test]
    fn the_earliest_counts() {
        assert_eq!(deadline(&[], Spoken::Http1, None), None);
        assert_eq!(deadline(&[], Spoken::Http1, Some(15_000)), Some(15_000));
        assert_eq!(deadline(&[(DEADLINE, "700")], Spoken::Http1, Some(15_000)), Some(700));
        assert_eq!(deadline(&[(DEADLINE, "70000")], Spoken::Http2, Some(15_000)), Some(15_000));
        // A call has only its own.
        assert_eq!(deadline(&[], Spoken::Grpc, Some(15_000)), None);
        assert_eq!(deadline(&[(GRPC_TIMEOUT, "2S")], Spoken::Grpc, Some(1)), Some(2_000));
        assert_eq!(deadline(&[(GRPC_TIMEOUT, "2S")], Spoken::Http2, None), None);
        assert_eq!(deadline(&[(GRPC_TIMEOUT, "2S"), (DEADLINE, "5")], Spoken::Grpc, None), Some(5));
    }

    #[test]
    fn what_is_no_deadline_is_none() {
        for text in ["", "-1", "1.5", "5s", "1234567890123456", " 1"] {
            assert_eq!(deadline(&[(DEADLINE, text)], Spoken::Http1, None), None, "{text}");
        }
        for text in ["", "S", "5", "5s", "123456789S", "-5S"] {
            assert_eq!(deadline(&[(GRPC_TIMEOUT, text)], Spoken::Grpc, None), None, "{text}");
        }
        for (text, millis) in
            [("1H", 3_600_000), ("3M", 180_000), ("250m", 250), ("5000u", 5), ("9000000n", 9)]
        {
            assert_eq!(deadline(&[(GRPC_TIMEOUT, text)], Spoken::Grpc, None), Some(millis), "{text}");
        }
        assert_eq!(deadline(&[(GRPC_TIMEOUT, "99999999H")], Spoken::Grpc, None), Some(86_400_000));
    }

    #[test]
    fn it_is_spent_on_the_way() {
        let clock = Clock::start();
        let began = clock.now();
        let told = fields(&[(DEADLINE, "60000"), (GRPC_TIMEOUT, "50S")]);
        let deadline = Deadline::of(&told, Asked { began, ..asked(Spoken::Grpc) }, None);
        let mut passed = told.clone();
        deadline.pass_on(&mut passed, clock);
        let left = |name: &HeaderName| passed.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let grpc: u64 = left(&GRPC_TIMEOUT).trim_end_matches('m').parse().unwrap();
        let field: u64 = left(&DEADLINE).parse().unwrap();
        assert_eq!(grpc, field);
        assert!((45_000..=50_000).contains(&grpc), "{grpc}");
    }
}
