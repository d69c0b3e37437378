//! What the trigger was told of before its backfill began: those rows are not told of again.

use std::sync::Arc;

use triggerd_core::event::{Event, Operation};

use super::Backfill;
use crate::sources::task::Task;
use crate::store::{self, Position, TriggerEvents};

/// Notes the rows that the trigger ran for since it was made, whether the capture told of them or an earlier backfill.
pub(super) async fn note(task: &Task<'_>, backfill: &Backfill) -> Result<(), store::Error> {
    let (store, tenant) = (&task.app.store, &task.place.tenant);
    let trigger = if backfill.again { None } else { store.trigger(tenant, &backfill.trigger).await? };
    let Some(trigger) = trigger else { return Ok(()) };
    let mut told = TriggerEvents {
        tenant: tenant.clone(),
        trigger: backfill.trigger.clone(),
        source: task.place.source(),
        after: Position::before(trigger.created_at),
    };
    while let Some(events) = store.events_of_trigger(&mut told).await? {
        let digest = |event: &Arc<Event>| {
            let change = event.change.as_ref().filter(|change| change.operation == Operation::Insert)?;
            let mut tables = backfill.tables.iter();
            tables.find(|table| table.is(change.schema.as_deref(), &change.table))?.digest(&event.record)
        };
        let rows: Vec<_> = events.iter().filter(|event| event.env == backfill.env).filter_map(digest).collect();
        if !rows.is_empty() {
            store.backfill_see(tenant, &backfill.id, rows).await?;
        }
    }
    Ok(())
}
