//! Keys behind a URL: fetched in the background, kept while the source is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use tokio::sync::{Notify, watch};

use super::fetch;
use super::keys::{Family, KeySet};
use super::schedule::Schedule;
use crate::clock::Clock;
use crate::config::Config;
use crate::outbound::resolver::Resolver;
use crate::telemetry::Telemetry;
use crate::tls::Outside;

/// How long a request waits for keys that are being fetched.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys behind a URL.
#[derive(Debug)]
pub(crate) struct Source {
    url: String,
    keys: ArcSwapOption<KeySet>,
    schedule: Mutex<Schedule>,
    asked: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    clock: Clock,
}

impl Source {
    pub(super) fn new(url: &str, clock: Clock) -> Self {
        Self {
            url: url.to_owned(),
            keys: ArcSwapOption::empty(),
            schedule: Mutex::new(Schedule::new(clock.now())),
            asked: Notify::new(),
            ended: watch::channel(0).0,
            clock,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The keys of the last fetch that brought some.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Waits for other keys, if they are on their way.
    pub(super) async fn wait(&self) {
        let mut ended = self.ended.subscribe();
        if self.schedule(|schedule| schedule.ask(self.clock.now())) {
            self.asked.notify_one();
            // In vain: then what is there must do.
            let _ = tokio::time::timeout(PATIENCE, ended.changed()).await;
        }
    }

    fn schedule<T>(&self, of: impl FnOnce(&mut Schedule) -> T) -> T {
        of(&mut self.schedule.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a fetch is due, and fetches.
    async fn turn(&self, telemetry: &Telemetry, resolver: &Resolver, outside: &Outside) {
        loop {
            let due = self.schedule(|schedule| schedule.due());
            if due <= self.clock.now() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.instant(due)) => {}
                () = self.asked.notified() => {}
            }
        }
        self.schedule(|schedule| schedule.begin(self.clock.now()));
        let fetched = match self.url.parse::<Uri>() {
            Ok(uri) => fetch::fetch(uri, resolver, outside).await,
            Err(_) => Err("it is no URL".to_owned()),
        };
        let read =
            fetched.and_then(|bytes| KeySet::read(&bytes, Family::Public).map_err(|error| error.to_string()));
        let metrics = &telemetry.metrics;
        metrics.jwt_fetched(read.is_ok());
        let is_new = |keys: &KeySet| self.keys().is_none_or(|old| old.fingerprint != keys.fingerprint);
        let succeeded = match read {
            Ok(keys) => {
                if is_new(&keys) {
                    tracing::info!(url = self.url, "keys for tokens are new");
                    self.keys.store(Some(Arc::new(keys)));
                }
                true
            }
            Err(error) => {
                let kept = self.keys().is_some();
                tracing::warn!(url = self.url, error, kept, "keys for tokens could not be fetched");
                false
            }
        };
        self.schedule(|schedule| schedule.end(self.clock.now(), succeeded));
        self.ended.send_modify(|ended| *ended += 1);
    }
}

/// Fetches the keys that the document in use names, again and again; never returns.
pub(crate) async fn follow(config: Arc<Config>, telemetry: Arc<Telemetry>, resolver: Resolver) {
    let mut changes = config.subscribe();
    loop {
        let source = config.current().and_then(|snapshot| snapshot.auth.as_ref()?.source());
        let fetching = async {
            match &source {
                Some(source) => source.turn(&telemetry, &resolver, config.outside()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = changes.changed() => {
                if told.is_err() {
                    return;
                }
            }
            () = fetching => {}
        }
    }
}
