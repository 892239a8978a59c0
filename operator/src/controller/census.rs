//! How many services are in which phase, and blocked by what: gauges over closed lists, kept up to date by single changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use shop_crds::{Reason, ShopServiceStatus, status::Phase};

use crate::{key::ServiceKey, metrics::Metrics};

/// What is counted of each service.
#[derive(Debug)]
pub(super) struct Census {
    metrics: Arc<Metrics>,
    counted: Mutex<HashMap<ServiceKey, (Phase, Option<Reason>)>>,
}

impl Census {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, counted: Mutex::default() }
    }

    /// A service is in this state now.
    pub(super) fn note(&self, key: &ServiceKey, status: &ShopServiceStatus) {
        let now = (status.phase.unwrap_or_default(), status.blocked.as_ref().map(|blocked| blocked.reason));
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.insert(key.clone(), now);
        if before != Some(now) {
            self.add(before, -1);
            self.add(Some(now), 1);
        }
    }

    /// A service is gone.
    pub(super) fn forget(&self, key: &ServiceKey) {
        let before = self.counted.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.add(before, -1);
    }

    /// This process counts nothing any more: another one does.
    pub(super) fn clear(&self) {
        let counted = std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner));
        for state in counted.into_values() {
            self.add(Some(state), -1);
        }
    }

    fn add(&self, state: Option<(Phase, Option<Reason>)>, by: i64) {
        let Some((phase, blocked)) = state else { return };
        self.metrics.phases.with_label_values(&[phase.as_str()]).add(by);
        if let Some(reason) = blocked {
            self.metrics.blocked.with_label_values(&[reason.as_str()]).add(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_service_once() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let census = Census::new(Arc::clone(&metrics));
        let in_phase = |phase: Phase| metrics.phases.with_label_values(&[phase.as_str()]).get();
        let key = ServiceKey::new("shop", "order");
        for phase in [Phase::Preparing, Phase::Preparing, Phase::Scaling] {
            census.note(&key, &ShopServiceStatus { phase: Some(phase), ..ShopServiceStatus::default() });
        }
        assert_eq!((in_phase(Phase::Preparing), in_phase(Phase::Scaling)), (0, 1));
        census.forget(&key);
        assert_eq!(in_phase(Phase::Scaling), 0);
    }
}
