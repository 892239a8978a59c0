//! The orders of the shop: made once, moved as the state machine allows, kept in the ledger together with the stock they hold.

mod moves;
mod read;
mod write;

use std::path::PathBuf;

use axum::Router;
use axum::routing::{get, post};
use clap::Args;
use shop_common::{Routes, RunError};
use shop_ledger::domain::{Event, Sku};
use shop_ledger::{Ledger, Offer, StoreSettings, background};

/// What the orders can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// Where orders and stock are kept.
    #[command(flatten)]
    pub ledger: StoreSettings,
    /// Refuses new orders without an Idempotency-Key
    #[arg(long, env = "SHOP_REQUIRE_KEY")]
    pub require_key: bool,
    /// The catalogue whose prices count, as `shopd product` takes it; the built-in one if left out
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// How many pieces there are of what is offered for the first time
    #[arg(long, default_value_t = 10_000, value_name = "PIECES")]
    pub first_stock: u32,
}

/// Runs the orders until they are told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    let offers = offers(settings).await?;
    let opened = shop_ledger::open(&settings.ledger.store, &offers).await;
    let (ledger, writing) = opened.map_err(|error| RunError::Build(error.into()))?;
    let ended = serve(settings, ledger.clone()).await;
    shop_ledger::close(ledger, writing).await;
    ended
}

/// The catalogue as it is offered for sale.
pub async fn offers(settings: &Settings) -> Result<Vec<Offer>, RunError> {
    let catalogue = shop_product::store::load(settings.catalogue.as_deref()).await;
    let catalogue = catalogue.map_err(|error| RunError::Build(error.into()))?;
    let offer = |product: &shop_product::domain::Product| {
        Some(Offer {
            sku: Sku::parse(&product.sku)?,
            price: product.price.cents,
            currency: product.price.currency.clone(),
            first_stock: settings.first_stock,
        })
    };
    Ok(catalogue.products().iter().filter_map(offer).collect())
}

/// Serves the orders of a ledger that is open.
pub async fn serve(settings: &Settings, ledger: Ledger) -> Result<(), RunError> {
    shop_common::run("order", &settings.common, async |context| {
        background::start(&ledger, settings.ledger.role.as_deref(), context.stop.clone());
        Ok::<_, std::convert::Infallible>(routes(ledger, settings.require_key))
    })
    .await
}

/// What every route may use.
#[derive(Clone)]
struct App {
    ledger: Ledger,
    require_key: bool,
}

/// The routes of the orders.
pub fn routes(ledger: Ledger, require_key: bool) -> Routes {
    let watched = ledger.clone();
    let web = Router::new()
        .route("/orders", post(write::create).get(read::list))
        .route("/orders/{id}", get(read::show))
        .route("/orders/{id}/events", get(read::history))
        .route("/orders/{id}/cancel", moves::by_buyer(Event::Cancel))
        .route("/orders/{id}/pay", post(moves::pay))
        .route("/orders/{id}/ship", moves::by_staff(Event::Ship))
        .route("/orders/{id}/confirm", moves::by_buyer(Event::Receive))
        .route("/orders/{id}/return", moves::by_staff(Event::Return))
        .route("/orders/{id}/refund", moves::by_staff(Event::Refund))
        .with_state(App { ledger, require_key });
    Routes { web, ready: Some(std::sync::Arc::new(move || watched.trouble())), ..Routes::default() }
}
