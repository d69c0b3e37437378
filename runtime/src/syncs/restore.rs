//! A value that was lost, put back by a person: as a new change of the side that lost it, which goes its way as any other.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::sync::Side;

use super::plan::{End, Plan};
use crate::actions::Services;
use crate::databases::{Exchange, Exchanged};
use crate::failed::Failed;
use crate::store::SyncConflict;

/// How often it is tried against others who write the row.
const MAX_TRIES: usize = 20;

/// Writes what `conflict` lost.
pub async fn restore(services: &Arc<Services>, plan: &Plan, conflict: &SyncConflict) -> Result<(), Failed> {
    let side = if conflict.loser == "source" { Side::Source } else { Side::Target };
    let end = plan.end(side).ok_or_else(|| Failed::permanent("SYNC_INVALID", "that side is no table"))?;
    // A row's own value of its key, where it has one; else the text that it is known by.
    let key = end.key_of(&conflict.lost).or_else(|| plan.end(side.other())?.key_of(&conflict.won));
    let key = key.or_else(|| serde_json::from_str(&conflict.key).ok());
    let key: Vec<Value> = key.ok_or_else(|| Failed::permanent("SYNC_INVALID", "the row's key cannot be read"))?;
    for _ in 0..MAX_TRIES {
        let (name, wanted) = (plan.name(&end.database), [key.clone()]);
        let rows = services.databases.rows(name, &end.name, &end.columns, &end.keys, &wanted).await?;
        let put = conflict.lost.as_object().map(|row| as_new(end, row, services.clock.now()));
        if put.is_none() && rows.is_empty() {
            return Ok(());
        }
        let exchange = Exchange {
            table: &end.name,
            columns: &end.columns,
            keys: &end.keys,
            key: &key,
            seen: rows.first(),
            put: put.as_ref(),
            // Not marked: it is a person's change.
            origin: None,
            entry: None,
        };
        let done = services.databases.exchange(name, exchange, Box::new(|_| Box::pin(async { Ok(()) }))).await?;
        if done != Exchanged::Moved {
            return Ok(());
        }
    }
    Err(Failed::transient("SYNC_BUSY", format!("the row {} is changed faster than it can be written", conflict.key)))
}

/// The row, changed now: an older one would be stale at once.
fn as_new(end: &End, row: &Map<String, Value>, now: Timestamp) -> Map<String, Value> {
    let mut row = row.clone();
    let by = end.by.as_ref().and_then(|by| end.table.column(by));
    if let Some(by) = by {
        let value = if by.kind.is_number() { Value::from(now.as_second()) } else { Value::from(now.to_string()) };
        row.insert(by.name.clone(), value);
    }
    row
}
