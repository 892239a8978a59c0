//! Requests to sidecars' admin port: signed pushes, and questions about traffic.
//!
//! Every connection goes from the operator to a pod. Requests run in parallel, bounded, with a short deadline each: a pod that
//! does not answer holds nobody up.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use shop_contract::{Acknowledgement, Push, SIGNATURE_HEADER, Stats, paths, ports};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use crate::{
    metrics::{self, Metrics},
    signing::Signer,
};

/// Longest wait for statistics, connecting included.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Requests at the same time.
const PARALLEL: usize = 32;
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a sidecar's answer is missing.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The connection broke.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("request: {0}")]
    Request(#[from] http::Error),
    /// The answer's body broke or is too long.
    #[error("answer: {0}")]
    Body(String),
    /// The answer is none of a sidecar's.
    #[error("status {status}, and no answer of a sidecar")]
    NotASidecar {
        /// The status.
        status: StatusCode,
    },
}

/// Where the admin port of a pod is.
pub type Locate = Arc<dyn Fn(IpAddr) -> SocketAddr + Send + Sync>;

/// Asks and tells sidecars.
#[derive(Clone)]
pub struct Sidecars {
    signer: Arc<Signer>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
    locate: Locate,
    sequence: Arc<AtomicI64>,
}

impl Sidecars {
    /// With this key.
    pub fn new(signer: Arc<Signer>, metrics: Arc<Metrics>) -> Self {
        Self::located(signer, metrics, Arc::new(|ip| SocketAddr::new(ip, ports::ADMIN)))
    }

    /// As [`Self::new`], with sidecars at other addresses than their pods'.
    pub fn located(signer: Arc<Signer>, metrics: Arc<Metrics>, locate: Locate) -> Self {
        Self { signer, metrics, slots: Arc::new(Semaphore::new(PARALLEL)), locate, sequence: Arc::default() }
    }

    /// The public key that sidecars must know.
    pub fn public_key(&self) -> String {
        self.signer.public_key()
    }

    /// Of the next list of endpoints: rises as long as the process lives, and so within every leadership.
    pub fn next_sequence(&self) -> i64 {
        self.sequence.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Sends a push to each; the answers are in the order of `to`. A refusal is an answer too.
    pub async fn push(
        &self,
        push: &Push,
        to: &[IpAddr],
        within: Duration,
    ) -> Vec<Result<Acknowledgement, SidecarError>> {
        let kind = match push {
            Push::Document(_) => "document",
            Push::Endpoints(_) => "endpoints",
            Push::Peers(_) => "peers",
            Push::Query(_) => "query",
        };
        let Ok(body) = serde_json::to_vec(push).map(Bytes::from) else { return Vec::new() };
        let signature = self.signer.sign(&body);
        let sends = to.iter().copied().map(|ip| {
            let (body, signature) = (body.clone(), signature.clone());
            async move {
                let answer = self.ask(ip, Method::POST, paths::CONFIG, body, Some(&signature), within).await;
                let answer = answer.and_then(|(status, bytes)| read::<Acknowledgement>(status, &bytes));
                self.count(kind, answer.as_ref().map(|acknowledged| acknowledged.refused.is_none()));
                answer
            }
        });
        stream::iter(sends).buffered(PARALLEL).collect().await
    }

    /// Asks each about its traffic; the answers are in the order of `of`.
    pub async fn stats(&self, of: &[IpAddr]) -> Vec<Result<Stats, SidecarError>> {
        let asks = of.iter().copied().map(|ip| async move {
            let answer = self.ask(ip, Method::GET, paths::STATS, Bytes::new(), None, TIMEOUT).await;
            let answer = answer.and_then(|(status, bytes)| read::<Stats>(status, &bytes));
            self.count("stats", answer.as_ref().map(|_| true));
            answer
        });
        stream::iter(asks).buffered(PARALLEL).collect().await
    }

    fn count(&self, kind: &str, outcome: Result<bool, &SidecarError>) {
        let outcome = match outcome {
            Ok(true) => "done",
            Ok(false) => "refused",
            Err(_) => "failed",
        };
        metrics::count(&self.metrics.pushes, &[kind, outcome]);
    }

    async fn ask(
        &self,
        ip: IpAddr,
        method: Method,
        path: &str,
        body: Bytes,
        signature: Option<&str>,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), SidecarError> {
        // The semaphore is never closed; a failure would only mean more requests at once.
        let _slot = self.slots.acquire().await.ok();
        let address = (self.locate)(ip);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let request = request.body(Full::new(body))?;
        timeout(within, exchange(address, request)).await.map_err(|_| SidecarError::Timeout(within))?
    }
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), SidecarError> {
    let stream = TcpStream::connect(address).await.map_err(SidecarError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| SidecarError::Body(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    // Both in this task: when the deadline drops it, the connection is closed as well.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => {
            ended?;
            answer.await
        }
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, SidecarError> {
    serde_json::from_slice(bytes).map_err(|_| SidecarError::NotASidecar { status })
}

#[cfg(test)]
mod tests;
