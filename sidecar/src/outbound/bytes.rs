//! Connections of the app to a dependency that is spoken to as bytes: one of ours for each of them, to the pod with the fewest.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use shop_flow::retry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Door;
use super::dependency::Dependency;
use super::endpoints::Endpoint;
use super::flight::Flight;
use crate::relay::{self, End, Passed};
use crate::tls::Stream;
use crate::upstream::Opened;

/// Pods that are tried one after the other without a pause.
const AT_ONCE: usize = 3;
/// How long either side may take to end after it was ended from here.
const CLOSING: Duration = Duration::from_secs(2);
/// Status of a connection that the app broke off; only counted.
const GONE: u16 = 499;

/// Serves a connection of the app to its end.
pub(super) async fn serve(mut near: TcpStream, dependency: &Arc<Dependency>, door: &Door) {
    let Ok(mut flight) = Flight::begin(dependency, &door.telemetry, false) else {
        let _ = near.set_zero_linger();
        return;
    };
    // Its length says nothing of how quickly it was answered.
    flight.upgraded();
    let none = HeaderMap::new();
    let Some(opened) = open(&mut near, dependency, door).await else {
        flight.answered(StatusCode::SERVICE_UNAVAILABLE, &none);
        let _ = near.set_zero_linger();
        return;
    };
    flight.answered(StatusCode::OK, &none);
    let Opened { stream, first, lease } = opened;
    let (mut read, mut write) = Stream::from(near).into_split();
    let (mut far, mut to_far) = stream.into_split();
    let mut from_far = Cursor::new(first).chain(&mut far);
    let passed = Passed::default();
    let sides = ((&mut read, &mut write), (&mut from_far, &mut to_far));
    match relay::both(sides.0, sides.1, &passed, (|_| {}, |_| {})).await {
        End::Done => {}
        End::Near => {
            if let Ok(gone) = StatusCode::from_u16(GONE) {
                flight.given_up(gone);
            }
            to_far.reset();
        }
        End::Far => {
            flight.answered(StatusCode::BAD_GATEWAY, &none);
            flight.broke_off();
            write.reset();
        }
        End::Idle => {
            let _ = tokio::join!(write.shutdown(), to_far.shutdown());
            let last = async { tokio::join!(relay::forget(&mut read), relay::forget(&mut from_far)) };
            let _ = tokio::time::timeout(CLOSING, last).await;
        }
    }
    drop(lease);
}

/// Connects to a pod; to another one if that fails, or if it ends before anything was said.
async fn open(near: &mut TcpStream, dependency: &Arc<Dependency>, door: &Door) -> Option<Opened> {
    let (rules, shared, clock) = (&dependency.rules, &dependency.shared, &door.telemetry.clock);
    let deadline = clock.now() + Duration::from_millis(rules.timeout_ms);
    let until = clock.instant(deadline);
    tokio::time::timeout_at(until, shared.endpoints.first()).await.ok()?;
    let mut tried = Vec::new();
    for attempt in 0..=usize::try_from(rules.retries).unwrap_or(0) {
        if attempt > 0 {
            shared.metrics.retries.inc();
        }
        if let Some(step) = attempt.checked_sub(AT_ONCE) {
            let pause = retry::pause(u32::try_from(step).unwrap_or(u32::MAX), rand::random());
            tokio::time::sleep(pause).await;
        }
        let endpoint = shared.endpoints.choose(rules.balance, || 0, &tried, clock.now())?;
        let own =
            rules.try_timeout_ms.map(|millis| clock.instant(clock.now() + Duration::from_millis(millis)));
        let until = own.map_or(until, |own| own.min(until));
        if let Ok(Some(opened)) = tokio::time::timeout_at(until, connect(near, &endpoint)).await {
            endpoint.upstream.succeeded();
            return Some(opened);
        }
        endpoint.upstream.failed(clock.now());
        shared.endpoints.ask();
        tried.push(endpoint.upstream.address());
        if clock.now() >= deadline {
            return None;
        }
    }
    None
}

/// `None`: no connection, or one that ended before anything was said: of a sidecar whose app is not there.
async fn connect(near: &mut TcpStream, endpoint: &Endpoint) -> Option<Opened> {
    let opened = endpoint.upstream.open().await?;
    if let Stream::Plain(far) = &opened.stream {
        let (mut first, mut told) = ([0], [0]);
        tokio::select! {
            biased;
            said = far.peek(&mut first) => { said.ok().filter(|said| *said > 0)?; }
            // What it says from now on may be processed.
            _ = near.peek(&mut told) => {}
        }
    }
    Some(opened)
}
