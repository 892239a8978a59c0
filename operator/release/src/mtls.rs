//! TLS between sidecars: who a service is, who may call it, which of its calls go by TLS, and when its certificate is made anew.
//!
//! Nobody is told to use what another one does not have yet. A file takes up to two minutes to every pod ([`SPREAD`]), so that
//! callers use TLS that long after a service took it up, and `strict` and `callers` come into force once those that call it use
//! TLS. The way back is the same: TLS is taken until nobody calls by it any more.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shop_crds::{
    Reason, ShopServiceSpec,
    names::spiffe_id,
    service::auth::{Auth, Caller, MtlsMode},
};

use crate::{
    inputs::RevisionFacts,
    observed::Observed,
    view::{Draft, View, after},
    write::Write,
};

/// By then kubelet has brought a changed Secret or ConfigMap to every pod.
pub const SPREAD: Duration = Duration::from_mins(2);
/// How long a certificate is good.
pub const LIFETIME: Duration = Duration::from_hours(72);
/// How old it gets: two days are left for an operator that is away.
const RENEW: Duration = Duration::from_hours(24);
/// How much earlier, by chance: not all services at once.
const EARLIER: u64 = 2 * 60 * 60;
/// Within this time after roots have changed they are with all services.
const ROOTS: u64 = 10 * 60;
/// From then on certificates may come from a root that is new.
const TRUSTED: Duration = Duration::from_mins(30);

/// What sidecars are told of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtls {
    /// Whether plain connections are let in too.
    pub mode: MtlsMode,
    /// Who the service is.
    pub id: String,
    /// Who may call, by id; empty: everybody.
    pub callers: Vec<String>,
}

/// The certificate in the sidecars' Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Whose it is.
    pub id: String,
    /// Since when there has been one; the beginning of time where there never was a Secret without.
    pub since: Timestamp,
    /// When this one was made.
    pub issued: Timestamp,
    /// Which roots lie beside it: [`Authority::roots`] of then.
    pub roots: String,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Hash of the roots that all services shall trust.
    pub roots: String,
    /// When they changed.
    pub since: Timestamp,
    /// Whether the key before was lost.
    pub lost: bool,
}

/// Another ShopService of the namespace that this one calls, or that calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Whether its spec asks for TLS.
    pub wants_tls: bool,
    /// Since when all of its sidecars are told to take it; `None`: they are not.
    pub takes_tls: Option<Timestamp>,
    /// How it calls this one; `None`: it does not.
    pub calls: Option<Calls>,
}

/// How a service calls another one, by its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// All revisions plainly.
    Plain,
    /// Some by TLS.
    Mixed,
    /// All by TLS.
    Tls,
}

/// What the plan wants to be done about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Certificate,
    Roots,
}

fn auth<'a>(view: &View<'a>) -> Option<&'a Auth> {
    view.subject.spec.auth.as_ref()
}

fn mode(view: &View<'_>) -> MtlsMode {
    auth(view).map_or(MtlsMode::Off, Auth::mtls)
}

fn id(view: &View<'_>, namespace: Option<&str>, name: &str) -> String {
    let namespace = namespace.unwrap_or(&view.subject.namespace);
    spiffe_id(&view.observed.trust_domain, namespace, name)
}

/// Whether the service has to do with TLS between sidecars at all: otherwise nobody need ask for [`Authority`].
pub fn asks_for_tls(spec: &ShopServiceSpec, observed: &Observed) -> bool {
    spec.auth.as_ref().is_some_and(|auth| auth.mtls() != MtlsMode::Off)
        || observed.certificate.is_some()
        || observed.neighbours.iter().any(|one| one.wants_tls || by_tls(one.calls))
}

fn neighbour<'a>(view: &View<'a>, name: &str) -> Option<&'a Neighbour> {
    view.observed.neighbours.iter().find(|one| one.name == name)
}

