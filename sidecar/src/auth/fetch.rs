//! One GET for keys: http or https, no redirects, in time, a bounded answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower::Service;

use super::keys::MAX_SET;
use crate::outbound::resolver::Resolver;
use crate::tls::Outside;

/// From the lookup of the name to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How the sidecar names itself.
const AGENT: &str = concat!("shop-sidecar/", env!("CARGO_PKG_VERSION"));

/// The body of a 200. Connections are not kept: this happens every ten minutes.
pub(super) async fn fetch(uri: Uri, resolver: &Resolver, outside: &Outside) -> Result<Bytes, String> {
    let fetched = tokio::time::timeout(DEADLINE, get(uri, Names(resolver.clone()), outside)).await;
    fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
}

async fn get(uri: Uri, names: Names, outside: &Outside) -> Result<Bytes, String> {
    let mut connector = HttpConnector::new_with_resolver(names);
    connector.enforce_http(false);
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_max_idle_per_host(0);
    let is_https = uri.scheme_str() == Some("https");
    let request =
        Request::get(uri).header(header::USER_AGENT, AGENT).header(header::ACCEPT, "application/json");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = if is_https {
        let config = outside.config().ok_or("TLS cannot be set up")?;
        let secured = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = secured.https_only().enable_http1().wrap_connector(connector);
        client.build(connector).request(request).await
    } else {
        client.build(connector).request(request).await
    };
    let answer = answer.map_err(|error| causes(&error))?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), MAX_SET).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("answer: {error}"))
}

/// The sidecar's own resolver.
#[derive(Clone)]
struct Names(Resolver);

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await;
            let found = found.ok_or_else(|| io::Error::other("the name has no address"))?;
            Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// An error with what caused it: that is where the reason is.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
