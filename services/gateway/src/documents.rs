//! What the shop can be asked: the documents of all services as one, and a page for people.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::Value;

use crate::client::ask;
use crate::domain::merge;
use crate::routes::App;

/// Asks each service for its document; one that is away is named in `x-missing`.
pub(crate) async fn openapi(State(app): State<App>) -> Response {
    let mut documents = Vec::new();
    for (name, url) in app.backends.urls() {
        let answer = ask(app.backends.http(), &format!("{url}/openapi.json")).await;
        documents.push((name, answer.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())));
    }
    let document = merge(&app.version, &documents);
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(document)).into_response()
}

/// A page that needs nothing from elsewhere.
pub(crate) async fn page() -> Response {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ];
    (headers, include_str!("docs.html")).into_response()
}
