//! Single requests to the API server, each with what the object must be for it to be carried out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
};
use serde_json::{Map, Value, json};
use shop_crds::names::FIELD_MANAGER;
use shop_release::{ObjectKind, Precondition};
use tokio::time::timeout;

use crate::{
    authority::AuthorityError,
    cache::{Held, Kind},
    observe::is_owned,
    render::{ANNOTATION_FROM_SPEC, Rendered},
};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a write was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else wrote the object meanwhile.
    #[error("changed meanwhile: {0}")]
    Conflict(String),
    /// The object exists and belongs to somebody else.
    #[error("{kind} {name} exists and belongs to somebody else")]
    Taken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server refuses the object for good.
    #[error("{name} is refused: {message}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        message: String,
    },
    /// The namespace is being deleted, and the ShopService with it.
    #[error("the namespace is being deleted")]
    Leaving,
    /// A source is not what it was when the revision was planned.
    #[error("{name} changed while it was copied")]
    SourceChanged {
        /// Its name.
        name: String,
    },
    /// A revision's record is gone.
    #[error("ControllerRevision {name} has no template")]
    NoTemplate {
        /// Its name.
        name: String,
    },
    /// Another operator leads.
    #[error("the leadership has ended")]
    NotLeading,
    /// There is no certificate.
    #[error(transparent)]
    Authority(#[from] Box<AuthorityError>),
    /// The system gives no random bytes.
    #[error("no random bytes from the system")]
    Random,
    /// A document cannot be written as JSON.
    #[error("document: {0}")]
    Render(#[source] serde_json::Error),
    /// No answer in time.
    #[error("no answer from the API server within {TIMEOUT:?}")]
    Timeout,
    /// Anything else; tried again.
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
}

impl ApplyError {
    /// Whether it is known that nothing was written.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Timeout => false,
            Self::Api(error) => matches!(&**error, kube::Error::Api(status) if status.code == 429),
            _ => true,
        }
    }

    /// Of an error that says nothing about the object.
    pub(super) fn from_kube(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }

    fn of(name: &str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::from_kube(error) };
        let message = status.message.clone();
        let causes = status.details.iter().flat_map(|details| &details.causes);
        if causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating") {
            return Self::Leaving;
        }
        match status.code {
            409 | 404 => Self::Conflict(message),
            400 | 403 | 413 | 422 => Self::Refused { name: name.to_owned(), message },
            _ => Self::from_kube(error),
        }
    }
}

/// What came of a write.
#[derive(Debug)]
pub enum Answer {
    /// The object, as it is now.
    Written(Box<DynamicObject>),
    /// It is gone, or going.
    Deleted {
        /// Its uid.
        uid: String,
    },
}

/// Makes requests in one namespace, for the ShopService with this uid.
#[derive(Clone, Copy)]
pub struct Requests<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// Uid of the ShopService.
    pub uid: &'a str,
}

