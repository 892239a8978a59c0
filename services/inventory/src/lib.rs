//! The stock of the shop: pieces are held, sold, given back and delivered, in the same ledger as the orders.

mod routes;

use axum::Router;
use axum::routing::{get, post};
use clap::Args;
use shop_common::{Routes, RunError};
use shop_ledger::{Ledger, StoreSettings, background};

/// What the stock can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// Where orders and stock are kept.
    #[command(flatten)]
    pub ledger: StoreSettings,
}

/// Runs the stock until it is told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    let opened = shop_ledger::open(&settings.ledger.store, &[]).await;
    let (ledger, writing) = opened.map_err(|error| RunError::Build(error.into()))?;
    let ended = serve(settings, ledger.clone(), true).await;
    shop_ledger::close(ledger, writing).await;
    ended
}

/// Serves the stock of a ledger that is open; `with_background` where no other service of the process ends holds.
pub async fn serve(settings: &Settings, ledger: Ledger, with_background: bool) -> Result<(), RunError> {
    shop_common::run("inventory", &settings.common, async |context| {
        if with_background {
            background::start(&ledger, settings.ledger.role.as_deref(), context.stop.clone());
        }
        Ok::<_, std::convert::Infallible>(routes(ledger))
    })
    .await
}

/// The routes of the stock.
pub fn routes(ledger: Ledger) -> Routes {
    let watched = ledger.clone();
    let web = Router::new()
        .route("/inventory/reservations", post(routes::reserve))
        .route("/inventory/reservations/{id}", get(routes::reservation))
        .route("/inventory/reservations/{id}/confirm", post(routes::confirm))
        .route("/inventory/reservations/{id}/release", post(routes::release))
        .route("/inventory/{sku}", get(routes::item))
        .route("/inventory/{sku}/restock", post(routes::restock))
        .with_state(ledger);
    Routes { web, ready: Some(std::sync::Arc::new(move || watched.trouble())), ..Routes::default() }
}
