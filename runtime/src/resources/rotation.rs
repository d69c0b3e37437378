//! Rotating the master key while the server works: everything that is sealed is sealed anew, some at a time.
//!
//! Before the first value is sealed with the new key, that key is where the next start finds it, and the old one stays
//! beside it until nothing needs it. A crash in the middle leaves values of both keys, which both open; asking for the
//! rotation again goes on with the rest. Versions and times of resources do not change, nor do connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Key, Resources, sealing};
use crate::secrets;
use crate::store::{self, Resealed, StoredResource};

/// Resources sealed anew in one transaction.
const BATCH: usize = 100;

/// What a rotation did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rotated {
    /// The name of the key that seals from now on.
    pub key: String,
    /// Resources that were sealed anew.
    pub resealed: usize,
    /// `TENANT/KIND/TAG` of those that no known key opens. They are as they were, and so are the keys.
    pub unreadable: Vec<String>,
}

/// Which keys seal what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Seals {
    /// The name of the current key.
    pub key: String,
    /// The names of those before it that are still known.
    pub previous: Vec<String>,
    /// Resources that hold something sealed with another key than the current one.
    pub outdated: usize,
}

/// Why a rotation was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Another one is under way.
    #[error("another rotation is under way")]
    UnderWay,
    /// The key is this node's file, and others could not open what it would seal.
    #[error(
        "several nodes may share this store, and the master key is a file of this node: set TRIGGERD_MASTER_KEY to a new key and \
         TRIGGERD_MASTER_KEY_PREVIOUS to the present one on all of them"
    )]
    OfThisNode,
    /// The key cannot be kept.
    #[error(transparent)]
    Key(#[from] secrets::Error),
    /// The store failed; what was sealed anew until then stays so.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Resources {
    /// Makes a new master key, where it is the data directory's, and seals everything with the current one.
    pub async fn rotate(&self) -> Result<Rotated, RotationError> {
        let _one_at_a_time = self.rotating.try_lock().map_err(|_| RotationError::UnderWay)?;
        let outdated = self.begin().await?;
        let mut resealed = 0;
        for batch in outdated.chunks(BATCH) {
            resealed += self.reseal(batch).await?;
            // Between the batches the store's writer and other changes have their turn.
            tokio::task::yield_now().await;
        }
        let unreadable = self.outdated().into_iter().map(|((tenant, kind, tag), _)| format!("{tenant}/{kind}/{tag}"));
        let unreadable: Vec<String> = unreadable.collect();
        if unreadable.is_empty() {
            self.vault.end_rotation()?;
        }
        tracing::info!(resealed, unreadable = unreadable.len(), "Sealed {resealed} resources with the master key anew");
        Ok(Rotated { key: self.vault.current(), resealed, unreadable })
    }

    /// Makes the new key and seals the first `limit` resources with it: as far as a rotation comes that is cut off.
    pub async fn rotate_in_part(&self, limit: usize) -> Result<usize, RotationError> {
        let _one_at_a_time = self.rotating.try_lock().map_err(|_| RotationError::UnderWay)?;
        let outdated = self.begin().await?;
        self.reseal(&outdated[..outdated.len().min(limit)]).await
    }

    /// Which keys seal what.
    #[must_use]
    pub fn seals(&self) -> Seals {
        Seals { key: self.vault.current(), previous: self.vault.previous(), outdated: self.outdated().len() }
    }

    /// What the current key is still to seal. Whoever changes a resource from here on seals with that key.
    async fn begin(&self) -> Result<Vec<Key>, RotationError> {
        if self.store.is_shared() && self.vault.is_generated() {
            return Err(RotationError::OfThisNode);
        }
        let _no_change = self.changing.lock().await;
        self.vault.begin_rotation()?;
        Ok(self.outdated().into_iter().map(|(key, _)| key).collect())
    }

    /// Seals some resources anew; how many. Those that do not open are passed over.
    async fn reseal(&self, keys: &[Key]) -> Result<usize, RotationError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut batch: BTreeMap<Key, Arc<StoredResource>> = BTreeMap::new();
        for key in keys {
            let Some(known) = self.stored(&key.0, key.1, &key.2) else { continue };
            let Ok(Some(settings)) = sealing::reseal(&self.vault, &key.0, key.1, &known) else { continue };
            batch.insert(key.clone(), Arc::new(StoredResource { settings, ..(*known).clone() }));
        }
        let rows = batch.iter().map(|((tenant, ..), known)| Resealed {
            tenant: tenant.clone(),
            kind: known.kind.clone(),
            tag: known.tag.clone(),
            version: known.version,
            settings: known.settings.clone(),
        });
        self.store.reseal_resources(rows.collect()).await?;
        let done = batch.len();
        self.change(|all| all.extend(batch));
        Ok(done)
    }

    fn outdated(&self) -> Vec<(Key, Arc<StoredResource>)> {
        let all = self.snapshot.load();
        let outdated = all.iter().filter(|(_, known)| !sealing::is_current(&self.vault, &known.settings));
        outdated.map(|(key, known)| (key.clone(), known.clone())).collect()
    }
}
