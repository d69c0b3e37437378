//! How a sync fares.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use triggerd_core::event::DEFAULT_ENV;
use triggerd_core::id::TenantId;
use triggerd_core::sync::Side;

use super::plan::Plan;
use crate::actions::Services;
use crate::resources::SyncSettings;
use crate::store;

const HOUR: Duration = Duration::from_secs(3600);

/// What is wrong with it: `None` where there is no such sync.
pub async fn problems(services: &Arc<Services>, tenant: &TenantId, tag: &str) -> Option<Vec<String>> {
    let settings = services.resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV)?;
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => return Some(vec![failure.message]),
    };
    // Asked anew: what was remembered may be what is wrong.
    let plan = match Plan::make(services, tenant, tag, settings).await {
        Ok(plan) => plan,
        Err(failed) => return Some(vec![failed.failure.message]),
    };
    let mut found = Vec::new();
    for end in [Some(&plan.source), plan.target.as_ref()].into_iter().flatten() {
        let primary: Vec<&str> = end.table.primary_key().iter().map(|column| column.name.as_str()).collect();
        let (database, table) = (&end.database, end.table.qualified());
        if primary.is_empty() {
            found.push(format!("{database}: table `{table}` has no primary key: two rows may have the same key there"));
        } else if primary.len() != end.keys.len() || !primary.iter().all(|name| end.keys.iter().any(|key| key == name))
        {
            let keys = end.keys.join(", ");
            found.push(format!("{database}: `{keys}` is not the primary key of table `{table}`: it must be unique"));
        }
    }
    if let Some(audit) = &plan.sync().audit
        && let Err(failed) = services.databases.table(plan.name(&audit.database), &audit.table).await
    {
        found.push(format!("audit: {}", failed.failure.message));
    }
    for component in plan.sync().components() {
        if let Err(failure) = services.components.resolve(tenant, component).await {
            found.push(failure.message);
        }
    }
    Some(found)
}

/// Everything that is known of it; `None` where there is no such sync.
pub async fn status(services: &Arc<Services>, tenant: &TenantId, tag: &str) -> Result<Option<Value>, store::Error> {
    let Some(problems) = problems(services, tenant, tag).await else { return Ok(None) };
    let now = services.clock.now();
    let since = now.saturating_sub(HOUR).unwrap_or(now);
    let recent = services.store.sync_conflicts_since(tenant, tag, since).await?;
    let (_, conflicts) = services.store.sync_conflicts(tenant, tag, None, 1).await?;
    let rows = services.store.sync_count(tenant, tag).await?;
    let mut shown = services
        .syncs
        .told
        .lock()
        .get(&(tenant.clone(), tag.to_owned()))
        .map_or_else(|| super::told::Told::default().shown(now), |told| told.shown(now));
    let settings = services.resources.resolve::<SyncSettings>(tenant, "syncs", tag, DEFAULT_ENV);
    if let (Some(Ok(settings)), Some(shown)) = (settings, shown.as_object_mut()) {
        let sync = &settings.settings;
        shown.insert("enabled".into(), json!(sync.enabled));
        shown.insert("both_ways".into(), json!(sync.both_ways()));
        shown.insert("source".into(), json!({"database": sync.source.database, "table": sync.source.table}));
        let target = match sync.target_table() {
            Some(target) => json!({"database": target.database, "table": target.table}),
            None => json!("http"),
        };
        shown.insert(Side::Target.as_str().into(), target);
        shown.insert("rows".into(), json!(rows));
        shown.insert("conflicts".into(), json!(conflicts));
        shown.insert("conflicts_last_hour".into(), json!(recent));
        shown.insert("problems".into(), json!(problems));
    }
    Ok(Some(shown))
}
