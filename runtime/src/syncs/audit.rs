//! The entry that is made for each change that is carried over, and for each that is not.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::catalog::Place;
use triggerd_core::id::DeliveryId;
use triggerd_core::sync::{Reason, Side};
use triggerd_core::template::{Scope, TemplatedConfig};
use uuid::Uuid;

use super::mapping::{invalid, told};
use super::plan::Plan;
use crate::failed::Failed;

/// What an entry is about.
pub struct Entry<'a> {
    /// Its id: templates that draw chance draw it from here.
    pub id: Uuid,
    /// The row's key.
    pub key: &'a [Value],
    /// The row: as it is now, or was before it was deleted; as the side that it comes from has it.
    pub row: &'a Value,
    /// Which side it comes from.
    pub from: Side,
    /// Which side was written; that side's value is what was not carried over, where `lost` says so.
    pub to: Side,
    /// The row was deleted.
    pub deleted: bool,
    /// A value is lost.
    pub lost: Option<Reason>,
    /// When the change was made.
    pub source_time: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The row that is entered; `None` where no audit is wanted.
pub fn row(plan: &Plan, entry: &Entry<'_>) -> Result<Option<Map<String, Value>>, Failed> {
    let Some(audit) = &plan.sync().audit else { return Ok(None) };
    let table = &plan.source.table.name;
    let action = match entry.lost {
        Some(Reason::Stale) => "sync_skipped_stale_data".to_owned(),
        Some(Reason::Conflict) => "sync_conflict_resolved".to_owned(),
        None => audit.action.clone().unwrap_or_else(|| format!("{table}_synced")),
    };
    let outcome = match (entry.lost, entry.deleted) {
        (Some(Reason::Stale), _) => "skipped_stale",
        (Some(Reason::Conflict), _) => "conflict",
        (None, true) => "deleted",
        (None, false) => "synced",
    };
    let metadata = json!({
        "sync": plan.tag, "sync_direction": plan.direction(entry.to), "outcome": outcome, "action": action,
        "source_timestamp": entry.source_time.to_string(), "key": key_shown(entry.key), "table": table,
    });
    let columns = audit.columns.clone().unwrap_or_else(defaults);
    let mut mistakes = Vec::new();
    let compiled =
        TemplatedConfig::compile(&Value::Object(columns), "/audit/columns", &|_| Place::Plain, &mut mistakes);
    let Some(compiled) = compiled else { return Err(invalid(mistakes[0].to_string())) };
    let Value::Object(metadata) = metadata else { return Ok(None) };
    let end = plan.end(entry.from).unwrap_or(&plan.source);
    let event = told(&plan.tenant, &plan.env, (&end.database, &end.table.name), entry.row, metadata, entry.now);
    let scope = Scope { delivery_id: Some(DeliveryId(entry.id)), ..Scope::of_event(&event, &plan.tag, entry.now) };
    let rendered = compiled.render(&scope, false);
    match rendered.map_err(|mistake| Failed::permanent("TEMPLATE", format!("/audit/columns{mistake}")))?.config {
        Value::Object(row) => Ok(Some(row)),
        _ => Ok(None),
    }
}

/// One part alone, or the parts with commas.
fn key_shown(key: &[Value]) -> Value {
    match key {
        [one] => one.clone(),
        parts => Value::String(
            parts
                .iter()
                .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(","),
        ),
    }
}

/// The columns of an entry whose settings name none.
fn defaults() -> Map<String, Value> {
    let columns = json!({
        "timestamp": "{{timestamp}}", "actor": "triggerd", "actor_type": "sync", "action": "{{metadata.action}}",
        "resource_type": "{{metadata.table}}", "resource_id": "{{metadata.key}}",
        "metadata": {
            "sync": "{{metadata.sync}}", "sync_direction": "{{metadata.sync_direction}}", "outcome": "{{metadata.outcome}}",
            "source_timestamp": "{{metadata.source_timestamp}}",
        },
        "severity": "debug",
    });
    match columns {
        Value::Object(columns) => columns,
        _ => Map::new(),
    }
}
