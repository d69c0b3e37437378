//! The index: which triggers may match an event, at a cost that does not grow with their number.

use std::sync::Arc;

use crate::definition::Trigger;
use crate::event::Event;
use crate::id::TenantId;

/// A trigger that an event matched.
#[derive(Clone, Debug)]
pub struct Match {
    /// Which.
    pub trigger: Arc<Trigger>,
    /// Its condition hangs on a Wasm component's verdict.
    pub gated: bool,
}

/// All compiled triggers of all tenants: immutable, cheap to clone, swapped whole.
#[derive(Clone, Default, Debug)]
pub struct Index {}

impl Index {
    /// This index with `trigger` added, or put in the place of the one with its tag.
    #[must_use]
    pub fn with(&self, tenant: &TenantId, trigger: Arc<Trigger>) -> Self {
        let _ = (tenant, trigger);
        unimplemented!()
    }

    /// This index without the tenant's trigger `tag`.
    #[must_use]
    pub fn without(&self, tenant: &TenantId, tag: &str) -> Self {
        let _ = (tenant, tag);
        unimplemented!()
    }

    /// The tenant's trigger `tag`.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, tag: &str) -> Option<Arc<Trigger>> {
        let _ = (tenant, tag);
        unimplemented!()
    }

    /// Every trigger of the tenant, by tag.
    pub fn all(&self, tenant: &TenantId) -> Vec<Arc<Trigger>> {
        let _ = tenant;
        unimplemented!()
    }

    /// The triggers that `event` matches, by priority, then tag.
    #[must_use]
    pub fn matches(&self, event: &Event) -> Vec<Match> {
        let _ = event;
        unimplemented!()
    }

    /// The enabled triggers whose scope (database, table, event, environment) fits, whatever their condition
    /// says, by priority, then tag.
    #[must_use]
    pub fn in_scope(&self, event: &Event) -> Vec<Arc<Trigger>> {
        let _ = event;
        unimplemented!()
    }
}
