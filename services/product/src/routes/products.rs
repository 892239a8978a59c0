//! `GET /products` and `GET /products/{sku}`. Single products are serialised once, at start: they are asked for most.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shop_common::etag::is_known;
use shop_common::{Code, Problem};

use super::App;
use crate::domain::{Catalogue, Cursor, Limit, PageQuery, Product};

/// Clients may keep an answer and must ask whether it is still the same.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answers for single products, at the same places as in the catalogue.
pub(super) struct Answers {
    answers: Vec<Answer>,
}

struct Answer {
    body: Bytes,
    etag: HeaderValue,
}

impl Answers {
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        Self { answers: catalogue.products().iter().map(Answer::new).collect() }
    }
}

impl Answer {
    fn new(product: &Product) -> Self {
        let body = serde_json::to_vec(product).expect("strings and numbers always serialise");
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&body));
        let etag =
            HeaderValue::from_str(&format!("\"{hash}\"")).expect("base64 and quotes are visible ASCII");
        Self { body: body.into(), etag }
    }
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
    category: Option<String>,
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<&'a Product>,
    next: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        Problem::new(Code::InvalidRequest, "the query is `limit`, `cursor` and `category`, each at most once")
    })?;
    let page = app.catalogue.page(&read(query)?);
    let list = List { items: page.products, next: page.next.as_ref().map(Cursor::encode) };
    Ok(([(header::CACHE_CONTROL, CACHE_CONTROL)], Json(list)).into_response())
}

/// An empty parameter counts as one that is left out, as forms send them.
fn read(query: ListQuery) -> Result<PageQuery, Problem> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let category = given(query.category);
    let limit = match given(query.limit) {
        None => Limit::default(),
        Some(text) => Limit::parse(&text).ok_or_else(|| {
            Problem::new(Code::InvalidLimit, "write a whole number from 1 to 100, or leave it out for 20")
        })?,
    };
    let cursor = match given(query.cursor) {
        None => None,
        Some(text) => Some(
            Cursor::decode(&text, category.as_deref())
                .map_err(|error| Problem::new(Code::InvalidCursor, error.to_string()))?,
        ),
    };
    Ok(PageQuery { limit, category, cursor })
}

pub(super) async fn show(
    State(app): State<App>,
    Path(sku): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let answer =
        app.catalogue.place(&sku).and_then(|place| app.answers.answers.get(place)).ok_or_else(|| {
            Problem::new(
                Code::ProductNotFound,
                "no product has this SKU; `GET /products` lists what there is",
            )
        })?;
    let named = [(header::ETAG, answer.etag.clone()), (header::CACHE_CONTROL, CACHE_CONTROL)];
    if asks_for_another(&headers, &answer.etag) {
        Ok((named, [(header::CONTENT_TYPE, JSON)], answer.body.clone()).into_response())
    } else {
        Ok((StatusCode::NOT_MODIFIED, named).into_response())
    }
}

/// Whether the client does not have `etag` yet. The header may be sent in several lines (RFC 9110, section 5.3).
fn asks_for_another(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let etag = etag.to_str().unwrap_or_default();
    !headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| is_known(value, etag))
}
