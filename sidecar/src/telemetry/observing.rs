//! What is told of requests while a document is in use; made when it is accepted.

use std::sync::Arc;

use shop_contract::Document;
use shop_flow::sampling::Rates;

use super::Telemetry;
use super::access_log::Share;
use super::routes::{Route, Routes};
use super::trace::export::Collector;

/// What a request needs to know to be told about.
#[derive(Debug)]
pub struct Observing {
    /// Which spans are kept; `None`: none are made.
    pub rates: Option<Rates>,
    /// Where they go.
    pub collector: Option<Collector>,
    /// Which requests are logged.
    pub logged: Share,
    /// By what they are counted.
    pub routes: Routes,
}

impl Observing {
    /// Of a document. What was seen of the routes of the one `before` is used on.
    pub fn new(document: &Document, before: Option<&Self>, telemetry: &Telemetry) -> Self {
        let told = document.telemetry.clone().unwrap_or_default();
        let collector = told.tracing.as_ref().and_then(Collector::new);
        let rates = told.tracing.filter(|_| collector.is_some());
        Self {
            rates: rates.map(|told| Rates { errors: told.errors, slow: told.slow, rest: told.rest }),
            collector,
            logged: told.access_log.map_or(telemetry.access_log.default_share(), Share::of),
            routes: Routes::new(&told.routes, before.map(|before| &before.routes), &telemetry.metrics),
        }
    }

    /// The route of a path, if anything is told by it.
    pub fn route(&self, path: &str) -> Option<Arc<Route>> {
        let is_used = self.rates.is_some() || self.routes.are_listed();
        if is_used { self.routes.find(path).cloned() } else { None }
    }
}
