//! What a call out has from the request that it is made for: its id, its pin, and the time it has left.
//!
//! Apps forward `traceparent`, as every tracing library does, and hardly anything else. So the requests under way are found
//! by their trace.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use shop_contract::headers::{DEADLINE, RELEASE, REQUEST_ID};

use crate::grpc;

/// Requests that are remembered at once; calls of those beyond it are made without what they would have had.
const MOST: usize = 4_096;
/// Longest deadline that is believed.
const LONGEST: Duration = Duration::from_hours(1);

/// Requests under way by their trace.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    under_way: Mutex<HashMap<u128, Remembered>>,
}

/// What is remembered of one trace.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) request_id: Option<HeaderValue>,
    pub(super) pin: Option<HeaderValue>,
    /// When the answer is worth nothing any more, on the sidecar's clock.
    pub(super) deadline: Option<Duration>,
    requests: usize,
}

/// Keeps a trace remembered.
#[derive(Debug)]
pub(crate) struct Kept {
    trace: u128,
    traces: Arc<Traces>,
}

impl Traces {
    /// Remembers a request that goes to the app, until what is returned is dropped.
    pub(crate) fn keep(self: &Arc<Self>, fields: &HeaderMap, now: Duration) -> Option<Kept> {
        let trace = trace(fields)?;
        let mut under_way = self.lock();
        if under_way.len() >= MOST {
            return None;
        }
        match under_way.entry(trace) {
            // Of several requests of one trace the first says what is remembered: nobody can tell which one makes a call.
            Entry::Occupied(mut known) => known.get_mut().requests += 1,
            Entry::Vacant(place) => {
                place.insert(Remembered {
                    request_id: fields.get(REQUEST_ID).cloned(),
                    pin: fields.get(RELEASE).cloned(),
                    deadline: left(fields).map(|left| now + left),
                    requests: 1,
                });
            }
        }
        Some(Kept { trace, traces: Arc::clone(self) })
    }

    /// What is remembered of the trace that these fields name.
    pub(super) fn find(&self, fields: &HeaderMap) -> Option<Remembered> {
        self.lock().get(&trace(fields)?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Remembered>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut under_way = self.traces.lock();
        if let Entry::Occupied(mut known) = under_way.entry(self.trace) {
            known.get_mut().requests -= 1;
            if known.get().requests == 0 {
                known.remove();
            }
        }
    }
}

/// The trace's id in `traceparent` (W3C Trace Context: version, 32 digits, 16 digits, flags).
fn trace(fields: &HeaderMap) -> Option<u128> {
    let text = fields.get("traceparent")?.to_str().ok()?;
    let digits = text.get(3..35).filter(|_| text.as_bytes().get(2) == Some(&b'-'))?;
    u128::from_str_radix(digits, 16).ok().filter(|trace| *trace != 0)
}

/// How long an answer may still take, as the request itself says.
pub(super) fn left(fields: &HeaderMap) -> Option<Duration> {
    let told = fields.get(DEADLINE).and_then(|value| value.to_str().ok()?.parse().ok());
    let grpc = fields.get("grpc-timeout").and_then(|value| grpc::timeout(value.as_bytes()));
    [told.map(Duration::from_millis), grpc].into_iter().flatten().min().map(|left| left.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_call_finds_the_request_that_it_is_made_for() {
        let traces = Arc::new(Traces::default());
        let now = Duration::from_secs(5);
        let inbound =
            fields(&[("traceparent", TRACE), ("x-request-id", "r1"), ("x-shop-deadline-ms", "800")]);
        let kept = traces.keep(&inbound, now).expect("remembered");
        let second = traces.keep(&fields(&[("traceparent", TRACE)]), now).expect("remembered");
        let call = fields(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")]);
        let found = traces.find(&call).expect("found");
        assert_eq!(found.request_id, Some(HeaderValue::from_static("r1")));
        assert_eq!(found.deadline, Some(now + Duration::from_millis(800)));
        drop(kept);
        assert!(traces.find(&call).is_some());
        drop(second);
        assert!(traces.find(&call).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let traces = Arc::new(Traces::default());
        let one =
            |number: usize| fields(&[("traceparent", &format!("00-{number:032x}-b7ad6b7169203331-01"))]);
        let kept: Vec<_> = (0..=MOST).map(|number| traces.keep(&one(number), Duration::ZERO)).collect();
        assert_eq!(kept.iter().flatten().count(), MOST, "0 is no trace");
        assert!(traces.keep(&one(MOST + 5), Duration::ZERO).is_none());
        drop(kept);
        assert!(traces.lock().is_empty());
    }

    #[test]
    fn the_shorter_deadline_counts() {
        for (grpc, millis) in
            [("1H", 3_600_000), ("2M", 120_000), ("1S", 1_000), ("300m", 300), ("5000u", 5), ("1000000n", 1)]
        {
            assert_eq!(
                left(&fields(&[("grpc-timeout", grpc)])),
                Some(Duration::from_millis(millis)),
                "{grpc}"
            );
        }
        let both = fields(&[("grpc-timeout", "1S"), ("x-shop-deadline-ms", "200")]);
        assert_eq!(left(&both), Some(Duration::from_millis(200)));
        for bad in ["", "S", "123456789S", "1x", "-1S"] {
            assert_eq!(left(&fields(&[("grpc-timeout", bad)])), None, "{bad}");
        }
        for bad in ["00-0-1-01", "x", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(trace(&fields(&[("traceparent", bad)])), None, "{bad}");
        }
    }
}
