//! `GET /prices/feed`: a WebSocket that sends a price every 500 ms and sends back each text it gets.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures::{Sink, SinkExt};
use serde::Serialize;
use shop_common::{Code, Held, Problem};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{App, TICK};
use crate::domain::{Product, quote};

/// The largest message that is taken.
const LARGEST_MESSAGE: usize = 64 * 1024;
/// A client that takes nothing for this long is let go.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the close handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One line of the feed.
#[derive(Serialize)]
struct Line<'a> {
    version: &'a str,
    sequence: u64,
    sku: &'a str,
    cents: i64,
    currency: &'a str,
}

/// Renders the line of a tick.
fn line(app: &App, product: &Product, sequence: u64) -> String {
    let line = Line {
        version: &app.context.version,
        sequence,
        sku: &product.sku,
        cents: quote(product, sequence),
        currency: &product.price.currency,
    };
    serde_json::to_string(&line).expect("strings and numbers always serialise")
}

pub(super) async fn open(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Problem::new(Code::UpgradeRequired, "open this path with a WebSocket client (RFC 6455)")
    })?;
    let held = app.context.stop.hold();
    Ok(upgrade.max_message_size(LARGEST_MESSAGE).on_upgrade(move |socket| feed(app, socket, held)))
}

/// Sends and echoes until the client or the service ends.
async fn feed(app: App, mut socket: WebSocket, held: Held) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sequence = 0;
    loop {
        let sent = tokio::select! {
            () = app.context.stop.begun() => {
                close(&mut socket).await;
                break;
            }
            received = socket.recv() => match received {
                Some(Ok(message @ Message::Text(_))) => send(&mut socket, message).await,
                // Pings and closes are answered by the WebSocket itself; binary messages mean nothing here.
                Some(Ok(_)) => true,
                Some(Err(_)) | None => break,
            },
            _ = ticks.tick() => match app.catalogue.in_turn(sequence) {
                Some(product) => {
                    let text = line(&app, product, sequence);
                    sequence = sequence.wrapping_add(1);
                    send(&mut socket, Message::Text(text.into())).await
                }
                None => true,
            },
        };
        if !sent {
            break;
        }
    }
    drop(held);
}

/// Sends one message; false when the client is gone or takes nothing.
async fn send<S: Sink<Message> + Unpin>(socket: &mut S, message: Message) -> bool {
    matches!(timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}

/// Says that the service restarts (1012), so that the client comes again, and waits for its answer for a moment.
async fn close(socket: &mut WebSocket) {
    let frame =
        CloseFrame { code: close_code::RESTART, reason: "the service restarts, connect again".into() };
    let _ = timeout(CLOSE_TIMEOUT, async {
        if send(socket, Message::Close(Some(frame))).await {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    })
    .await;
}
