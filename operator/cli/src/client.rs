//! The edge to the API server. Every request has an end; every error says what to do. Kinds are known, never discovered.

mod changes;
mod objects;

use std::time::Duration;

use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::Pod};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use shop_crds::{ReleaseDecision, ReleaseDecisionSpec, ShopService, names};

pub use changes::Changes;
pub use objects::Right;

use crate::arguments::Connection;

/// Longest wait for one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects asked for at once.
const PAGE: u32 = 500;
/// Letters of which no unlucky words can be made, as Kubernetes uses them for generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig does not lead to a cluster.
    #[error("no cluster: {0}; name a kubeconfig with --kubeconfig and a context of it with --context")]
    Kubeconfig(String),
    /// No such `ShopService`.
    #[error("no ShopService {name:?} in namespace {namespace:?}; {hint}")]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// Where it is.
        hint: String,
    },
    /// The cluster does not know the kinds.
    #[error(
        "the cluster has no kind ShopService; install Shopkeeper there, or choose another cluster with --context"
    )]
    NotInstalled,
    /// The API server knows who asks, and says no.
    #[error(
        "not allowed to {action}: {message}; ask an administrator for the right, or log in as somebody who has it"
    )]
    Forbidden {
        /// What was asked.
        action: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The API server does not know who asks.
    #[error("cannot {action}: the API server does not accept the credentials ({message}); log in again")]
    Unauthorized {
        /// What was asked.
        action: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The object is not the one any more that was read.
    #[error("cannot {action}: somebody changed it meanwhile; run the command again")]
    Conflict {
        /// What was asked.
        action: &'static str,
    },
    /// Any other answer that is no success.
    #[error("cannot {action}: the API server answered {code}: {message}")]
    Answer {
        /// What was asked.
        action: &'static str,
        /// HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// No answer at all.
    #[error(
        "cannot {action}: {message}; check that the API server can be reached, then run the command again"
    )]
    Unreachable {
        /// What was asked.
        action: &'static str,
        /// What went wrong.
        message: String,
    },
}

impl ClientError {
    /// Whether it may be over at the next try.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { code, .. } => *code == 429 || *code >= 500,
            _ => false,
        }
    }

    fn of(action: &'static str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unreachable { action, message: causes(&error) };
        };
        let message = status.message.clone();
        match status.code {
            401 => Self::Unauthorized { action, message },
            403 => Self::Forbidden { action, message },
            409 => Self::Conflict { action },
            404 if status.details.is_none() => Self::NotInstalled,
            code => Self::Answer { action, code, message },
        }
    }
}