impl<'a> Requests<'a> {
    fn api(self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &kind.resource())
    }

    /// Writes an object: a create, or a whole replace of one version of it.
    pub async fn put(
        self,
        rendered: Rendered,
        replaces: Option<Precondition>,
        held: Option<Arc<Held>>,
    ) -> Result<Answer, ApplyError> {
        match replaces {
            None => self.create(rendered).await,
            Some(Precondition { uid, resource_version }) => {
                let live = held.as_deref().map(Kept::of).unwrap_or_default();
                self.replace(rendered, &uid, &resource_version, live).await
            }
        }
    }

    async fn create(self, rendered: Rendered) -> Result<Answer, ApplyError> {
        let api = self.api(rendered.kind.into());
        let name = rendered.name.clone();
        let object = object(&name, rendered.value.clone())?;
        let created = in_time(&name, api.create(&post(), &object)).await;
        match created {
            Err(ApplyError::Conflict(_)) => self.take_up(rendered).await,
            created => created.map(|object| Answer::Written(Box::new(object))),
        }
    }

    /// Asks whether an object would be taken, its fields known and right; nothing is changed. A name that is taken is no refusal.
    pub async fn try_out(self, rendered: Rendered) -> Result<(), ApplyError> {
        let path = self.api(rendered.kind.into()).resource_url().to_owned();
        let (name, parameters) = (rendered.name, PostParams { dry_run: true, ..post() });
        let body = serde_json::to_vec(&rendered.value).map_err(ApplyError::Render)?;
        let request = kube::core::Request::new(path).create(&parameters, body);
        let mut request = request.map_err(|error| ApplyError::from_kube(kube::Error::BuildRequest(error)))?;
        // Unknown fields, which the API server otherwise drops with a warning.
        if let Ok(strict) = format!("{}&fieldValidation=Strict", request.uri()).parse() {
            *request.uri_mut() = strict;
        }
        match in_time(&name, self.client.request::<Value>(request)).await {
            Ok(_) | Err(ApplyError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    // The name is taken. By an object of ours that lost its label it may be written anew, by another one never.
    async fn take_up(self, rendered: Rendered) -> Result<Answer, ApplyError> {
        let api = self.api(rendered.kind.into());
        let name = rendered.name.clone();
        let Some(live) = in_time(&name, api.get_opt(&name)).await? else {
            return Err(ApplyError::Conflict(format!("{name} is being deleted")));
        };
        let held = Held::of(&live);
        if live.metadata.deletion_timestamp.is_some() && is_owned(&held, self.uid) {
            return Err(ApplyError::Conflict(format!("{name} is being deleted")));
        }
        if !is_owned(&held, self.uid) {
            return Err(ApplyError::Taken { kind: rendered.kind.as_str(), name });
        }
        let (uid, version) = (held.uid.clone(), held.resource_version.clone());
        self.replace(rendered, &uid, &version, Kept::of(&held)).await
    }

    async fn replace(
        self,
        mut rendered: Rendered,
        uid: &str,
        version: &str,
        kept: Kept,
    ) -> Result<Answer, ApplyError> {
        if let Some(metadata) = rendered.value.get_mut("metadata").and_then(Value::as_object_mut) {
            kept.into_metadata(rendered.kind, metadata);
            metadata.insert("uid".to_owned(), uid.into());
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        if rendered.kind == ObjectKind::ControllerRevision {
            // Its data cannot be changed, and must not be lost.
            return Err(ApplyError::Taken { kind: rendered.kind.as_str(), name: rendered.name });
        }
        let api = self.api(rendered.kind.into());
        let object = object(&rendered.name, rendered.value)?;
        let written = in_time(&rendered.name, api.replace(&rendered.name, &post(), &object)).await?;
        Ok(Answer::Written(Box::new(written)))
    }

    /// Merges a few fields into an object; the body holds the precondition.
    pub fn merge(
        self,
        kind: Kind,
        name: &str,
        body: Value,
    ) -> impl Future<Output = Result<Answer, ApplyError>> + use<'a> {
        let name = name.to_owned();
        async move {
            let api = self.api(kind);
            let parameters =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let written = in_time(&name, api.patch(&name, &parameters, &Patch::Merge(&body))).await?;
            Ok(Answer::Written(Box::new(written)))
        }
    }

    /// Replaces the status of a ShopService or a ReleaseDecision; the body holds the precondition.
    pub fn replace_status(
        self,
        kind: Kind,
        name: &str,
        body: Value,
    ) -> impl Future<Output = Result<Answer, ApplyError>> + use<'a> {
        let name = name.to_owned();
        async move {
            let api = self.api(kind);
            let object = object(&name, body)?;
            let written = in_time(&name, api.replace_status(&name, &post(), &object)).await?;
            Ok(Answer::Written(Box::new(written)))
        }
    }

    /// Deletes an object in the background. One that is gone already is as well.
    pub fn delete(
        self,
        kind: Kind,
        name: &str,
        precondition: Precondition,
    ) -> impl Future<Output = Result<Answer, ApplyError>> + use<'a> {
        let name = name.to_owned();
        async move {
            let api = self.api(kind);
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(precondition.uid.clone()),
                resource_version: Some(precondition.resource_version),
            });
            match timeout(TIMEOUT, api.delete(&name, &parameters)).await {
                Err(_) => Err(ApplyError::Timeout),
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                    Ok(Answer::Deleted { uid: precondition.uid })
                }
                Ok(Err(error)) => Err(ApplyError::of(&name, error)),
                Ok(Ok(_)) => Ok(Answer::Deleted { uid: precondition.uid }),
            }
        }
    }
}

/// What a whole replace leaves as it is: what other controllers keep on the object.
#[derive(Debug, Default)]
struct Kept {
    annotations: BTreeMap<String, String>,
    /// Of a Service that was adopted: by its labels others find it.
    labels: BTreeMap<String, String>,
    finalizers: Vec<String>,
}

impl Kept {
    fn of(held: &Held) -> Self {
        let from_spec: Vec<String> = held
            .annotations
            .get(ANNOTATION_FROM_SPEC)
            .and_then(|names| serde_json::from_str(names).ok())
            .unwrap_or_default();
        let mut annotations = held.annotations.clone();
        annotations.retain(|name, _| !name.starts_with("shopkeeper.dev/") && !from_spec.contains(name));
        Self { annotations, labels: held.labels.clone(), finalizers: held.finalizers.clone() }
    }

    fn into_metadata(self, kind: ObjectKind, metadata: &mut Map<String, Value>) {
        let labels = metadata.get_mut("labels").and_then(Value::as_object_mut);
        if let Some(labels) = labels.filter(|_| kind == ObjectKind::Service) {
            for (name, value) in self.labels {
                labels.entry(name).or_insert_with(|| value.into());
            }
        }
        if !self.finalizers.is_empty() {
            metadata.insert("finalizers".to_owned(), json!(self.finalizers));
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            for (name, value) in self.annotations {
                annotations.entry(name).or_insert_with(|| value.into());
            }
        }
    }
}

fn object(name: &str, value: Value) -> Result<DynamicObject, ApplyError> {
    serde_json::from_value(value)
        .map_err(|error| ApplyError::Refused { name: name.to_owned(), message: error.to_string() })
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

async fn in_time<T>(
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    match timeout(TIMEOUT, request).await {
        Err(_) => Err(ApplyError::Timeout),
        Ok(answer) => answer.map_err(|error| ApplyError::of(name, error)),
    }
}
