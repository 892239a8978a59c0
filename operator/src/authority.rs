//! The certificate authority for TLS between sidecars.
//!
//! Its key is in the Secret `shopkeeper-ca` in the operator's namespace, made by the leader when the first service asks for a
//! certificate, and read once per leadership. Roots change by time alone ([`ca`]); that is looked at when a service's plan is
//! made, so that nothing runs while nobody uses TLS. When the Secret is lost, the roots that services have are taken back from
//! their Secrets and stay trusted beside the new one until no certificate of theirs is good any more.

mod ca;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use shop_crds::names::{self, FIELD_MANAGER, LABEL_MANAGED_BY};
use shop_release::SourceKind;
use tokio::sync::Mutex;

pub use ca::{Ca, CaError, Leaf, Unreadable};

use crate::{cache::Cache, lease::Leadership};

/// Name of the Secret.
pub const SECRET: &str = "shopkeeper-ca";
/// Most services that are asked for roots after a loss, each with other roots than those before.
const MAX_ASKED: usize = 8;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The Secret can be neither read nor written.
    #[error("secret {SECRET}: {0}")]
    Api(#[from] Box<kube::Error>),
    /// The Secret holds something else.
    #[error("secret {SECRET}: {0}; delete it, and the operator makes a new one")]
    Unreadable(#[from] Unreadable),
    /// A key or a certificate cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Another operator leads.
    #[error("the leadership has ended")]
    NotLeading,
}

impl From<kube::Error> for AuthorityError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Makes certificates, while this process leads.
pub struct Authority {
    api: Api<Secret>,
    client: Client,
    namespace: String,
    cache: Arc<Cache>,
    leadership: Leadership,
    loaded: Mutex<Option<Loaded>>,
}

struct Loaded {
    epoch: i64,
    ca: Ca,
    version: String,
    // Whether the cache has shown the Secret: if it does no more, it was deleted.
    shown: bool,
}

impl Authority {
    /// One whose Secret is in this namespace.
    pub fn new(client: Client, namespace: &str, cache: Arc<Cache>, leadership: Leadership) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, client, namespace: namespace.to_owned(), cache, leadership, loaded: Mutex::default() }
    }

    /// What plans are made with; `None` while it cannot be read or made, which is told in the log.
    pub async fn view(&self, epoch: i64) -> Option<shop_release::Authority> {
        match self.with(epoch, |ca| Ok(ca.view())).await {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::error!(%error, "no certificates for TLS between sidecars can be made; those that services have stay good for two days at least");
                None
            }
        }
    }

    /// A certificate of now for this id, with its key and the roots.
    pub async fn issue(&self, epoch: i64, id: &str) -> Result<Leaf, AuthorityError> {
        self.with(epoch, |ca| Ok(ca.issue(id, Timestamp::now())?)).await
    }

    /// The roots, and their hash.
    pub async fn roots(&self, epoch: i64) -> Result<(String, String), AuthorityError> {
        self.with(epoch, |ca| Ok((ca.roots(), ca.view().roots))).await
    }

    async fn with<T>(
        &self,
        epoch: i64,
        ask: impl FnOnce(&Ca) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        let mut loaded = self.loaded.lock().await;
        let known = match loaded.take().filter(|known| known.epoch == epoch) {
            Some(known) => self.look_again(known).await?,
            None => self.load(epoch).await?,
        };
        let known = match known.ca.step(Timestamp::now())? {
            Some(next) => self.replace(known, next).await?,
            None => known,
        };
        let answer = ask(&known.ca);
        *loaded = Some(known);
        answer
    }

    // Somebody may have deleted the Secret: what it held is not lost yet.
    async fn look_again(&self, mut known: Loaded) -> Result<Loaded, AuthorityError> {
        let shown = self.cache.source(SourceKind::Secret, &self.namespace, SECRET).is_some();
        if shown || !known.shown {
            known.shown |= shown;
            return Ok(known);
        }
        tracing::warn!("secret {SECRET} was deleted; it is written again");
        self.create(known.epoch, known.ca).await
    }

    async fn load(&self, epoch: i64) -> Result<Loaded, AuthorityError> {
        if let Some(secret) = self.api.get_opt(SECRET).await? {
            return Self::read(epoch, &secret);
        }
        let before = self.recovered().await;
        if before.is_empty() {
            tracing::info!("a certificate authority for TLS between sidecars is made");
        } else {
            tracing::warn!(
                "secret {SECRET} is lost; a new root is made, and trusted beside those that services have"
            );
        }
        self.create(epoch, Ca::new(Timestamp::now(), &before)?).await
    }

    fn read(epoch: i64, secret: &Secret) -> Result<Loaded, AuthorityError> {
        let texts = secret
            .data
            .iter()
            .flatten()
            .map(|(name, bytes)| (name.clone(), String::from_utf8_lossy(&bytes.0).into_owned()));
        let ca = Ca::read(&texts.collect())?;
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        Ok(Loaded { epoch, ca, version, shown: false })
    }

    async fn create(&self, epoch: i64, ca: Ca) -> Result<Loaded, AuthorityError> {
        if !self.leadership.holds(epoch) {
            return Err(AuthorityError::NotLeading);
        }
        match self.api.create(&post(), &secret(&ca, None)).await {
            Ok(made) => Self::read(epoch, &made),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Self::read(epoch, &self.api.get(SECRET).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn replace(&self, known: Loaded, next: Ca) -> Result<Loaded, AuthorityError> {
        if !self.leadership.holds(known.epoch) {
            return Err(AuthorityError::NotLeading);
        }
        tracing::info!("the roots for TLS between sidecars change, as they do by time");
        let written = self.api.replace(SECRET, &post(), &secret(&next, Some(known.version))).await?;
        Ok(Loaded { shown: known.shown, ..Self::read(known.epoch, &written)? })
    }

    // Roots that services trust, from their Secrets: there are some only after a loss.
    async fn recovered(&self) -> Vec<String> {
        let mut asked = BTreeMap::new();
        for (key, certificate) in self.cache.certificates() {
            asked.entry(certificate.roots).or_insert(key);
        }
        let mut found = Vec::new();
        for key in asked.into_values().take(MAX_ASKED) {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
            let Ok(Some(secret)) = api.get_opt(&names::sidecar_keys(&key.name)).await else { continue };
            let roots = secret.data.as_ref().and_then(|data| data.get(shop_contract::files::ROOTS));
            found.extend(roots.map(|roots| String::from_utf8_lossy(&roots.0).into_owned()));
        }
        found
    }
}

fn secret(ca: &Ca, version: Option<String>) -> Secret {
    let data = ca.texts().into_iter().map(|(name, text)| (name, ByteString(text.into_bytes())));
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some([(LABEL_MANAGED_BY.to_owned(), "shopkeeper".to_owned())].into()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        ..Secret::default()
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
