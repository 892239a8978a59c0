//! One HTTP request to somebody outside: http and https, no redirects, a bounded answer.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};
use serde_json::Value;
use shop_release::AnswerValue;
use tower::Service;

use super::{cut, path};

/// Longest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;
/// How the operator names itself.
const AGENT: &str = concat!("shopkeeper/", env!("CARGO_PKG_VERSION"));

type Encrypted = Client<HttpsConnector<HttpConnector<Public>>, Full<Bytes>>;
type Plain = Client<HttpConnector<Public>, Full<Bytes>>;

/// A client without a pool: questions are rare.
#[derive(Clone)]
pub(super) struct Http {
    plain: Plain,
    encrypted: Result<Encrypted, Arc<str>>,
}

impl Http {
    pub(super) fn new() -> Self {
        let connector = || {
            let mut connector = HttpConnector::new_with_resolver(Public);
            connector.enforce_http(false);
            connector
        };
        let builder = || {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_max_idle_per_host(0);
            builder
        };
        let encrypted = HttpsConnectorBuilder::new().with_native_roots().map_or_else(
            |error| {
                Err(Arc::from(format!(
                    "https is not possible: no root certificates ({error}); mount them and set SSL_CERT_FILE"
                )))
            },
            |roots| Ok(builder().build(roots.https_only().enable_http1().wrap_connector(connector()))),
        );
        Self { plain: builder().build(connector()), encrypted }
    }

    /// Asks a web hook.
    pub(super) async fn hook(
        &self,
        url: &str,
        method: &str,
        body: Option<&str>,
        json_path: Option<&str>,
    ) -> Result<AnswerValue, String> {
        let (status, body) = self.send(url, method, body, "application/json").await?;
        let Some(json_path) = json_path else {
            return Ok(AnswerValue { status, number: None, text: cut(&String::from_utf8_lossy(&body)) });
        };
        if !(200..300).contains(&status) {
            return Ok(AnswerValue { status, number: None, text: cut(&String::from_utf8_lossy(&body)) });
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| "the answer is no JSON, so that jsonPath finds nothing")?;
        let found = path::find(&value, json_path)?;
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        let number = found.as_f64().or_else(|| found.as_str()?.trim().parse().ok());
        Ok(AnswerValue { status, number: number.filter(|number| number.is_finite()), text: cut(&text) })
    }

    /// Sends a request; status and body of the answer. Errors name the host alone.
    pub(super) async fn send(
        &self,
        url: &str,
        method: &str,
        body: Option<&str>,
        content: &str,
    ) -> Result<(u16, Bytes), String> {
        let uri: Uri =
            url.parse().map_err(|_| "the URL cannot be read; write it as in http://host:port/path")?;
        let host = uri.host().unwrap_or_default().to_owned();
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if host.is_empty() || literal.is_ok_and(is_forbidden) {
            return Err(format!("{host}: is no address that may be asked"));
        }
        let method: Method = method.parse().map_err(|_| "the method is none of HTTP's")?;
        let mut request =
            Request::builder().method(method).uri(uri.clone()).header(header::USER_AGENT, AGENT);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, content);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default().to_owned())))
            .map_err(|_| "the request cannot be written")?;
        let answer = match uri.scheme_str() {
            Some("http") => self.plain.request(request).await,
            Some("https") => self.encrypted.as_ref().map_err(ToString::to_string)?.request(request).await,
            _ => return Err("the URL must begin with http:// or https://".to_owned()),
        };
        let answer = answer.map_err(|error| format!("{host}: {}", causes(&error)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body
            .map_err(|error| format!("{host}: answer of more than {MAX_ANSWER} bytes, or broken: {error}"))?;
        Ok((status, body.to_bytes()))
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

/// Link-local addresses: there, clouds tell every caller the credentials of the node.
fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified() || address.is_multicast(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()
        }
    }
}

/// The system's resolver, without addresses that must not be asked.
#[derive(Clone)]
struct Public;

impl Service<Name> for Public {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_forbidden(address.ip())).collect();
            if allowed.is_empty() {
                return Err(std::io::Error::other("the name has no address that may be asked"));
            }
            Ok(allowed.into_iter())
        })
    }
}
