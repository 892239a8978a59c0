//! Suspensions that the service's pods tell each other: who is suspended by one of them is by all, soon.
//!
//! A message names keys, not users, and says until when by the wall clock, so that one that is sent again changes nothing. It is
//! under a MAC of the service's key. What does not arrive is not repeated: a pod that is asked too often suspends by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use shop_contract::{Identity, paths};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::handover::MacKeys;

/// Suspensions that wait to be told; more are not told.
pub(crate) const WAITING: usize = 1_024;
/// Suspensions in one message.
const TOLD_AT_ONCE: usize = 256;
/// Longest message.
pub const MAX_MESSAGE: usize = 32 * 1024;
/// Pods that are told at the same time.
const PARALLEL: usize = 8;
/// How long telling one may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Header with key id and MAC.
pub const MAC_HEADER: &str = "x-shop-mac";

/// A key, and until when it is suspended, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspension {
    key: u64,
    until: u64,
}

/// Tells other pods.
pub(crate) type Teller = mpsc::Sender<Suspension>;

impl Suspension {
    /// From now on, for so long.
    pub(crate) fn new(key: u64, span: Duration) -> Self {
        Self { key, until: millis(wall_clock() + span) }
    }

    /// The key, and how long it still is suspended; `None` when that is over.
    pub(crate) fn left(&self) -> Option<(u64, Duration)> {
        let left = self.until.checked_sub(millis(wall_clock())).filter(|left| *left > 0)?;
        Some((self.key, Duration::from_millis(left)))
    }
}

/// Tells the other pods of suspensions as they come. Never returns.
pub async fn tell(config: Arc<Config>) {
    let Some(mut suspensions) = config.suspensions() else { return };
    let mut batch = Vec::new();
    while suspensions.recv_many(&mut batch, TOLD_AT_ONCE).await > 0 {
        let Some(snapshot) = config.current() else { continue };
        let identity = &snapshot.document.identity;
        let body = Bytes::from(serde_json::to_vec(&batch).unwrap_or_default());
        batch.clear();
        let mac = seal(&snapshot.keys, identity, &body);
        let posts = snapshot.peers().iter().map(|peer| post(*peer, body.clone(), mac.clone()));
        let told = futures::stream::iter(posts.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        let failed = told.filter(|told| std::future::ready(!told)).count().await;
        config.not_told(failed);
    }
}

/// What a message says, if it is by a pod of this service.
pub(crate) fn open(
    keys: &MacKeys,
    identity: &Identity,
    mac: Option<&HeaderValue>,
    body: &[u8],
) -> Option<Vec<Suspension>> {
    let (id, mac) = mac?.to_str().ok()?.split_once(';')?;
    if !keys.verify(id, &claim(identity, body), &BASE64.decode(mac).ok()?) {
        return None;
    }
    let told: Vec<Suspension> = serde_json::from_slice(body).ok()?;
    (told.len() <= TOLD_AT_ONCE).then_some(told)
}

fn seal(keys: &MacKeys, identity: &Identity, body: &[u8]) -> HeaderValue {
    let (id, mac) = keys.sign(&claim(identity, body));
    // Never the default: key ids are checked, and the rest is base64.
    HeaderValue::try_from(format!("{id};{}", BASE64.encode(mac))).unwrap_or(HeaderValue::from_static(""))
}

/// The bytes under the MAC. All revisions of a service have the same keys of users.
fn claim(identity: &Identity, body: &[u8]) -> Vec<u8> {
    let head = format!("shop-suspend-v1\n{}\n{}\n", identity.namespace, identity.service_uid);
    [head.as_bytes(), body].concat()
}

/// Whether the pod took it.
async fn post(peer: SocketAddr, body: Bytes, mac: HeaderValue) -> bool {
    let sent = async {
        let stream = TcpStream::connect(peer).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request =
            Request::post(paths::SUSPEND).header(header::HOST, peer.to_string()).header(MAC_HEADER, mac);
        let request = request.body(Full::new(body)).ok()?;
        let answer = async move { sender.send_request(request).await.ok().map(|answer| answer.status()) };
        tokio::join!(answer, async { connection.await.ok() }).0
    };
    matches!(tokio::time::timeout(TIMEOUT, sent).await, Ok(Some(StatusCode::NO_CONTENT)))
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
