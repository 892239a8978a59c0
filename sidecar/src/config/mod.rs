//! What the sidecar is told: which documents and endpoint lists are accepted, and what follows from the one in use.
//!
//! Requests read a [`Snapshot`] once, at their begin, and go by it to their end. Everything that a request needs is
//! resolved when the snapshot is made.

pub mod accept;
mod files;
mod signature;
pub mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use shop_contract::{
    Acknowledgement, Certificate, Document, Endpoints, Identity, MtlsMode, Network, Push, document_hash,
};
use shop_flow::split::Sum;
use tokio::sync::{Semaphore, mpsc, watch as channel};

use crate::auth::Gate;
use crate::choice::Choice;
use crate::faults::Faults;
use crate::handover::MacKeys;
use crate::limits::{self, Limits};
use crate::outbound::dependency::Dependencies;
use crate::outbound::resolver::Resolver;
use crate::settings::Settings;
use crate::telemetry::{Observing, RevisionMetrics, Telemetry};
use crate::tls::callers::Callers;
use crate::tls::{self, Dial, Looked, Outside};
use crate::upstream::Upstream;
use crate::upstream::hand_off::{Route, Targets};
use crate::upstream::mirror::{self, Mirror};
use accept::{Refusal, Verdict};

/// How long connecting to the app may take: it is on the same host, so only a full backlog makes it wait.
const CONNECT: Duration = Duration::from_secs(1);

/// Tells the pod's sums apart.
const HANDED: u64 = 1;
const COPIED: u64 = 2;

/// A document in use, and all that follows from it.
#[derive(Debug)]
pub struct Snapshot {
    /// The document.
    pub document: Document,
    /// Its hash, for acknowledgements.
    pub hash: String,
    /// The service's name, for logs.
    pub service: Arc<str>,
    /// Keys for the hand-over header.
    pub keys: MacKeys,
    /// This pod's app.
    pub local: Arc<Upstream>,
    /// Where a share of requests goes.
    pub hand_off: Option<Route>,
    /// Which requests another revision gets a copy of.
    pub mirror: Option<Mirror>,
    /// Proxies that are believed when they say whom a request came from.
    pub trusted_hops: Vec<Network>,
    /// Who may send requests; `None`: everybody.
    pub auth: Option<Arc<Gate>>,
    /// Which services may, by their certificates; `None`: all, and those without one.
    pub(crate) callers: Option<Callers>,
    /// What the app may call; `None` if it is nothing.
    pub(crate) dependencies: Option<Dependencies>,
    /// What is let in.
    pub limits: Limits,
    /// Faults on requests; `None`: there are none.
    pub faults: Option<Faults>,
    /// What is told of requests.
    pub observing: Observing,
    /// Handles with this document's labels.
    pub metrics: Arc<RevisionMetrics>,
    pushed: Pushed,
}

/// What was pushed beside the document.
#[derive(Clone, Debug, Default)]
struct Pushed {
    /// Where requests are handed to.
    endpoints: Option<Endpoints>,
    /// The pods of this revision.
    peers: Option<Endpoints>,
}

impl Snapshot {
    /// Admin ports of the pods of this revision, this one among them; none before they were pushed.
    pub(crate) fn peers(&self) -> &[SocketAddr] {
        self.pushed.peers.as_ref().map_or(&[], |peers| &peers.addresses)
    }

    /// What the operator is told about it.
    pub fn acknowledgement(&self) -> Acknowledgement {
        let document = &self.document;
        Acknowledgement {
            revision: document.identity.revision,
            generation: document.generation,
            hash: self.hash.clone(),
            leader_epoch: document.leader_epoch,
            role_epoch: document.role_epoch,
            endpoints_seen: self.pushed.endpoints.as_ref().map_or(0, |endpoints| endpoints.sequence),
            endpoints_revision: self.pushed.endpoints.as_ref().map_or(0, |endpoints| endpoints.to_revision),
            peers_seen: self.pushed.peers.as_ref().map_or(0, |peers| peers.sequence),
            refused: None,
        }
    }
}

