//! The ShopService that is planned for.

use shop_crds::{ShopServiceSpec, service::release::Release};

/// One ShopService as it was read, and the epoch of the leader that plans for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`: the precondition of the status write.
    pub resource_version: String,
    /// Whether `metadata.deletionTimestamp` is set; then nothing is planned, owner references do the rest.
    pub deleting: bool,
    /// `spec`.
    pub spec: ShopServiceSpec,
    /// Epoch of this leader: at least 1, higher than that of every leader before it.
    pub leader_epoch: i64,
}

impl Subject {
    /// `spec.release`, with its defaults where it is left out.
    pub fn release(&self) -> Release {
        self.spec.release.clone().unwrap_or_default()
    }

    /// How many pods the active revision shall have.
    pub fn replicas(&self) -> i32 {
        self.spec.replicas.max(0)
    }
}
