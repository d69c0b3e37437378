//! Reading definitions: everything at start, and what other nodes have changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use triggerd_core::catalog::Catalog;
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;
use triggerd_core::index::Index;

use super::change::Queue;
use super::in_force::InForce;
use super::{Definitions, is_internal};
use crate::components::Components;
use crate::store::{self, Store, StoredTrigger};

/// Definitions that are read, and compiled, at a time: what a start takes of memory beyond what it keeps.
const PAGE: u32 = 1000;
/// Definitions that are read anew while changes wait.
const ANEW: usize = 200;

impl Definitions {
    /// Compiles everything that is stored. A stored definition that no longer compiles (its action type is gone)
    /// is left out of the index and logged; it can still be read and replaced.
    pub async fn load(
        store: Store,
        catalog: &'static dyn Catalog,
        components: Arc<Components>,
    ) -> Result<Self, store::Error> {
        let in_force = Arc::new(InForce::default());
        let mut index = Index::default();
        // A page is read while the one before is compiled, on all cores.
        let mut compiling = None;
        let mut pages = Pages::of(&store);
        loop {
            let page = pages.next().await?;
            let ended = page.is_none();
            let next = page.map(|page| tokio::task::spawn_blocking(move || compile_page(&page, catalog)));
            if let Some(before) = std::mem::replace(&mut compiling, next) {
                let compiled = before.await.map_err(|e| store::Error::Unavailable(format!("compiling: {e}")))?;
                compiled.into_iter().for_each(|(tenant, trigger)| index.put(&tenant, trigger));
            }
            if ended {
                break;
            }
        }
        in_force.publish(|published| *published = index);
        let changes = Arc::new(Queue::new(store.clone()));
        Ok(Self { store, catalog, components, in_force, changes })
    }

    /// Looks through everything that is stored: another node has changed more than it is known what. What differs from
    /// what is in force is read anew.
    pub async fn reload(&self) -> Result<(), store::Error> {
        let before = self.index().clone();
        let (mut other, mut known) = (Vec::new(), HashMap::<TenantId, HashSet<String>>::new());
        let mut pages = Pages::of(&self.store);
        while let Some(page) = pages.next().await? {
            for stored in page {
                let found = before.get(&stored.tenant, &stored.tag).map(|trigger| trigger.version);
                if found != Some(stored.version) {
                    other.push((stored.tenant.clone(), stored.tag.clone()));
                }
                known.entry(stored.tenant).or_default().insert(stored.tag);
            }
        }
        for tenant in before.tenants() {
            let stored = known.get(tenant);
            let is_gone = |tag: &str| !is_internal(tag) && stored.is_none_or(|tags| !tags.contains(tag));
            let gone = before.all(tenant).into_iter().filter(|trigger| is_gone(&trigger.tag));
            other.extend(gone.map(|trigger| (tenant.clone(), trigger.tag.to_string())));
        }
        self.refresh_all(&other).await
    }

    /// Reads a trigger anew, which another node has changed or deleted.
    pub async fn refresh(&self, tenant: &TenantId, tag: &str) -> Result<(), store::Error> {
        self.refresh_all(&[(tenant.clone(), tag.to_owned())]).await
    }

    /// Reads triggers anew.
    pub async fn refresh_all(&self, named: &[(TenantId, String)]) -> Result<(), store::Error> {
        for named in named.chunks(ANEW) {
            let _one_at_a_time = self.changes.pause().await;
            let stored = self.store.triggers_of(named).await?;
            let mut stored: HashMap<_, _> =
                stored.into_iter().map(|stored| ((stored.tenant.clone(), stored.tag.clone()), stored)).collect();
            let before = self.index().clone();
            let other: Vec<_> = named
                .iter()
                .map(|key| (key, stored.remove(key)))
                .filter(|((tenant, tag), stored)| {
                    let known = before.get(tenant, tag).map(|trigger| trigger.version);
                    known != stored.as_ref().map(|stored| stored.version)
                })
                .map(|(key, stored)| (key, stored.and_then(|stored| compiled(&stored, self.catalog))))
                .collect();
            if other.is_empty() {
                continue;
            }
            self.in_force.publish(|index| {
                for ((tenant, tag), trigger) in other {
                    self.in_force.retire(tenant, tag);
                    match trigger {
                        Some(trigger) => index.put(tenant, trigger),
                        None => index.remove(tenant, tag),
                    }
                }
            });
        }
        Ok(())
    }
}

/// Everything that is stored, page by page.
struct Pages<'s> {
    store: &'s Store,
    after: Option<(TenantId, String)>,
}

impl<'s> Pages<'s> {
    fn of(store: &'s Store) -> Self {
        Self { store, after: None }
    }

    /// `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<StoredTrigger>>, store::Error> {
        let page = self.store.triggers_page(self.after.take(), PAGE).await?;
        self.after = page.last().map(|last| (last.tenant.clone(), last.tag.clone()));
        Ok((!page.is_empty()).then_some(page))
    }
}

/// Compiles a page, a part on each core.
fn compile_page(page: &[StoredTrigger], catalog: &dyn Catalog) -> Vec<(TenantId, Arc<Trigger>)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |part: &[StoredTrigger]| -> Vec<_> {
        let each = part.iter().filter_map(|stored| Some((stored.tenant.clone(), compiled(stored, catalog)?)));
        each.collect()
    };
    let mut parts = page.chunks(page.len().div_ceil(cores).max(1));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| one(part))).collect();
        let mut all = one(own);
        for other in others {
            match other.join() {
                Ok(compiled) => all.extend(compiled),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// A stored trigger, compiled. `None` where it no longer compiles.
fn compiled(stored: &StoredTrigger, catalog: &dyn Catalog) -> Option<Arc<Trigger>> {
    match compile(&stored.definition, stored.version, catalog) {
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
