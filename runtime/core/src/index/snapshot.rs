//! The snapshot that readers hold.

use std::sync::Arc;

use rpds::HashTrieMapSync;

use super::tenant::Tenant;
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
pub struct Index {
    tenants: HashTrieMapSync<TenantId, Tenant>,
}

impl Index {
    /// This index with `trigger` added, or put in the place of the one with its tag.
    #[must_use]
    pub fn with(&self, tenant: &TenantId, trigger: Arc<Trigger>) -> Self {
        let mut changed = self.clone();
        changed.put(tenant, trigger);
        changed
    }

    /// This index without the tenant's trigger `tag`.
    #[must_use]
    pub fn without(&self, tenant: &TenantId, tag: &str) -> Self {
        let mut changed = self.clone();
        changed.remove(tenant, tag);
        changed
    }

    /// Adds `trigger`, or puts it in the place of the one with its tag. Clones made before do not change; what no clone
    /// holds is changed in place, so that many changes between two clones cost little more than themselves.
    pub fn put(&mut self, tenant: &TenantId, trigger: Arc<Trigger>) {
        if let Some(changed) = self.tenants.get_mut(tenant) {
            changed.put(trigger);
            return;
        }
        let mut new = Tenant::default();
        new.put(trigger);
        self.tenants.insert_mut(tenant.clone(), new);
    }

    /// Removes the tenant's trigger `tag`, where there is one; what is said of [`Index::put`] holds.
    pub fn remove(&mut self, tenant: &TenantId, tag: &str) {
        if self.get(tenant, tag).is_none() {
            return;
        }
        let Some(changed) = self.tenants.get_mut(tenant) else { return };
        changed.remove(tag);
        if changed.is_empty() {
            self.tenants.remove_mut(tenant);
        }
    }

    /// The tenant's trigger `tag`.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, tag: &str) -> Option<Arc<Trigger>> {
        self.tenants.get(tenant)?.get(tag).cloned()
    }

    /// The tenants that have triggers, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }

    /// How many triggers the tenant has: at no cost, unlike [`Index::all`].
    #[must_use]
    pub fn count(&self, tenant: &TenantId) -> usize {
        self.tenants.get(tenant).map_or(0, Tenant::len)
    }

    /// Every trigger of the tenant, by tag.
    pub fn all(&self, tenant: &TenantId) -> Vec<Arc<Trigger>> {
        self.tenants.get(tenant).map(|tenant| tenant.all().cloned().collect()).unwrap_or_default()
    }

    /// The triggers that `event` matches, by priority, then tag.
    #[must_use]
    pub fn matches(&self, event: &Event) -> Vec<Match> {
        let Some(tenant) = self.tenants.get(&event.tenant) else { return Vec::new() };
        let mut matches = Vec::new();
        tenant.candidates(event, &mut |trigger| matches.extend(trigger.matched(event)));
        in_order(&mut matches, |found| &found.trigger);
        matches
    }

    /// The enabled triggers whose scope (database, table, event, environment) fits, whatever their condition
    /// says, by priority, then tag.
    #[must_use]
    pub fn in_scope(&self, event: &Event) -> Vec<Arc<Trigger>> {
        let Some(tenant) = self.tenants.get(&event.tenant) else { return Vec::new() };
        let mut found = Vec::new();
        tenant.placed(event, &mut |trigger| {
            if trigger.covers(event) {
                found.push(Arc::clone(trigger));
            }
        });
        in_order(&mut found, |trigger| trigger);
        found
    }
}

/// By priority, then tag; a trigger that was found in several places stays once.
fn in_order<T>(found: &mut Vec<T>, trigger: impl Fn(&T) -> &Arc<Trigger>) {
    found.sort_by(|a, b| {
        let (a, b) = (trigger(a), trigger(b));
        (a.priority, &a.tag).cmp(&(b.priority, &b.tag))
    });
    found.dedup_by(|a, b| Arc::ptr_eq(trigger(a), trigger(b)));
}