/// What the sidecar is told, and by whom it lets itself be told.
#[derive(Debug)]
pub struct Config {
    identity: Identity,
    mounted: PathBuf,
    keys: PathBuf,
    kept: PathBuf,
    telemetry: Arc<Telemetry>,
    /// Of the requests that may be handed over.
    handed: Arc<Sum>,
    /// Of the requests that may be copied.
    copied: Arc<Sum>,
    /// For copies under way.
    copies: Arc<Semaphore>,
    /// Certificate, key and roots of the service.
    tls: Arc<tls::Holder>,
    /// Finds Services.
    resolver: Resolver,
    /// What limits count on from one document to the next.
    limited: limits::Shared,
    current: ArcSwapOption<Snapshot>,
    /// Held while something new is checked and put in place, so that two pushes cannot overtake one another.
    accepting: Mutex<()>,
    changed: channel::Sender<()>,
}

impl Config {
    /// Without a document yet.
    pub fn new(settings: &Settings, telemetry: Arc<Telemetry>) -> Self {
        Self {
            identity: settings.identity.clone(),
            mounted: settings.config_dir.clone(),
            keys: settings.keys_dir.clone(),
            kept: settings.state_dir.clone(),
            limited: limits::Shared::new(&telemetry),
            telemetry,
            handed: Arc::new(Sum::for_pod(&settings.pod, HANDED)),
            copied: Arc::new(Sum::for_pod(&settings.pod, COPIED)),
            copies: Arc::new(Semaphore::new(mirror::AT_ONCE)),
            resolver: Resolver::new(settings.dns),
            tls: Arc::new(tls::Holder::new(settings.more_roots.clone())),
            current: ArcSwapOption::empty(),
            accepting: Mutex::new(()),
            changed: channel::channel(()).0,
        }
    }

    /// The document in use.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// What TLS is offered with; `None`: it is not.
    pub(crate) fn identity(&self) -> Option<Arc<tls::Identity>> {
        self.tls.current()
    }

    /// Where names are asked for.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// How hosts outside are connected to.
    pub(crate) fn outside(&self) -> &Outside {
        &self.tls.outside
    }

