//! What the node that reads captured databases tells of them, kept for the other nodes: they are asked too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;

use super::Sources;
use crate::app::App;
use crate::store;

/// What is kept, by `DATABASE/ENV`.
const KIND: &str = "capture-told";
/// How often it is kept, where it has changed.
const EVERY: Duration = Duration::from_secs(2);

/// What is kept by now.
type Kept = BTreeMap<(TenantId, String), Value>;

impl Sources {
    /// What is told of the tenant's captured databases, as JSON: on another node than the one that reads, what that one has told last.
    pub async fn shown(&self, app: &App, tenant: &TenantId, database: &str) -> Result<Vec<Value>, store::Error> {
        if self.reads() {
            let told = self.told(tenant, database);
            return Ok(told.iter().map(|(place, told)| told.shown(&place.env)).collect());
        }
        let all = app.store.source_states_of(tenant, KIND).await?.into_iter();
        let own = all.filter(|(key, _)| key.split_once('/').is_some_and(|(of_database, _)| of_database == database));
        Ok(own.map(|(_, told)| told).collect())
    }
}

/// Keeps what this node tells, which reads, of one tenant's databases: now.
pub(super) async fn keep_of(app: &App, tenant: &TenantId) -> Result<(), store::Error> {
    for ((owner, key), told) in &app.sources.all_told() {
        if owner == tenant {
            app.store.put_source_state(tenant, KIND, key, told, app.clock.now()).await?;
        }
    }
    Ok(())
}

/// Keeps what this node tells, which reads, until `stop`.
pub(super) async fn keep(app: Arc<App>, stop: CancellationToken) {
    let mut kept = None;
    while app.store.is_shared() && !stop.is_cancelled() {
        if let Err(error) = keep_now(&app, &mut kept).await {
            tracing::debug!(%error, "Other nodes are not told how captured databases fare: {error}");
            kept = None;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn keep_now(app: &App, kept: &mut Option<Kept>) -> Result<(), store::Error> {
    let before = match kept {
        Some(kept) => kept,
        // What the node has left that read before.
        None => {
            kept.insert(app.store.source_states(KIND).await?.into_iter().map(|(t, k, told)| ((t, k), told)).collect())
        }
    };
    let now = app.sources.all_told();
    for ((tenant, key), told) in now.iter().filter(|(place, told)| before.get(place) != Some(told)) {
        app.store.put_source_state(tenant, KIND, key, told, app.clock.now()).await?;
    }
    for (tenant, key) in before.keys().filter(|place| !now.contains_key(place)) {
        app.store.delete_source_state(tenant, KIND, key).await?;
    }
    *before = now;
    Ok(())
}
