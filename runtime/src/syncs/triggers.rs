//! The triggers that a sync stands for: for each table that it watches one for changed rows, and one for TRUNCATE. They are
//! made of its settings whenever those change, are in no list, and their tags (`sync:TAG:source`) are nobody else's, since
//! tags hold no colon.

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

/// What the triggers' only action is called.
pub const ACTION: &str = "apply";
/// Its type.
pub const TYPE: &str = "sync.apply";
/// How often an attempt is made: an outage of an hour or so ends no run.
const MAX_ATTEMPTS: u32 = 100;
/// How long one row may take, in milliseconds.
const ROW_TIMEOUT: u64 = 60_000;
/// How long all rows of an emptied table may take at a time; the next attempt goes on where this one ended.
const TABLE_TIMEOUT: u64 = 3_600_000;

/// What one of the triggers watches.
#[derive(Clone, Copy)]
struct Watch {
    side: Side,
    /// TRUNCATE, not changed rows.
    truncate: bool,
}

const WATCHES: [Watch; 4] = [
    Watch { side: Side::Source, truncate: false },
    Watch { side: Side::Target, truncate: false },
    Watch { side: Side::Source, truncate: true },
    Watch { side: Side::Target, truncate: true },
];

/// Puts a sync in force as its settings say by now, or out of force where it is gone.
pub async fn install(definitions: &Definitions, resources: &Resources, tenant: &TenantId, tag: &str) {
    let version = resources.get(tenant, "syncs", tag).map_or(1, |stored| stored.version);
    let triggers = match resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV) {
        None => Vec::new(),
        Some(Ok(found)) => {
            WATCHES.into_iter().filter_map(|watch| trigger(&found.settings, tag, version, watch)).collect()
        }
        Some(Err(failure)) => {
            tracing::error!(%tenant, sync = tag, "Sync {tag} is out of force: {}", failure.message);
            Vec::new()
        }
    };
    let tags = WATCHES.map(|watch| watch.tag(tag));
    definitions.put_internal(tenant, &tags, triggers).await;
}

/// The tag of the sync that a trigger stands for; `None` where it is none of ours.
#[must_use]
pub fn sync_of(trigger: &str) -> Option<&str> {
    watch_of(trigger).map(|(tag, _)| tag)
}

fn watch_of(trigger: &str) -> Option<(&str, Watch)> {
    let tag = trigger.split(':').nth(1)?;
    WATCHES.into_iter().find(|watch| watch.tag(tag) == trigger).map(|watch| (tag, watch))
}

/// Whether nobody wants what the runs of a trigger of ours would do, which is out of force: its sync was deleted, or does
/// not watch that table any more. A sync that is out of force for its mistakes still wants it.
#[must_use]
pub fn is_abandoned(resources: &Resources, tenant: &TenantId, trigger: &str) -> bool {
    let Some((tag, watch)) = watch_of(trigger) else { return false };
    match resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV) {
        None => true,
        Some(Ok(found)) => watch.table(&found.settings).is_none(),
        Some(Err(_)) => false,
    }
}

impl Watch {
    fn tag(self, sync: &str) -> String {
        format!("sync:{sync}:{}{}", self.side.as_str(), if self.truncate { ":truncate" } else { "" })
    }

    /// The table that is watched, where it is.
    fn table(self, sync: &SyncSettings) -> Option<SyncTable> {
        // What is only ever added to loses nothing.
        if self.truncate && sync.mode == SyncMode::Append {
            return None;
        }
        match self.side {
            Side::Source => Some(sync.source.clone()),
            Side::Target if sync.both_ways() => sync.target_table(),
            Side::Target => None,
        }
    }
}

fn trigger(sync: &SyncSettings, tag: &str, version: u32, watch: Watch) -> Option<Arc<Trigger>> {
    let watched = watch.table(sync)?;
    // Changes tell their schema apart from their table.
    let table = watched.table.rsplit_once('.').map_or(watched.table.as_str(), |(_, table)| table);
    let events: &[&str] = match (watch.truncate, sync.mode) {
        // TRUNCATE is no change event of the language, but it has a type; which table is meant, `tables` says.
        (true, _) => &["**.truncated"],
        (false, SyncMode::Mirror) => &["afterInsert", "afterUpdate", "afterDelete"],
        (false, SyncMode::Append) => &["afterInsert"],
    };
    let timeout = if watch.truncate { TABLE_TIMEOUT } else { ROW_TIMEOUT };
    let mut definition = json!({
        "tag": "sync", "name": format!("Sync {tag}"), "enabled": sync.enabled, "priority": 1000,
        "database": watched.database, "tables": [table], "events": events,
        "condition": {"field": "metadata.origin", "operator": "NOT_EQUALS", "value": super::origin(tag)},
        "actions": [{
            "name": ACTION, "type": TYPE, "config": {"sync": tag, "side": watch.side.as_str()}, "timeout": timeout,
            "retry": {"maxAttempts": MAX_ATTEMPTS, "initialDelay": 200, "maxDelay": 60_000, "backoffMultiplier": 2},
        }],
    });
    if let Some(env) = &sync.env {
        definition["env"] = json!(env);
    }
    match compile(&definition, version, &Internal) {
        Ok(trigger) => Some(Arc::new(Trigger { tag: Arc::from(watch.tag(tag)), ..trigger })),
        Err(mistakes) => {
            tracing::error!(sync = tag, "Sync {tag} is out of force: {}", mistakes[0]);
            None
        }
    }
}
