//! The catalogue over HTTP, WebSocket and gRPC.

mod feed;
mod grpc;
mod messages;
mod products;

pub use messages::{GetProductRequest, GetProductResponse, Money, PriceUpdate, Product, WatchPricesRequest};

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::header;
use shop_common::{Context, Routes};

use crate::domain::Catalogue;
use products::Answers;

/// What the service can be asked.
const OPENAPI: &str = include_str!("openapi.json");
/// How often prices are sent.
const TICK: Duration = Duration::from_millis(500);

/// What every route may use.
#[derive(Clone)]
struct App {
    context: Context,
    catalogue: Arc<Catalogue>,
    answers: Arc<Answers>,
}

/// The routes of the catalogue.
pub fn routes(context: Context, catalogue: Catalogue) -> Routes {
    let answers = Arc::new(Answers::new(&catalogue));
    let app = App { context, catalogue: Arc::new(catalogue), answers };
    let web = Router::new()
        .route("/products", get(products::list))
        .route("/products/{sku}", get(products::show))
        .route("/prices/feed", get(feed::open))
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .with_state(app.clone());
    let grpc = Router::new()
        .route("/shop.product.v1.Catalogue/GetProduct", post(grpc::get_product))
        .route("/shop.product.v1.Catalogue/WatchPrices", post(grpc::watch_prices))
        .with_state(app);
    Routes { web, grpc, ..Routes::default() }
}

#[cfg(test)]
mod tests;