/// What the sidecars of a revision with these facts are told: of their own TLS, and the ids of those that they call by TLS.
pub(crate) fn wanted(
    view: &View<'_>,
    draft: &mut Draft,
    revision: i64,
    facts: &RevisionFacts,
) -> (Option<Mtls>, BTreeMap<String, String>) {
    let current = view.config(revision).and_then(|config| config.document.as_ref());
    if !has_certificate(view) {
        // Who speaks TLS goes on with it: the files are with the pods, whatever became of the Secret.
        return current
            .map_or_else(Default::default, |document| (document.mtls.clone(), document.peers.clone()));
    }
    let peers = peers(view, draft, facts);
    let id = id(view, None, &view.subject.name);
    let listed: &[Caller] = auth(view).map_or(&[], |auth| &auth.callers);
    let mode = match mode(view) {
        MtlsMode::Off if view.observed.neighbours.iter().any(|one| by_tls(one.calls)) => MtlsMode::Permissive,
        MtlsMode::Off if peers.is_empty() => return (None, peers),
        MtlsMode::Off => MtlsMode::Off,
        wanted if is_open_to_callers(view, draft, listed) => wanted,
        _ => return (Some(Mtls { mode: MtlsMode::Permissive, id, callers: Vec::new() }), peers),
    };
    let listed = if mode == MtlsMode::Off { &[] } else { listed };
    let callers = listed.iter().map(|one| self::id(view, one.namespace.as_deref(), &one.name)).collect();
    (Some(Mtls { mode, id, callers }), peers)
}

fn by_tls(calls: Option<Calls>) -> bool {
    matches!(calls, Some(Calls::Tls | Calls::Mixed))
}

/// Whether all that call it, and may, can do so by TLS alone.
fn is_open_to_callers(view: &View<'_>, draft: &mut Draft, listed: &[Caller]) -> bool {
    let may = |name: &str| {
        let here = |one: &Caller| one.namespace.as_ref().is_none_or(|other| *other == view.subject.namespace);
        listed.is_empty() || listed.iter().any(|one| here(one) && one.name == name)
    };
    let plain = |one: &Neighbour| matches!(one.calls, Some(Calls::Plain | Calls::Mixed));
    has_spread(view, draft, since(view))
        && !view.observed.neighbours.iter().any(|one| plain(one) && may(&one.name))
}

/// Since when the service has a certificate; one that is made with the Secret itself is with every pod from its beginning.
fn since(view: &View<'_>) -> Timestamp {
    let planned = if view.observed.keys { view.now } else { Timestamp::MIN };
    view.observed.certificate.as_ref().map_or(planned, |found| found.since)
}

/// Whether what was written then is with every pod.
fn has_spread(view: &View<'_>, draft: &mut Draft, since: Timestamp) -> bool {
    let at = after(since, SPREAD);
    if at > view.now {
        draft.wake(at);
    }
    at <= view.now
}

fn peers(view: &View<'_>, draft: &mut Draft, facts: &RevisionFacts) -> BTreeMap<String, String> {
    let own = since(view);
    let mut peers = BTreeMap::new();
    for called in &facts.depends_on {
        let live = view.subject.spec.depends_on.iter().find(|one| one.name == called.name);
        let host = live.map_or(called.host.as_ref(), |live| live.host.as_ref());
        let takes = neighbour(view, &called.name).filter(|_| host.is_none()).and_then(|one| one.takes_tls);
        if takes.is_some_and(|since| has_spread(view, draft, since.max(own))) {
            peers.insert(called.name.clone(), id(view, None, &called.name));
        }
    }
    peers
}

