//! The trigger definitions in force: stored, compiled, and swapped into the index as one step.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use triggerd_core::catalog::Catalog;
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;
use triggerd_core::mistake::Mistake;

use crate::components::Components;
use crate::store::{self, PutMode, PutOutcome, Store, StoredTrigger};

/// Earlier versions that are kept compiled, for runs that began with them.
const MAX_OLD_VERSIONS: usize = 1024;

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

/// Names one version of one trigger.
type VersionKey = (TenantId, Arc<str>, u32);

/// All definitions of all tenants.
pub struct Definitions {
    store: Store,
    catalog: &'static dyn Catalog,
    components: Arc<Components>,
    index: ArcSwap<Index>,
    /// One change at a time: the index is read, changed and swapped.
    change: tokio::sync::Mutex<()>,
    old: Mutex<HashMap<VersionKey, Arc<Trigger>>>,
}

impl Definitions {
    /// Compiles everything that is stored. A stored definition that no longer compiles (its action type is gone)
    /// is left out of the index and logged; it can still be read and replaced.
    pub async fn load(
        store: Store,
        catalog: &'static dyn Catalog,
        components: Arc<Components>,
    ) -> Result<Self, store::Error> {
        let definitions = Self {
            store,
            catalog,
            components,
            index: ArcSwap::default(),
            change: tokio::sync::Mutex::default(),
            old: Mutex::default(),
        };
        definitions.reload().await?;
        Ok(definitions)
    }

    /// Compiles everything that is stored anew: another node has changed more than it is known what.
    pub async fn reload(&self) -> Result<(), store::Error> {
        let _one_at_a_time = self.change.lock().await;
        let before = self.index.load_full();
        let mut index = Index::clone(&before);
        let mut known = HashSet::new();
        for stored in self.store.triggers_all().await? {
            match self.compile(&stored, &before) {
                Some(trigger) => index = index.with(&stored.tenant, trigger),
                None => index = index.without(&stored.tenant, &stored.tag),
            }
            known.insert((stored.tenant, stored.tag));
        }
        for tenant in before.tenants() {
            let of = |trigger: &Arc<Trigger>| (tenant.clone(), trigger.tag.to_string());
            for gone in before.all(tenant).iter().filter(|t| !is_internal(&t.tag) && !known.contains(&of(t))) {
                index = index.without(tenant, &gone.tag);
            }
        }
        self.index.store(Arc::new(index));
        Ok(())
    }

    /// Reads a trigger anew, which another node has changed or deleted.
    pub async fn refresh(&self, tenant: &TenantId, tag: &str) -> Result<(), store::Error> {
        let _one_at_a_time = self.change.lock().await;
        let before = self.index.load_full();
        let stored = self.store.trigger(tenant, tag).await?;
        let version = |known: &Arc<Trigger>| known.version;
        if before.get(tenant, tag).as_ref().map(version) == stored.as_ref().map(|stored| stored.version) {
            return Ok(());
        }
        self.retire(tenant, tag);
        let trigger = stored.and_then(|stored| self.compile(&stored, &before));
        let index = match trigger {
            Some(trigger) => before.with(tenant, trigger),
            None => before.without(tenant, tag),
        };
        self.index.store(Arc::new(index));
        Ok(())
    }

    /// A stored trigger, compiled, or as it is in force. `None` where it no longer compiles.
    fn compile(&self, stored: &StoredTrigger, before: &Index) -> Option<Arc<Trigger>> {
        if let Some(known) = before.get(&stored.tenant, &stored.tag).filter(|known| known.version == stored.version) {
            return Some(known);
        }
        match compile(&stored.definition, stored.version, self.catalog) {
            Ok(trigger) => Some(Arc::new(trigger)),
            Err(mistakes) => {
                tracing::error!(
                    tenant = %stored.tenant, trigger = %stored.tag, mistake = %mistakes[0],
                    "Trigger {} no longer compiles and is out of force", stored.tag
                );
                None
            }
        }
    }

    /// The index in force, as a snapshot.
    #[must_use]
    pub fn index(&self) -> arc_swap::Guard<Arc<Index>> {
        self.index.load()
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
        let _one_at_a_time = self.change.lock().await;
        let draft = self.check(tenant, &definition).await?;
        let outcome = self.store.put_trigger(tenant, &draft.tag, definition, mode, now).await?;
        match &outcome {
            PutOutcome::Exists => return Err(Error::Exists(draft.tag.to_string())),
            PutOutcome::Unchanged(_) => {}
            PutOutcome::Created(stored) | PutOutcome::Replaced(stored) => {
                self.retire(tenant, &draft.tag);
                let trigger = Arc::new(Trigger { version: stored.version, ..draft });
                self.index.store(Arc::new(self.index.load().with(tenant, trigger)));
            }
        }
        Ok(outcome)
    }

    /// Takes a trigger out of force. Its versions stay readable for the runs that began with them.
    pub async fn delete(&self, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<(), Error> {
        let _one_at_a_time = self.change.lock().await;
        if !self.store.delete_trigger(tenant, tag, now).await? {
            return Err(Error::Absent(format!("trigger `{tag}`")));
        }
        self.retire(tenant, tag);
        self.index.store(Arc::new(self.index.load().without(tenant, tag)));
        Ok(())
    }

    /// Puts triggers in force that this program makes itself, in place of those of these `tags`. They are stored nowhere:
    /// whoever made them makes them again at the next start.
    pub async fn put_internal(&self, tenant: &TenantId, tags: &[String], triggers: Vec<Arc<Trigger>>) {
        let _one_at_a_time = self.change.lock().await;
        let mut index = Index::clone(&self.index.load());
        for tag in tags {
            index = index.without(tenant, tag);
        }
        for trigger in triggers {
            index = index.with(tenant, trigger);
        }
        self.index.store(Arc::new(index));
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
        let current = self.index.load().get(tenant, tag);
        if is_internal(tag) {
            // Of these there is one version: what they do is read from the resource anew each time.
            return Ok(current);
        }
        if let Some(current) = current.filter(|t| t.version == version) {
            return Ok(Some(current));
        }
        let key = (tenant.clone(), tag.clone(), version);
        if let Some(known) = self.old.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let Some(stored) = self.store.trigger_version(tenant, tag, version).await? else { return Ok(None) };
        let Ok(trigger) = compile(&stored.definition, version, self.catalog) else { return Ok(None) };
        Ok(Some(self.keep(key, Arc::new(trigger))))
    }

    /// Keeps the version that is about to go out of force: runs in flight come back for it.
    fn retire(&self, tenant: &TenantId, tag: &str) {
        if let Some(old) = self.index.load().get(tenant, tag) {
            self.keep((tenant.clone(), old.tag.clone(), old.version), old);
        }
    }

    fn keep(&self, key: VersionKey, trigger: Arc<Trigger>) -> Arc<Trigger> {
        let mut old = self.old.lock();
        if old.len() >= MAX_OLD_VERSIONS {
            old.clear();
        }
        old.insert(key, trigger.clone());
        trigger
    }
}
