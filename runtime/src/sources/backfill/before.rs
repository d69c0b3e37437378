//! What the trigger was told of before its backfill began: those rows are not told of again. There may be much of it: it is
//! read a slice at a time, between looks at what is new, and goes on where it stopped.

use std::sync::Arc;

use triggerd_core::event::{Event, Operation};

use super::Backfill;
use crate::sources::task::Task;
use crate::store::{self, Position, TriggerEvents};

/// Where reading begins; `None` where nothing is to be read.
pub(super) async fn beginning(task: &Task<'_>, backfill: &Backfill) -> Result<Option<Position>, store::Error> {
    if backfill.again {
        return Ok(None);
    }
    let trigger = task.app.store.trigger(&task.place.tenant, &backfill.trigger).await?;
    Ok(trigger.map(|trigger| Position::before(trigger.created_at)))
}

/// Notes some of the rows that the trigger ran for since it was made, whether the capture told of them or an earlier backfill;
/// where to go on, if there is more.
pub(super) async fn note(
    task: &Task<'_>,
    backfill: &Backfill,
    after: Position,
) -> Result<Option<Position>, store::Error> {
    let (store, tenant) = (&task.app.store, &task.place.tenant);
    let mut told =
        TriggerEvents { tenant: tenant.clone(), trigger: backfill.trigger.clone(), source: task.place.source(), after };
    let Some(events) = store.events_of_trigger(&mut told).await? else { return Ok(None) };
    let digest = |event: &Arc<Event>| {
        let change = event.change.as_ref().filter(|change| change.operation == Operation::Insert)?;
        let mut tables = backfill.tables.iter();
        tables.find(|table| table.is(change.schema.as_deref(), &change.table))?.digest(&event.record)
    };
    let rows: Vec<_> = events.iter().filter(|event| event.env == backfill.env).filter_map(digest).collect();
    if !rows.is_empty() {
        store.backfill_see(tenant, &backfill.id, rows).await?;
    }
    Ok(Some(told.after))
}
