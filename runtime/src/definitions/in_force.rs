//! The index in force, and versions that went out of force while runs may still ask for them.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;

/// Earlier versions that are kept compiled, for runs that began with them.
const MAX_OLD_VERSIONS: usize = 1024;

/// Names one version of one trigger.
pub type VersionKey = (TenantId, Arc<str>, u32);

/// What readers see.
#[derive(Default)]
pub struct InForce {
    pub index: ArcSwap<Index>,
    old: Mutex<HashMap<VersionKey, Arc<Trigger>>>,
}

impl InForce {
    /// Changes a copy of the index and puts it in the place of the one in force: readers see all of the change or nothing.
    /// Called by one at a time (`Queue::pause`).
    pub fn publish(&self, change: impl FnOnce(&mut Index)) {
        let mut index = Index::clone(&self.index.load());
        change(&mut index);
        self.index.store(Arc::new(index));
    }

    /// Keeps the version that is about to go out of force: runs in flight come back for it.
    pub fn retire(&self, tenant: &TenantId, tag: &str) {
        if let Some(old) = self.index.load().get(tenant, tag) {
            self.keep((tenant.clone(), old.tag.clone(), old.version), old);
        }
    }

    /// Keeps a former version.
    pub fn keep(&self, key: VersionKey, trigger: Arc<Trigger>) -> Arc<Trigger> {
        let mut old = self.old.lock();
        if old.len() >= MAX_OLD_VERSIONS {
            old.clear();
        }
        old.insert(key, trigger.clone());
        trigger
    }

    /// A former version that is kept.
    pub fn kept(&self, key: &VersionKey) -> Option<Arc<Trigger>> {
        self.old.lock().get(key).cloned()
    }
}