/// Whether the service shows a certificate: its own clients ask for it, or one of those that it calls.
fn is_needed(view: &View<'_>) -> bool {
    let kept =
        view.observed.revisions.iter().flat_map(|one| one.facts.depends_on.iter().map(|one| &one.name));
    let called = view.subject.spec.depends_on.iter().filter(|one| one.host.is_none()).map(|one| &one.name);
    let asked =
        |name: &String| neighbour(view, name).is_some_and(|one| one.wants_tls || one.takes_tls.is_some());
    mode(view) != MtlsMode::Off
        || view.observed.neighbours.iter().any(|one| by_tls(one.calls))
        || called.chain(kept).any(asked)
}

/// Whether there is a certificate, or this plan makes one.
fn has_certificate(view: &View<'_>) -> bool {
    view.observed.certificate.is_some() || is_needed(view) && view.observed.authority.is_some()
}

/// Whether pods must not be started yet: their service asks for TLS, and there is nobody to give it a certificate.
pub(crate) fn must_wait(view: &View<'_>) -> bool {
    mode(view) != MtlsMode::Off && !has_certificate(view)
}

/// Whether the sidecars' Secret is made with a certificate.
pub(crate) fn with_keys(view: &View<'_>) -> bool {
    is_needed(view) && view.observed.authority.is_some()
}

/// The write that makes the certificate, or brings changed roots, when that is due.
pub(crate) fn renewal(view: &View<'_>, draft: &mut Draft) -> Option<Write> {
    if !view.observed.keys || !is_needed(view) {
        return None;
    }
    let authority = view.observed.authority.as_ref()?;
    match due(view, draft, authority) {
        Due::Nothing => None,
        Due::Certificate => {
            let until = after(view.now, LIFETIME).strftime("%Y-%m-%d %H:%M");
            draft.tell(
                false,
                Reason::CertificateIssued,
                format!("a new certificate, good until {until} UTC"),
            );
            Some(Write::IssueCertificate)
        }
        Due::Roots => {
            if authority.lost {
                let message = "the key of the certificate authority was lost; the new root is trusted beside the one before";
                draft.tell(true, Reason::AuthorityLost, message);
            }
            Some(Write::CopyRoots { roots: authority.roots.clone() })
        }
    }
}

fn due(view: &View<'_>, draft: &mut Draft, authority: &Authority) -> Due {
    let Some(found) = &view.observed.certificate else { return Due::Certificate };
    if found.id != id(view, None, &view.subject.name) {
        return Due::Certificate;
    }
    let age = RENEW.saturating_sub(Duration::from_secs(chance(view, &found.issued.to_string(), EARLIER)));
    // A certificate by a root that others do not know yet would be refused; one that ends soon is the worse of the two.
    let known = after(authority.since, TRUSTED).min(after(found.issued, LIFETIME.saturating_sub(RENEW)));
    let renew = after(found.issued, age).max(known);
    if renew <= view.now {
        return Due::Certificate;
    }
    draft.wake(renew);
    if found.roots == authority.roots {
        return Due::Nothing;
    }
    let spread = after(authority.since, Duration::from_secs(chance(view, &authority.roots, ROOTS)));
    if spread <= view.now {
        return Due::Roots;
    }
    draft.wake(spread);
    Due::Nothing
}

/// A number below `sides` that is the same for one service and word.
fn chance(view: &View<'_>, word: &str, sides: u64) -> u64 {
    // FNV-1a: what it is does not matter, that it stays the same in every process does.
    let hash = view.subject.uid.bytes().chain(word.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 16) % sides.max(1)
}

/// The write that takes the certificate away, when no document names it any more.
pub(crate) fn removal(view: &View<'_>) -> Option<Write> {
    let runs = |revision: i64| {
        view.deployment(revision).is_some_and(|one| one.replicas > 0) || view.pods(revision).next().is_some()
    };
    let named = view.observed.configs.iter().filter(|config| runs(config.revision)).any(|config| {
        config.document.as_ref().is_none_or(|document| document.mtls.is_some() || !document.peers.is_empty())
    });
    let removed = view.observed.certificate.is_some() && !is_needed(view) && !named;
    removed.then_some(Write::RemoveCertificate)
}
