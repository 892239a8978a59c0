//! Certificate, key and roots in the sidecars' Secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shop_contract::files;
use shop_crds::names::{self, spiffe_id};
use shop_release::{Certificate, Precondition};

use super::{Application, ApplyError};
use crate::{
    cache::Kind,
    render::{ANNOTATION_CERTIFICATE, Certified},
};

impl Application<'_> {
    /// A new certificate for the service, which has had one since then.
    pub(super) async fn certified(&mut self, since: Timestamp) -> Result<Certified, ApplyError> {
        let owner = self.sight.owner;
        let id = spiffe_id(&self.tools.site.trust_domain, &owner.namespace, &owner.service);
        let leaf = self.tools.authority.issue(owner.epoch, &id).await.map_err(Box::new)?;
        let note = Certificate { id, since, issued: leaf.issued, roots: leaf.roots_hash };
        Ok(Certified { note, certificate: leaf.certificate, key: leaf.key, roots: leaf.roots })
    }

    /// Puts a new one in place of the one before.
    pub(super) async fn issue_certificate(&mut self) -> Result<(), ApplyError> {
        let since = self.observed.certificate.as_ref().map_or_else(Timestamp::now, |found| found.since);
        let certified = self.certified(since).await?;
        let data = certified.files().map(|(name, text)| (name.to_owned(), STANDARD.encode(text).into()));
        self.write_files(data.into_iter().collect(), json!(certified.note).to_string().into()).await
    }

    /// Puts other roots beside it.
    pub(super) async fn copy_roots(&mut self) -> Result<(), ApplyError> {
        let Some(note) = self.observed.certificate.clone() else { return Ok(()) };
        let (text, roots) = self.tools.authority.roots(self.sight.owner.epoch).await.map_err(Box::new)?;
        let mut data = Map::new();
        data.insert(files::ROOTS.to_owned(), STANDARD.encode(text).into());
        self.write_files(data, json!(Certificate { roots, ..note }).to_string().into()).await
    }

    /// Takes all of it away.
    pub(super) async fn remove_certificate(&mut self) -> Result<(), ApplyError> {
        let data =
            [files::CERTIFICATE, files::PRIVATE_KEY, files::ROOTS].map(|name| (name.to_owned(), Value::Null));
        self.write_files(data.into_iter().collect(), Value::Null).await
    }

    async fn write_files(&mut self, data: Map<String, Value>, note: Value) -> Result<(), ApplyError> {
        let name = names::sidecar_keys(&self.sight.owner.service);
        let Some(held) = self.sight.owned(Kind::Secret, &name).cloned() else { return Ok(()) };
        let precondition = Precondition::version(&held.uid, &held.resource_version);
        let mut annotations = Map::new();
        annotations.insert(ANNOTATION_CERTIFICATE.to_owned(), note);
        let metadata = self.fenced(&precondition, annotations, Value::Null);
        let request = self.requests.merge(Kind::Secret, &name, json!({ "metadata": metadata, "data": data }));
        self.send(Kind::Secret, &name, request).await
    }
}
