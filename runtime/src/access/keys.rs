//! API keys of tenants: made, rotated, revoked, and held in memory.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;

use super::limit::Limit;
use super::{Access, Key, Scope, key};
use crate::store::{self, StoredKey, Witness};

/// A key as somebody wants it.
#[derive(Default, PartialEq, Debug)]
pub struct WantedKey {
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Requests per second with it; `None` is as many as its tenant has.
    pub rate_limit: Option<u32>,
}

/// What became of a key that was to be replaced.
#[derive(Debug)]
pub enum Rotated {
    /// The new one, and its text.
    Made(Box<StoredKey>, String),
    /// The tenant has no such key.
    Absent,
    /// Another has taken its place already.
    Already,
}

impl Access {
    /// The tenant's keys, oldest first.
    #[must_use]
    pub fn keys(&self, tenant: &TenantId) -> Vec<StoredKey> {
        let of_tenant = self.keys.iter().filter(|entry| entry.stored.tenant == *tenant);
        let mut keys: Vec<StoredKey> = of_tenant.map(|entry| entry.stored.clone()).collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    /// Makes a key; the answer's text is shown once and kept nowhere.
    pub async fn make_key(&self, tenant: &TenantId, wanted: WantedKey) -> Result<(StoredKey, String), store::Error> {
        let (stored, key) = self.new_key(tenant, wanted);
        Witness::note(|entry| entry.after = Some(told_of_key(&stored)));
        self.store.put_key(stored.clone()).await?;
        self.hold_key(stored.clone());
        Ok((stored, key))
    }

    /// Makes a key in place of one that may do the same: that one ends at `until`, if it does not end before. It lasts until
    /// `expires_at`, or for as long as the one before it was made for.
    pub async fn rotate_key(
        &self,
        tenant: &TenantId,
        id: &str,
        until: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<Rotated, store::Error> {
        let _one_at_a_time = self.change.lock().await;
        let held = self.keys.get(id).filter(|key| key.stored.tenant == *tenant).map(|key| key.stored.clone());
        let Some(mut old) = held else { return Ok(Rotated::Absent) };
        let lasts = old.expires_at.map(|end| end.duration_since(old.created_at));
        let (mut new, key) = self.new_key(tenant, WantedKey { name: old.name.clone(), ..WantedKey::default() });
        new.scopes.clone_from(&old.scopes);
        new.rate_limit = old.rate_limit;
        new.expires_at = expires_at.or_else(|| {
            // An end that is farther away than there is time for is as good as the last there is.
            lasts.map(|lasts| new.created_at.checked_add(lasts).unwrap_or(Timestamp::MAX))
        });
        Witness::note(|entry| {
            entry.before = Some(told_of_key(&old));
            entry.after = Some(told_of_key(&new));
        });
        if !self.store.replace_key(id, until, new.clone()).await? {
            // Another node may have revoked it meanwhile, which is as good as having been here first.
            return Ok(Rotated::Already);
        }
        old.replaced_by = Some(new.id.clone());
        old.expires_at = Some(old.expires_at.map_or(until, |end| end.min(until)));
        self.hold_key(new.clone());
        self.hold_key(old);
        Ok(Rotated::Made(Box::new(new), key))
    }

    fn new_key(&self, tenant: &TenantId, wanted: WantedKey) -> (StoredKey, String) {
        let new = key::NewKey::generate();
        let stored = StoredKey {
            digest: key::digest(&new.key),
            id: new.id,
            tenant: tenant.clone(),
            name: wanted.name,
            scopes: wanted.scopes.iter().map(ToString::to_string).collect(),
            created_at: self.clock.now(),
            expires_at: wanted.expires_at,
            rate_limit: wanted.rate_limit,
            replaced_by: None,
        };
        (stored, new.key)
    }

    /// How many of the tenant's keys open something.
    #[must_use]
    pub fn live_keys(&self, tenant: &TenantId) -> u64 {
        let now = self.clock.now();
        let is_live = |key: &StoredKey| key.tenant == *tenant && key.expires_at.is_none_or(|end| now < end);
        self.keys.iter().filter(|entry| is_live(&entry.stored)).count() as u64
    }

    /// Revokes a key; whether the tenant had it.
    pub async fn revoke_key(&self, tenant: &TenantId, id: &str) -> Result<bool, store::Error> {
        let _one_at_a_time = self.change.lock().await;
        // Out of force first: a key that is being revoked opens nothing while the store commits.
        let held = self.keys.remove_if(id, |_, key| key.stored.tenant == *tenant);
        if let Some((_, key)) = &held {
            Witness::note(|entry| entry.before = Some(told_of_key(&key.stored)));
        }
        let outcome = self.store.delete_key(tenant, id).await;
        if let (Err(_), Some((id, key))) = (&outcome, held) {
            self.keys.insert(id, key);
        }
        outcome
    }

    pub(super) fn hold_key(&self, stored: StoredKey) {
        let Some(tenant) = self.tenant(stored.tenant.as_str()) else {
            tracing::error!(key.id = %stored.id, tenant = %stored.tenant, "Key {} belongs to no tenant and opens nothing", stored.id);
            return;
        };
        let scopes = stored.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
        // What was used of its rate stays used, whatever else is read anew of it.
        let known = self.keys.get(&stored.id).and_then(|key| key.limit.clone());
        let limit = stored.rate_limit.map(|rate| match known {
            Some(known) => {
                known.set(rate);
                known
            }
            None => Arc::new(Limit::new(format!("{}/{}", stored.tenant, stored.id), rate)),
        });
        self.keys.insert(stored.id.clone(), Arc::new(Key { stored, scopes, tenant, limit }));
    }
}

/// What the audit log tells of a key.
fn told_of_key(key: &StoredKey) -> Value {
    json!({"key": key.id, "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at.map(|at| format!("{at:.3}")),
        "rate_limit": key.rate_limit})
}