    /// What is told of the certificate: when it ends, and why a newer one is not used. `None`: there is none, and nobody asks for one.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let (identity, refused) = (self.tls.current(), self.tls.refused());
        let not_after = identity.as_ref().map(|identity| identity.not_after);
        (identity.is_some() || refused.is_some()).then_some(Certificate { not_after, refused })
    }

    /// Told of every change.
    pub fn subscribe(&self) -> channel::Receiver<()> {
        self.changed.subscribe()
    }

    /// Reads the last accepted document and the mounted one; the newer one wins.
    pub fn start(&self) {
        if let Some(bytes) = files::read(&self.kept) {
            self.offer(&bytes, "last accepted document");
        }
        self.reload();
    }

    /// Reads the mounted document, and the keys of the one in use.
    pub fn reload(&self) {
        if let Some(bytes) = files::read(&self.mounted) {
            self.offer(&bytes, "mounted document");
        }
        self.reload_keys();
        let _accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_at_identity(self.current().as_ref().map(|current| &current.document));
    }

    /// Takes certificate, key and roots that were mounted newly.
    fn look_at_identity(&self, document: Option<&Document>) {
        let mtls = document.and_then(|document| document.auth.as_ref()?.mtls.as_ref());
        let metrics = &self.telemetry.metrics;
        match self.tls.look(&self.keys, mtls.map(|mtls| &*mtls.id)) {
            Looked::Unchanged => return,
            Looked::Changed => metrics.certificates_accepted.inc(),
            Looked::Refused => metrics.certificates_refused.inc(),
        }
        let not_after = self.tls.current().map_or(0, |identity| identity.not_after);
        metrics.certificate_not_after.set(not_after);
    }

    /// Offers the bytes of a document that is trusted because of where it lies.
    fn offer(&self, bytes: &[u8], source: &'static str) {
        let _accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let offered = accept::parse_document(bytes)
            .and_then(|document| accept::mounted(self.current().as_deref(), &self.identity, document));
        let outcome = offered.and_then(|verdict| match verdict {
            Verdict::Unchanged => Ok(()),
            Verdict::Accept(document) => self.put_document(*document),
        });
        if let Err(refusal) = outcome {
            self.telemetry.metrics.refused(refusal.cause());
            tracing::warn!(source, error = %refusal, "document refused");
        }
    }

    /// Handles a push. Answers what is in use after it, with the reason if the push was refused.
    pub fn push(
        &self,
        bytes: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<Acknowledgement, Box<(Refusal, Acknowledgement)>> {
        let _accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.try_push(bytes, signature);
        let acknowledgement = self.current().map(|snapshot| snapshot.acknowledgement()).unwrap_or_default();
        outcome.map(|()| acknowledgement.clone()).map_err(|refusal| {
            self.telemetry.metrics.refused(refusal.cause());
            tracing::warn!(source = "push", error = %refusal, "push refused");
            // Who cannot sign is told nothing of what is in use.
            let known =
                if refusal == Refusal::Signature { Acknowledgement::default() } else { acknowledgement };
            let refused = Some(refusal.to_string());
            Box::new((refusal, Acknowledgement { refused, ..known }))
        })
    }

    fn try_push(&self, bytes: &[u8], signature: Option<&[u8]>) -> Result<(), Refusal> {
        let current = self.current().ok_or(Refusal::NoDocument)?;
        signature::verify(&current.document.push_keys, bytes, signature)?;
        match accept::parse_push(bytes)? {
            Push::Query(identity) => accept::identity(&self.identity, &identity),
            Push::Document(document) => match accept::pushed(&current, &self.identity, document)? {
                Verdict::Unchanged => Ok(()),
                Verdict::Accept(document) => self.put_document(*document),
            },
            Push::Endpoints(endpoints) => {
                let before = current.pushed.endpoints.as_ref();
                if accept::endpoints(before, &current.document, &self.identity, &endpoints)? {
                    self.put_pushed(
                        &current,
                        Pushed { endpoints: Some(endpoints), ..current.pushed.clone() },
                    );
                }
                Ok(())
            }
            Push::Peers(peers) => {
                let before = current.pushed.peers.as_ref();
                if accept::endpoints(before, &current.document, &self.identity, &peers)? {
                    self.put_pushed(&current, Pushed { peers: Some(peers), ..current.pushed.clone() });
                }
                Ok(())
            }
        }
    }

    fn put_pushed(&self, current: &Snapshot, pushed: Pushed) {
        let secrets = (current.keys.clone(), current.auth.clone());
        self.put(current.document.clone(), secrets, pushed);
    }

    /// How long callers are waited for.
    pub(crate) fn timeouts(&self) -> &limits::Timeouts {
        &self.limited.timeouts
    }

    /// What other pods are to be told; once.
    pub(crate) fn suspensions(&self) -> Option<mpsc::Receiver<limits::peers::Suspension>> {
        self.limited.suspensions()
    }

    /// So many pods were not told.
    pub(crate) fn not_told(&self, pods: usize) {
        self.telemetry.metrics.suspensions_untold.inc_by(pods as u64);
    }

    /// Another pod tells whom it has suspended. Says whether it is one.
    pub fn suspend(&self, mac: Option<&HeaderValue>, body: &[u8]) -> bool {
        let Some(snapshot) = self.current() else { return false };
        let told = limits::peers::open(&snapshot.keys, &snapshot.document.identity, mac, body);
        told.map(|told| snapshot.limits.suspend(&told)).is_some()
    }

    fn put_document(&self, document: Document) -> Result<(), Refusal> {
        signature::check_keys(&document.push_keys)?;
        let keys = MacKeys::read(&self.keys, &document.handover_keys)
            .map_err(|error| Refusal::MacKey(error.to_string()))?;
        let before = self.current();
        let gate = before.as_ref().and_then(|before| before.auth.as_ref());
        let auth = Gate::new(document.auth.as_ref(), &self.keys, gate, self.telemetry.clock)
            .map_err(|error| Refusal::TokenKeys(error.to_string()))?;
        // A full disk must not keep a release from going on: without the file, the mounted document is read after a restart.
        if let Err(error) = files::write(&self.kept, &document) {
            tracing::warn!(error = %error, "accepted document could not be kept in the state folder");
        }
        tracing::info!(
            generation = document.generation,
            leader_epoch = document.leader_epoch,
            role = document.role.as_str(),
            role_epoch = document.role_epoch,
            hand_off_to = document.hand_off.as_ref().map_or(0, |hand_off| hand_off.to_revision),
            share = document.hand_off.as_ref().map_or(0, |hand_off| hand_off.share),
            "document accepted"
        );
        self.look_at_identity(Some(&document));
        let pushed = before.map(|before| before.pushed.clone()).unwrap_or_default();
        self.put(document, (keys, auth), pushed);
        Ok(())
    }

    /// A key that was named before it was mounted, or was replaced, counts from now on.
    fn reload_keys(&self) {
        let _accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = self.current() else { return };
        let keys = MacKeys::read(&self.keys, &current.document.handover_keys);
        let keys = keys.ok().filter(|keys| !keys.same(&current.keys));
        let awaited = || {
            let gate = current.auth.as_ref().filter(|gate| gate.is_waiting());
            let auth = current.document.auth.as_ref();
            let again = Gate::new(auth, &self.keys, Some(gate?), self.telemetry.clock).ok()??;
            (!again.is_waiting()).then_some(again)
        };
        let auth = awaited();
        if keys.is_some() || auth.is_some() {
            let keys = keys.unwrap_or_else(|| current.keys.clone());
            let secrets = (keys, auth.or_else(|| current.auth.clone()));
            self.put(current.document.clone(), secrets, current.pushed.clone());
        }
    }

    /// Puts a snapshot in place for all requests that begin from now on.
    fn put(&self, document: Document, (keys, auth): (MacKeys, Option<Arc<Gate>>), pushed: Pushed) {
        let before = self.current();
        let before = before.as_deref();
        let app = SocketAddr::from((Ipv4Addr::LOCALHOST, document.app.port));
        let local =
            before.filter(|before| before.local.address() == app).map(|before| Arc::clone(&before.local));
        let addresses = |revision: i64| {
            let fitting = pushed.endpoints.as_ref().filter(|endpoints| endpoints.to_revision == revision);
            fitting.map_or(&[] as &[SocketAddr], |endpoints| &endpoints.addresses)
        };
        let mtls = document.auth.as_ref().and_then(|auth| auth.mtls.as_ref());
        // To the other pods of this service.
        let strict = mtls.filter(|mtls| mtls.mode == MtlsMode::Strict);
        let dial = strict.map_or(Dial::Plain, |mtls| Dial::sidecar(&self.tls, &mtls.id));
        let hand_off = document.hand_off.as_ref().map(|hand_off| {
            let before = before.and_then(|before| before.hand_off.as_ref()).map(|route| &route.targets);
            let to = hand_off.to_revision;
            let targets =
                Targets::new(to, &hand_off.fallback, addresses(to), (&dial, &self.resolver), before);
            Route::new(hand_off, Choice::new(hand_off, Arc::clone(&self.handed)), targets)
        });
        let mirror = document.mirror.as_ref().map(|mirror| {
            let before = before.and_then(|before| before.mirror.as_ref()).map(|mirror| &*mirror.targets);
            let to = mirror.to_revision;
            let targets = Targets::new(to, &mirror.fallback, addresses(to), (&dial, &self.resolver), before);
            Mirror::new(mirror, targets, Arc::clone(&self.copied), Arc::clone(&self.copies))
        });
        let dependencies = Dependencies::new(
            &document,
            &self.telemetry.metrics,
            &self.tls,
            before.and_then(|before| before.dependencies.as_ref()),
        );
        self.telemetry.metrics.generation.set(document.generation);
        let pods = pushed.peers.as_ref().map_or(1, |peers| u32::try_from(peers.addresses.len()).unwrap_or(1));
        let limits = Limits::new(document.limits.as_ref(), &keys, pods.max(1), &self.limited);
        let snapshot = Snapshot {
            hash: document_hash(&document),
            service: document.identity.service.as_str().into(),
            keys,
            local: local.unwrap_or_else(|| Arc::new(Upstream::new(app, CONNECT))),
            hand_off,
            mirror,
            trusted_hops: document.trusted_hops.iter().filter_map(|hop| hop.parse().ok()).collect(),
            auth,
            callers: mtls.map(Callers::new),
            dependencies,
            limits,
            faults: Faults::new(&document.faults, None),
            observing: Observing::new(&document, before.map(|before| &before.observing), &self.telemetry),
            metrics: Arc::new(self.telemetry.metrics.resolve(&document)),
            document,
            pushed,
        };
        self.current.store(Some(Arc::new(snapshot)));
        self.changed.send_replace(());
    }
}
