//! The catalogue of the shop: products and their prices over JSON, WebSocket and gRPC on one port.
//!
//! [`domain`] is pure, [`store`] reads the database once at start, [`routes`] answers from memory.

pub mod domain;
pub mod routes;
pub mod store;

use std::path::PathBuf;

use clap::Args;
use shop_common::RunError;

/// What the catalogue can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// The database file of the catalogue, made and seeded if it is missing; in memory if left out
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
}

/// Runs the catalogue until it is told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    shop_common::run("product", &settings.common, async |context| {
        let catalogue = store::load(settings.database.as_deref()).await?;
        Ok::<_, store::StoreError>(routes::routes(context, catalogue))
    })
    .await
}
