//! What nodes that share a store must have in common: the admin key, or an operator is let in here and not there, and the master
//! key, or one node cannot open what another has sealed.
//!
//! The store remembers what names each key, never the key. A key that this node has made for itself, where others have another, is
//! refused with what to do.

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;

use crate::config::Config;
use crate::resources::Seals;
use crate::store::{self, Store};

const KIND: &str = "node";
const ADMIN_KEY: &str = "admin-key";
const MASTER_KEY: &str = "master-key";

/// Compares this node's keys with those of the others; the first node's are what the others are to have.
pub async fn agree(store: &Store, config: &Config, admin: &str, seals: &Seals, now: Timestamp) -> Result<()> {
    let known = Known { store, tenant: TenantId::new(TenantId::DEFAULT), now };
    match known.of(ADMIN_KEY).await? {
        Some(theirs) if theirs == admin => {}
        // Whoever sets it decides; the other nodes are told the same when they are restarted.
        Some(_) if config.access.admin_key.is_none() => bail!(
            "the nodes of this store have another admin key than the one in {}: set TRIGGERD_ADMIN_KEY to theirs, or copy their \
             admin.key there",
            config.data_dir().display()
        ),
        _ => known.put(ADMIN_KEY, admin).await?,
    }
    match known.of(MASTER_KEY).await? {
        Some(theirs) if theirs == seals.key => {}
        Some(theirs) if !seals.previous.contains(&theirs) => bail!(
            "what the nodes of this store have sealed was sealed with another master key ({theirs}) than this node's ({}): set \
             TRIGGERD_MASTER_KEY to theirs, or copy their master.key to {}",
            seals.key,
            config.data_dir().display()
        ),
        _ => known.put(MASTER_KEY, &seals.key).await?,
    }
    Ok(())
}

struct Known<'a> {
    store: &'a Store,
    tenant: TenantId,
    now: Timestamp,
}

impl Known<'_> {
    async fn of(&self, key: &str) -> Result<Option<String>, store::Error> {
        let found = self.store.source_state(&self.tenant, KIND, key).await?;
        Ok(found.and_then(|value| value.get("id").and_then(Value::as_str).map(str::to_owned)))
    }

    async fn put(&self, key: &str, id: &str) -> Result<(), store::Error> {
        self.store.put_source_state(&self.tenant, KIND, key, &json!({ "id": id }), self.now).await
    }
}
