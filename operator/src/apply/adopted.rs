//! Writes to what was adopted, and to what is given back: metadata and size, and nothing else.

use serde_json::{Map, Value, json};
use shop_crds::{
    names::{
        ADOPTED, ANNOTATION_COLOUR, ANNOTATION_LEADER_EPOCH, ANNOTATION_ROLE, ANNOTATION_WRITTEN,
        FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_REVISION, LABEL_SERVICE,
    },
    status::Colour,
};
use shop_release::{ObjectKind, ObjectRef, Precondition, Role, Write};

use super::{Answer, Application, ApplyError};
use crate::{adoption::AS_FOUND, cache::Kind};

/// Prefix of labels and annotations that mean nothing without a ShopService.
const OURS: &str = "shopkeeper.dev/";

impl Application<'_> {
    /// Makes an object of somebody else the ShopService's, as it stands.
    pub(super) async fn adopt(
        &mut self,
        object: &ObjectRef,
        precondition: &Precondition,
    ) -> Result<(), ApplyError> {
        let owner = self.sight.owner;
        let kind = Kind::from(object.kind);
        let written = format!("{}/{AS_FOUND}/{ADOPTED}", owner.uid);
        let (labels, own) = if object.kind == ObjectKind::Deployment {
            let labels = json!({ LABEL_SERVICE: owner.service, LABEL_REVISION: ADOPTED.to_string() });
            (labels, stands(Role::Active, Colour::Blue))
        } else {
            (json!({ LABEL_SERVICE: owner.service }), Map::new())
        };
        let mut annotations = own;
        annotations.insert(ANNOTATION_WRITTEN.to_owned(), written.into());
        let more = json!({ "labels": labels, "ownerReferences": [owner.reference()] });
        let body = json!({ "metadata": self.fenced(precondition, annotations, more) });
        let name = self.sight.name_of(object);
        let request = self.requests.merge(kind, &name, body);
        self.send(kind, &name, request).await
    }

    /// Makes an object nobody's. Afterwards the cache does not show it any more.
    pub(super) async fn eject(
        &mut self,
        object: &ObjectRef,
        precondition: Option<&Precondition>,
    ) -> Result<(), ApplyError> {
        let (kind, name) = (Kind::from(object.kind), self.sight.name_of(object));
        let Some(held) = self.sight.owned(kind, &name) else { return Ok(()) };
        let known = Precondition::version(&held.uid, &held.resource_version);
        let precondition = precondition.cloned().unwrap_or(known);
        let own = |name: &str| name.starts_with(OURS);
        let nothing = |names: Vec<&String>| -> Map<String, Value> {
            names.into_iter().map(|name| (name.clone(), Value::Null)).collect()
        };
        let annotations = nothing(held.annotations.keys().filter(|name| own(name)).collect());
        let mut labels = nothing(held.labels.keys().filter(|name| own(name)).collect());
        if held.labels.get(LABEL_MANAGED_BY).is_some_and(|by| by == FIELD_MANAGER) {
            labels.insert(LABEL_MANAGED_BY.to_owned(), Value::Null);
        }
        let body = json!({ "metadata": {
            "uid": precondition.uid, "resourceVersion": precondition.resource_version,
            "labels": labels, "annotations": annotations, "ownerReferences": null,
        } });
        let request = self.requests.merge(kind, &name, body);
        let gone = async move { request.await.map(|_| Answer::Deleted { uid: precondition.uid }) };
        self.send(kind, &name, gone).await
    }

    /// Size and role of the adopted Deployment; its pods stay as they are.
    pub(super) async fn size_adopted(&mut self, write: &Write) -> Result<(), ApplyError> {
        let Write::WriteDeployment { replicas, role, colour, replaces, .. } = write else { return Ok(()) };
        let Some(object) = write.object(&self.sight.owner.service) else { return Ok(()) };
        let name = self.sight.name_of(&object);
        // It is never made anew: what it was made of is not kept.
        let Some(precondition) = replaces else { return Err(ApplyError::NoTemplate { name }) };
        let metadata = self.fenced(precondition, stands(*role, *colour), Value::Null);
        let body = json!({ "metadata": metadata, "spec": { "replicas": replicas } });
        let request = self.requests.merge(Kind::Deployment, &name, body);
        self.send(Kind::Deployment, &name, request).await
    }

    /// Metadata of a patch of this very version, with the epoch of this leader.
    pub(super) fn fenced(
        &self,
        precondition: &Precondition,
        mut annotations: Map<String, Value>,
        more: Value,
    ) -> Map<String, Value> {
        annotations.insert(ANNOTATION_LEADER_EPOCH.to_owned(), self.sight.owner.epoch.to_string().into());
        let mut metadata = Map::new();
        metadata.insert("uid".to_owned(), precondition.uid.clone().into());
        metadata.insert("resourceVersion".to_owned(), precondition.resource_version.clone().into());
        metadata.insert("annotations".to_owned(), annotations.into());
        if let Value::Object(more) = more {
            metadata.extend(more);
        }
        metadata
    }
}

fn stands(role: Role, colour: Colour) -> Map<String, Value> {
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_ROLE.to_owned(), role.as_str().into());
    annotations.insert(ANNOTATION_COLOUR.to_owned(), colour.as_str().into());
    annotations
}
