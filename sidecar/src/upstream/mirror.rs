//! Copies of requests for another revision: it does the work, and its answers are thrown away.
//!
//! A copy must cost the user's request nothing: it runs in a task of its own, there are only so many at once, one more is
//! dropped and counted, and what becomes of it is of no consequence but for counters.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use shop_contract::headers::{HANDOVER, MIRROR};
use shop_flow::split::{Split, Sum};
use tokio::sync::Semaphore;

use super::hand_off::Targets;
use super::outbound::{Body, Copied};
use super::{Answered, Outbound, Wire};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::NotCopied;

/// Copies at once. With the longest bodies they hold 4 MiB.
pub const AT_ONCE: usize = 64;
/// Longest body that is copied; one of unknown length is not.
const LONGEST_BODY: u64 = 64 * 1024;
/// How long a copy may take from its request's head to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read to use its connection on; beyond them the connection is closed.
const MOST_READ: usize = 1024 * 1024;

const HANDOVER_NAME: HeaderName = HeaderName::from_static(HANDOVER);
const MIRROR_NAME: HeaderName = HeaderName::from_static(MIRROR);

/// Which requests are copied, and where to.
#[derive(Debug)]
pub struct Mirror {
    /// The revision that gets the copies.
    pub targets: Arc<Targets>,
    methods: Vec<Method>,
    split: Split,
    permits: Arc<Semaphore>,
}

impl Mirror {
    /// The mirror of a document. `sum` and `permits` are the pod's.
    pub fn new(
        mirror: &shop_contract::Mirror,
        targets: Targets,
        sum: Arc<Sum>,
        permits: Arc<Semaphore>,
    ) -> Self {
        let methods = mirror.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok());
        Self {
            targets: Arc::new(targets),
            methods: methods.collect(),
            split: Split::new(mirror.share, sum),
            permits,
        }
    }

    /// Whether a request is one to copy; counts it.
    pub fn takes(&self, method: &Method) -> bool {
        self.methods.contains(method) && self.split.next()
    }

    /// Begins a copy of a request that is about to be sent elsewhere; `seal` says to the receiver that it is one.
    pub fn copy(&self, original: &mut Outbound, seal: HeaderValue, wire: Wire, telemetry: &Arc<Telemetry>) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return telemetry.metrics.not_copied(NotCopied::Busy);
        };
        let Some(body) = original.copy_body(LONGEST_BODY) else {
            return telemetry.metrics.not_copied(NotCopied::Body);
        };
        let mut outbound = original.repeat();
        let fields = outbound.request.headers_mut();
        fields.insert(HANDOVER_NAME, seal);
        fields.insert(MIRROR_NAME, HeaderValue::from_static("1"));
        // The copy's body is there before it is asked for.
        fields.remove(header::EXPECT);
        let (targets, telemetry) = (Arc::clone(&self.targets), Arc::clone(telemetry));
        tokio::spawn(async move {
            let sending = send(&targets, outbound, body, wire, &telemetry);
            match tokio::time::timeout(PATIENCE, sending).await {
                Ok(Ok(())) => telemetry.metrics.mirrored.inc(),
                Ok(Err(cause)) => telemetry.metrics.not_copied(cause),
                Err(_) => telemetry.metrics.not_copied(NotCopied::Unanswered),
            }
            drop(permit);
        });
    }
}

/// Sends a copy as soon as its body is there, and reads the answer to its end.
async fn send(
    targets: &Targets,
    mut outbound: Outbound,
    body: Copied,
    wire: Wire,
    telemetry: &Telemetry,
) -> Result<(), NotCopied> {
    *outbound.request.body_mut() = match body {
        Copied::Empty => Body::Empty,
        // Without its end the app answered before it had read all of it, or the caller has gone.
        Copied::Coming(body) => Body::Whole(Some(body.await.map_err(|_| NotCopied::Body)?)),
    };
    let answered = targets.send(outbound, wire, telemetry, None).await;
    let Answered { response, lease, .. } = answered.map_err(|_| NotCopied::Unanswered)?;
    let mut body = response.into_body();
    let mut read = 0;
    while read <= MOST_READ {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, bytes::Bytes::len),
            Some(Err(_)) => return Err(NotCopied::Unanswered),
            None => break,
        }
    }
    drop(lease);
    Ok(())
}
