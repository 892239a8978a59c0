//! `shop.product.v1.Catalogue` (see `proto/catalogue.proto`).

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::server::Grpc;
use tonic::{Response as Reply, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::messages::{GetProductRequest, GetProductResponse, PriceUpdate, WatchPricesRequest};
use super::{App, TICK, messages};
use crate::domain::{Product, quote};

/// The largest message that is read.
const LARGEST_MESSAGE: usize = 64 * 1024;
/// How many products one stream may watch.
const MOST_WATCHED: usize = 100;

pub(super) async fn get_product(State(app): State<App>, request: Request) -> Response {
    let call = service_fn(move |request: tonic::Request<GetProductRequest>| {
        std::future::ready(app.product(&request.into_inner().sku).map(Reply::new))
    });
    let codec = ProstCodec::<GetProductResponse, GetProductRequest>::default();
    Grpc::new(codec).max_decoding_message_size(LARGEST_MESSAGE).unary(call, request).await.map(Body::new)
}

pub(super) async fn watch_prices(State(app): State<App>, request: Request) -> Response {
    let call = service_fn(move |request: tonic::Request<WatchPricesRequest>| {
        std::future::ready(app.prices(&request.into_inner().skus).map(Reply::new))
    });
    let codec = ProstCodec::<PriceUpdate, WatchPricesRequest>::default();
    Grpc::new(codec)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .server_streaming(call, request)
        .await
        .map(Body::new)
}

impl App {
    fn product(&self, sku: &str) -> Result<GetProductResponse, Status> {
        let found = if sku.is_empty() { self.catalogue.in_turn(0) } else { self.catalogue.find(sku) };
        let product = found.ok_or_else(|| Status::not_found("no product has this SKU"))?;
        Ok(GetProductResponse {
            product: Some(to_message(product)),
            version: self.context.version.to_string(),
        })
    }

    fn prices(&self, skus: &[String]) -> Result<BoxStream<'static, Result<PriceUpdate, Status>>, Status> {
        if skus.len() > MOST_WATCHED {
            return Err(Status::invalid_argument("at most 100 SKUs can be watched by one stream"));
        }
        let places = skus
            .iter()
            .map(|sku| {
                self.catalogue.place(sku).ok_or_else(|| Status::not_found("no product has one of these SKUs"))
            })
            .collect::<Result<_, _>>()?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch =
            Watch { app: self.clone(), places, ticks, sequence: 0, waiting: VecDeque::new(), over: false };
        Ok(unfold(watch, Watch::next).boxed())
    }
}

/// One stream of prices. It makes the next ones only when the last ones are taken, so that a slow client costs no memory.
struct Watch {
    app: App,
    /// Places of the watched products; empty for all in turn.
    places: Vec<usize>,
    ticks: Interval,
    sequence: u64,
    waiting: VecDeque<PriceUpdate>,
    over: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<PriceUpdate, Status>, Self)> {
        loop {
            if self.over {
                return None;
            }
            if let Some(update) = self.waiting.pop_front() {
                return Some((Ok(update), self));
            }
            tokio::select! {
                () = self.app.context.stop.begun() => {
                    self.over = true;
                    return Some((Err(Status::unavailable("the service restarts, call again")), self));
                }
                _ = self.ticks.tick() => self.fill(),
            }
        }
    }

    fn fill(&mut self) {
        let sequence = self.sequence;
        let update = |product: &Product| PriceUpdate {
            sku: product.sku.clone(),
            price: Some(messages::Money {
                cents: quote(product, sequence),
                currency: product.price.currency.clone(),
            }),
            sequence,
            version: self.app.context.version.to_string(),
        };
        let catalogue = &self.app.catalogue;
        if self.places.is_empty() {
            self.waiting.extend(catalogue.in_turn(sequence).map(update));
        } else {
            self.waiting
                .extend(self.places.iter().filter_map(|place| catalogue.products().get(*place)).map(update));
        }
        self.sequence = sequence.wrapping_add(1);
    }
}

fn to_message(product: &Product) -> messages::Product {
    messages::Product {
        sku: product.sku.clone(),
        name: product.name.clone(),
        category: product.category.clone(),
        description: product.description.clone(),
        price: Some(messages::Money { cents: product.price.cents, currency: product.price.currency.clone() }),
    }
}
