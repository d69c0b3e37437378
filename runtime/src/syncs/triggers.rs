//! The triggers that a sync stands for: one for each table that it watches. They are made of its settings whenever those
//! change, are in no list, and their tags (`sync:TAG:source`) are nobody else's, since tags hold no colon.

use std::sync::Arc;

use serde_json::json;
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;
use triggerd_core::sync::Side;

use crate::actions::Internal;
use crate::definitions::Definitions;
use crate::resources::{Resources, SyncMode, SyncSettings, SyncTable};

/// How often an attempt is made: an outage of an hour or so ends no run.
const MAX_ATTEMPTS: u32 = 100;

/// Puts every tenant's syncs in force.
pub async fn install_all(definitions: &Definitions, resources: &Resources) {
    for (tenant, tag, _) in resources.everywhere("syncs") {
        install(definitions, resources, &tenant, &tag).await;
    }
}

/// Puts a sync in force as its settings say by now, or out of force where it is gone.
pub async fn install(definitions: &Definitions, resources: &Resources, tenant: &TenantId, tag: &str) {
    let version = resources.get(tenant, "syncs", tag).map_or(1, |stored| stored.version);
    let triggers = match resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV) {
        None => Vec::new(),
        Some(Ok(found)) => [Side::Source, Side::Target]
            .into_iter()
            .filter_map(|side| trigger(&found.settings, tag, version, side))
            .collect(),
        Some(Err(failure)) => {
            tracing::error!(%tenant, sync = tag, "Sync {tag} is out of force: {}", failure.message);
            Vec::new()
        }
    };
    let tags = [trigger_tag(tag, Side::Source), trigger_tag(tag, Side::Target)];
    definitions.put_internal(tenant, &tags, triggers).await;
}

/// The tag of a side's trigger.
#[must_use]
pub fn trigger_tag(tag: &str, side: Side) -> String {
    format!("sync:{tag}:{}", side.as_str())
}

fn trigger(sync: &SyncSettings, tag: &str, version: u32, side: Side) -> Option<Arc<Trigger>> {
    let watched: SyncTable = match side {
        Side::Source => sync.source.clone(),
        Side::Target if sync.both_ways() => sync.target_table()?,
        Side::Target => return None,
    };
    // Changes tell their schema apart from their table.
    let table = watched.table.rsplit_once('.').map_or(watched.table.as_str(), |(_, table)| table);
    let events: &[&str] = match sync.mode {
        SyncMode::Mirror => &["afterInsert", "afterUpdate", "afterDelete"],
        SyncMode::Append => &["afterInsert"],
    };
    let mut definition = json!({
        "tag": "sync", "name": format!("Sync {tag}"), "enabled": sync.enabled, "priority": 1000,
        "database": watched.database, "tables": [table], "events": events,
        "condition": {"field": "metadata.origin", "operator": "NOT_EQUALS", "value": super::origin(tag)},
        "actions": [{
            "name": "apply", "type": "sync.apply", "config": {"sync": tag, "side": side.as_str()}, "timeout": 60_000,
            "retry": {"maxAttempts": MAX_ATTEMPTS, "initialDelay": 200, "maxDelay": 60_000, "backoffMultiplier": 2},
        }],
    });
    if let Some(env) = &sync.env {
        definition["env"] = json!(env);
    }
    match compile(&definition, version, &Internal) {
        Ok(trigger) => Some(Arc::new(Trigger { tag: Arc::from(trigger_tag(tag, side)), ..trigger })),
        Err(mistakes) => {
            tracing::error!(sync = tag, "Sync {tag} is out of force: {}", mistakes[0]);
            None
        }
    }
}