/// An error with what caused it, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// Of this client.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Self { client, namespace: namespace.into() }
    }

    /// As the command line and the kubeconfig say.
    pub async fn connect(connection: &Connection) -> Result<Self, ClientError> {
        let mut config = configure(connection).await?;
        // A command says at once what went wrong, and follows with tries of its own.
        config.default_retry = false;
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| ClientError::Kubeconfig(causes(&error)))?;
        Ok(Self::new(client, namespace))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The `ShopService` of that name.
    pub async fn service(&self, name: &str) -> Result<ShopService, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        match ask("read the ShopService", api.get(name)).await {
            Err(ClientError::Answer { code: 404, .. }) => Err(ClientError::NotFound {
                name: name.to_owned(),
                namespace: self.namespace.clone(),
                hint: self.elsewhere(name).await,
            }),
            answer => answer,
        }
    }

    /// Where a service of that name is, if not here.
    async fn elsewhere(&self, name: &str) -> String {
        let api: Api<ShopService> = Api::all(self.client.clone());
        let query = ListParams::default().fields(&format!("metadata.name={name}")).limit(5);
        let found = ask("list ShopServices", api.list_metadata(&query)).await.map(|list| list.items);
        let places: Vec<String> =
            found.unwrap_or_default().iter().filter_map(ResourceExt::namespace).collect();
        match places.as_slice() {
            [] => {
                "name its namespace with -n, or list what there is: kubectl get shopservices --all-namespaces"
                    .to_owned()
            }
            [only] => format!("did you mean -n {only}?"),
            several => format!("did you mean one of -n {}?", several.join(", -n ")),
        }
    }

    /// The name by which the API server knows the user.
    pub async fn actor(&self) -> Result<String, ClientError> {
        let action = "ask the API server for your name";
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = ask(action, api.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        let name = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
        name.filter(|name| !name.is_empty())
            .ok_or_else(|| ClientError::Unreachable { action, message: "its answer has no name".to_owned() })
    }

    /// Writes a decision down; its name is new.
    pub async fn decide(&self, spec: ReleaseDecisionSpec) -> Result<ReleaseDecision, ClientError> {
        let api: Api<ReleaseDecision> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut decision = ReleaseDecision::new(&decision_name(&spec), spec);
        let service = decision.spec.service.clone();
        decision.labels_mut().insert(names::LABEL_SERVICE.to_owned(), service);
        ask("create the ReleaseDecision", api.create(&PostParams::default(), &decision)).await
    }

    /// The decision of that name; `None` once it is gone.
    pub async fn decision(&self, name: &str) -> Result<Option<ReleaseDecision>, ClientError> {
        let api: Api<ReleaseDecision> = Api::namespaced(self.client.clone(), &self.namespace);
        ask("read the ReleaseDecision", api.get_opt(name)).await
    }

    /// All decisions about a service, oldest first.
    pub async fn decisions(&self, service: &str) -> Result<Vec<ReleaseDecision>, ClientError> {
        let api: Api<ReleaseDecision> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut found = pages("list ReleaseDecisions", &api, ListParams::default()).await?;
        found.retain(|decision| decision.spec.service == service);
        found.sort_by_key(|decision| {
            (decision.metadata.creation_timestamp.as_ref().map(|time| time.0), decision.name_any())
        });
        Ok(found)
    }

    /// The `ShopServices` of the namespace, or of all of them; sorted.
    pub async fn services(&self, everywhere: bool) -> Result<Vec<ShopService>, ClientError> {
        let api: Api<ShopService> = if everywhere {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        };
        let mut found = pages("list ShopServices", &api, ListParams::default()).await?;
        found.sort_by_key(|service| (service.namespace(), service.name_any()));
        Ok(found)
    }

    /// Names of the `ShopServices` of the namespace.
    pub async fn names(&self) -> Result<Vec<String>, ClientError> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &self.namespace);
        let query = ListParams::default().limit(PAGE);
        let found = ask("list ShopServices", api.list_metadata(&query)).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }

    /// The pods of a service, all revisions.
    pub async fn pods(&self, service: &str) -> Result<Vec<Pod>, ClientError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let query = ListParams::default().labels(&format!("{}={service}", names::LABEL_SERVICE));
        let mut found = pages("list pods", &api, query).await?;
        found.sort_by_key(ResourceExt::name_any);
        Ok(found)
    }

    /// The pods of all services of the namespace.
    pub async fn pods_of_all(&self) -> Result<Vec<Pod>, ClientError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        pages("list pods", &api, ListParams::default().labels(names::LABEL_SERVICE)).await
    }

    /// Tells when the service, or a decision, has changed; looks every `poll` where that cannot be watched.
    pub fn changes(&self, service: Option<&str>, decision: Option<&str>, poll: Duration) -> Changes {
        Changes::new(self, service, decision, poll)
    }
}

/// The whole list, page by page.
async fn pages<K>(action: &'static str, api: &Api<K>, query: ListParams) -> Result<Vec<K>, ClientError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut query = query.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = ask(action, api.list(&query)).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => query = query.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// `order-promote-r7-x4k2bq`.
fn decision_name(spec: &ReleaseDecisionSpec) -> String {
    let mut random = rand::rng();
    let suffix: String = (0..8)
        .filter_map(|_| LETTERS.get(random.random_range(0..LETTERS.len())).copied().map(char::from))
        .collect();
    format!("{}-{}-r{}-{suffix}", spec.service, spec.verb.as_str(), spec.revision)
}

async fn configure(connection: &Connection) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let told = |error: KubeconfigError| ClientError::Kubeconfig(causes(&error));
    if let Some(path) = &connection.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(told)?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(told);
    }
    if options.context.is_some() {
        return Config::from_kubeconfig(&options).await.map_err(told);
    }
    Config::infer().await.map_err(|error| ClientError::Kubeconfig(causes(&error)))
}

async fn ask<T>(
    action: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClientError> {
    let answer = tokio::time::timeout(PATIENCE, request).await.map_err(|_| ClientError::Unreachable {
        action,
        message: format!("no answer within {} s", PATIENCE.as_secs()),
    })?;
    answer.map_err(|error| ClientError::of(action, error))
}

#[cfg(test)]
mod tests {
    use shop_crds::Verb;

    use super::*;

    #[test]
    fn decision_names_say_what_they_are_and_differ() {
        let spec = ReleaseDecisionSpec::new("order", Verb::Promote, 7, "ann");
        let (one, other) = (decision_name(&spec), decision_name(&spec));
        assert!(one.starts_with("order-promote-r7-") && one.len() == "order-promote-r7-".len() + 8, "{one}");
        assert_ne!(one, other);
    }
}
