//! Hosts that are no dependency: passed straight through, without limits, retries or numbers of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use shop_contract::reasons;
use tokio::net::TcpStream;

use super::answer::AnswerBody;
use super::call::{self, UNREACHABLE};
use super::flight::Refusal;
use super::request::{Prepared, own};
use super::{Door, names, tunnel};
use crate::inbound::headers;
use crate::upstream::{Answered, Unanswered, Upstream};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const TRIES: usize = 4;
/// Addresses whose connections are kept.
const KEPT: usize = 128;

/// Connections to hosts that are no dependency, by address.
#[derive(Debug, Default)]
pub(super) struct Through {
    known: Mutex<HashMap<SocketAddr, Arc<Upstream>>>,
}

impl Through {
    fn to(&self, address: SocketAddr) -> Arc<Upstream> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT && !known.contains_key(&address) {
            // Whichever: what is under way on it goes on.
            let any = known.keys().next().copied();
            any.map(|any| known.remove(&any));
        }
        Arc::clone(known.entry(address).or_insert_with(|| Arc::new(Upstream::new(address, CONNECT))))
    }
}

/// Passes a request to the host that it names.
pub(super) async fn send(
    door: &Arc<Door>,
    prepared: Prepared,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Response<AnswerBody> {
    let Prepared { mut outbound, wire, .. } = prepared;
    let addresses = match addresses(door, outbound.host.to_str().unwrap_or_default(), names::HTTP).await {
        Ok(addresses) => addresses,
        Err(refusal) => return own(door, refusal),
    };
    for address in addresses {
        let unanswered = match door.through.to(address).send(outbound, wire).await {
            Ok(answered) => return pass_back(answered, upgrade),
            Err(unanswered) => unanswered,
        };
        match unanswered {
            Unanswered { unsent: Some(unsent), .. } => outbound = *unsent,
            Unanswered { failure, unsent: None } => return own(door, call::of(failure)),
        }
    }
    own(door, UNREACHABLE)
}

fn pass_back(answered: Answered, upgrade: Option<hyper::upgrade::OnUpgrade>) -> Response<AnswerBody> {
    let Answered { mut response, lease, upgraded } = answered;
    if let (Some(far), Some(near)) = (upgraded, upgrade) {
        tokio::spawn(tunnel::run(near, *far, lease));
        return response.map(|_| AnswerBody::none());
    }
    headers::strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::default();
    response.map(|body| AnswerBody::stream(body, lease, None, None))
}

/// Connects to the host that a CONNECT names, and passes bytes on.
pub(super) async fn connect(
    door: &Arc<Door>,
    request: Request<hyper::body::Incoming>,
) -> Response<AnswerBody> {
    const BAD: Refusal =
        Refusal { status: StatusCode::BAD_REQUEST, reason: reasons::BAD_REQUEST, retry_after: None };
    let Some(host) = request.uri().authority().map(|authority| authority.as_str().to_owned()) else {
        return own(door, BAD);
    };
    if request.version() >= Version::HTTP_2 {
        return own(door, Refusal::new(StatusCode::NOT_IMPLEMENTED, reasons::NOT_SUPPORTED));
    }
    let addresses = match addresses(door, &host, 443).await {
        Ok(addresses) => addresses,
        Err(refusal) => return own(door, refusal),
    };
    for address in addresses {
        if let Ok(Ok(far)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            let _ = far.set_nodelay(true);
            tokio::spawn(tunnel::join(hyper::upgrade::on(request), far, ()));
            return Response::new(AnswerBody::none());
        }
    }
    own(door, UNREACHABLE)
}

/// Where a host is. Not here: a request to this very port would come back for ever.
async fn addresses(door: &Door, host: &str, default_port: u16) -> Result<Vec<SocketAddr>, Refusal> {
    let (name, port) = names::split(host);
    let port = port.unwrap_or(default_port);
    let found = door.resolver.addresses(name).await.ok_or(UNREACHABLE)?;
    let here = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        (ip.is_loopback() || ip.is_unspecified()) && door.listens_on(address.port())
    };
    let addresses: Vec<_> =
        found.into_iter().map(|ip| SocketAddr::new(ip, port)).filter(|at| !here(at)).take(TRIES).collect();
    if addresses.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, reasons::BAD_REQUEST));
    }
    Ok(addresses)
}
