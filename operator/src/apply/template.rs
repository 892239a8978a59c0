//! Which template a write is rendered from.

use serde_json::Value;

use super::{Application, ApplyError};
use crate::render::{self, Rendered};

impl Application<'_> {
    // Without the record of a restart the revision's own template is as good: the app in it is the same.
    pub(super) fn template(&self, revision: i64, restart: i64) -> Result<Value, ApplyError> {
        if let Some((_, template)) = (restart > 0).then(|| self.sight.record(revision, restart)).flatten() {
            return Ok(template);
        }
        if let Some(template) = self.templates.get(&revision) {
            return Ok(template.clone());
        }
        let name = shop_crds::names::revision(&self.sight.owner.service, revision);
        let record = self.sight.record(revision, 0).ok_or(ApplyError::NoTemplate { name })?;
        Ok(record.1)
    }

    pub(super) fn restart(&self, revision: i64, ordinal: i64) -> Result<Rendered, ApplyError> {
        let owner = self.sight.owner;
        let name = shop_crds::names::revision(&owner.service, revision);
        let (facts, stored) = self.sight.record(revision, 0).ok_or(ApplyError::NoTemplate { name })?;
        let template = render::restarted_template(owner, revision, ordinal, &stored, &self.tools.image);
        Ok(render::restart(owner, revision, ordinal, &facts, &template))
    }
}
