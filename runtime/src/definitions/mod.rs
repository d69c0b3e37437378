//! The trigger definitions in force: stored, compiled, and put into the index.
//!
//! - `in_force.rs`: the index, which readers take as a snapshot, and former versions.
//! - `change.rs`: how this node's changes are kept, many in one commit.
//! - `load.rs`: how everything is read at start, and what other nodes have changed.
//!
//! A change is answered after its commit and after it is in the index. Whoever changes the index by what the store says holds
//! [`Queue::pause`] from before it reads the store: so the index never goes back to what was in force before.

mod change;
mod in_force;
mod load;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use triggerd_core::catalog::Catalog;
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;
use triggerd_core::mistake::Mistake;

use crate::components::Components;
use crate::store::{self, PutMode, PutOutcome, Store, StoredTrigger, TriggerChange, Witness};
use change::Queue;
use in_force::InForce;

/// Why a definition was not stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has mistakes: all of them.
    #[error("the definition is not valid")]
    Invalid(Vec<Mistake>),
    /// The tag is taken.
    #[error("a trigger `{0}` exists; PUT replaces it")]
    Exists(String),
    /// There is no such trigger or version.
    #[error("there is no {0}")]
    Absent(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Whether the trigger of that tag is one that this program made itself: nobody else's tag holds a colon.
#[must_use]
pub fn is_internal(tag: &str) -> bool {
    tag.contains(':')
}

/// All definitions of all tenants.
pub struct Definitions {
    store: Store,
    catalog: &'static dyn Catalog,
    components: Arc<Components>,
    in_force: Arc<InForce>,
    changes: Arc<Queue>,
}

impl Definitions {
    /// The index in force, as a snapshot.
    #[must_use]
    pub fn index(&self) -> arc_swap::Guard<Arc<Index>> {
        self.in_force.index.load()
    }

    /// Compiles a definition for the tenant as it would be stored: its components must be there.
    pub async fn check(&self, tenant: &TenantId, definition: &Value) -> Result<Trigger, Error> {
        let draft = compile(definition, 0, self.catalog).map_err(Error::Invalid)?;
        let mistakes = self.components.check(tenant, &draft).await?;
        if mistakes.is_empty() { Ok(draft) } else { Err(Error::Invalid(mistakes)) }
    }

    /// Stores a definition under its own tag. A definition equal to the one in force makes no new version.
    pub async fn put(
        &self,
        tenant: &TenantId,
        definition: Value,
        mode: PutMode,
        now: Timestamp,
    ) -> Result<PutOutcome, Error> {
        let draft = self.check(tenant, &definition).await?;
        let tag = draft.tag.to_string();
        let change = TriggerChange {
            tenant: tenant.clone(),
            tag: tag.clone(),
            definition: Some((definition, mode)),
            now,
            witness: Witness::current(),
        };
        match self.changes.make(&self.in_force, change, Some(draft)).await? {
            PutOutcome::Exists => Err(Error::Exists(tag)),
            outcome => Ok(outcome),
        }
    }

    /// Takes a trigger out of force. Its versions stay readable for the runs that began with them.
    pub async fn delete(&self, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<(), Error> {
        let (tenant, witness) = (tenant.clone(), Witness::current());
        let change = TriggerChange { tenant, tag: tag.to_owned(), definition: None, now, witness };
        match self.changes.make(&self.in_force, change, None).await? {
            PutOutcome::Absent => Err(Error::Absent(format!("trigger `{tag}`"))),
            _ => Ok(()),
        }
    }

    /// Puts triggers in force that this program makes itself, in place of those of these `tags`. They are stored nowhere:
    /// whoever made them makes them again at the next start.
    pub async fn put_internal(&self, tenant: &TenantId, tags: &[String], triggers: Vec<Arc<Trigger>>) {
        let _one_at_a_time = self.changes.pause().await;
        self.in_force.publish(|index| {
            tags.iter().for_each(|tag| index.remove(tenant, tag));
            triggers.into_iter().for_each(|trigger| index.put(tenant, trigger));
        });
    }

    /// The stored definition in force.
    pub async fn get(&self, tenant: &TenantId, tag: &str) -> Result<StoredTrigger, Error> {
        let absent = || Error::Absent(format!("trigger `{tag}`"));
        self.store.trigger(tenant, tag).await?.ok_or_else(absent)
    }

    /// The compiled trigger of a version, in force or not: what a run that began with it goes on with.
    pub async fn version(
        &self,
        tenant: &TenantId,
        tag: &Arc<str>,
        version: u32,
    ) -> Result<Option<Arc<Trigger>>, store::Error> {
        let current = self.index().get(tenant, tag);
        if is_internal(tag) {
            // Of these there is one version: what they do is read from the resource anew each time.
            return Ok(current);
        }
        if let Some(current) = current.filter(|t| t.version == version) {
            return Ok(Some(current));
        }
        let key = (tenant.clone(), tag.clone(), version);
        if let Some(known) = self.in_force.kept(&key) {
            return Ok(Some(known));
        }
        let Some(stored) = self.store.trigger_version(tenant, tag, version).await? else { return Ok(None) };
        let Ok(trigger) = compile(&stored.definition, version, self.catalog) else { return Ok(None) };
        Ok(Some(self.in_force.keep(key, Arc::new(trigger))))
    }
}
