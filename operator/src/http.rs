//! The operator's own port: `/metrics`, `/livez` and `/readyz`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody else listens there.
    #[error("cannot listen on {address}; choose another one with --listen")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("serving metrics and probes failed")]
    Serve(#[source] std::io::Error),
}

/// What the handlers read.
#[derive(Clone)]
pub struct Probed {
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the caches hold everything. A standby is ready as well.
    pub synced: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Serves until `stop`; connections that are open then are answered first.
pub async fn serve(address: SocketAddr, probed: Probed, stop: CancellationToken) -> Result<(), HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })?;
    axum::serve(listener, router(probed))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(HttpError::Serve)
}

fn router(probed: Probed) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probed)
}

async fn ready(State(probed): State<Probed>) -> Response {
    if (probed.synced)() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "caches are not filled yet\n").into_response()
    }
}

async fn metrics(State(probed): State<Probed>) -> Response {
    match probed.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(synced: bool, path: &str) -> (StatusCode, String) {
        let probed = Probed { metrics: Arc::new(Metrics::new().unwrap()), synced: Arc::new(move || synced) };
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(probed).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn is_alive_at_once_and_ready_with_its_caches() {
        assert_eq!(get(false, "/livez").await.0, StatusCode::OK);
        assert_eq!(get(false, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(true, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn shows_its_metrics() {
        let (status, text) = get(true, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE shop_operator_leader gauge"), "{text}");
    }
}
