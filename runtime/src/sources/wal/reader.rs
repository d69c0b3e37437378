//! Reading the log: changes become events, and the server is told what it may forget once those are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use triggerd_core::event::Operation;

use super::beside::BesideLog;
use super::{Batch, Names, Status as Slot, Stream, Wanted, WantedTable, remove, status};
use crate::connections::sql::{Fault, Session};
use crate::resources::Extent;
use crate::sources::accept::{accept, events};
use crate::sources::backfill::{self, Pace};
use crate::sources::change::digest;
use crate::sources::outbox;
use crate::sources::plan::{Plan, TableName, shown};
use crate::sources::task::{End, Task};
use crate::sources::{Captured, Found, Place, State};

/// Changes that are kept in one commit, at most.
const MAX_BATCH: usize = 1000;
/// The longest wait for a change: plans and the end are looked at in between.
const WAIT: Duration = Duration::from_millis(200);
/// The pause after a few changes, so that those that follow at once are kept together: each commit is a sync of the disk.
const GATHER: Duration = Duration::from_millis(10);
/// How often new tables and the slot's size are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// The slot and the publications of a database, named after who captures it: one cluster may be captured by several.
pub fn names(owner: &str, place: &Place) -> Names {
    let digest = digest([owner, &place.tenant.0, &place.database, &place.env]);
    Names::of(&format!("triggerd_{}", hex::encode(&digest[..8])))
}

/// Reads until something ends it; a fault means that the connection is of no more use.
pub async fn run(task: &Task<'_>, plans: &mut watch::Receiver<Arc<Plan>>) -> Result<End, Fault> {
    let plan = plans.borrow_and_update().clone();
    let pool = task.app.services.resources.connections().sql.clone();
    let names = names(task.owner, task.place);
    let mut session = pool.single(&plan.server).await?;
    if plan.is_idle() {
        remove(&mut session, &names).await?;
        return Ok(End::Nothing);
    }
    let tables = outbox::tables(&mut session, &plan.capture.outbox).await?;
    let wanted = wanted(&plan, task.place, &tables);
    let mut stream = Stream::open(&pool, &plan.server, &names, &wanted).await?;
    // What triggers wrote before is taken, and they are taken away, now that the log is kept.
    let was_outbox = outbox::leave(task, &plan).await?;
    if task.known && stream.is_new() && !was_outbox {
        tracing::error!(
            tenant = %task.place.tenant, database = task.place.database,
            "The slot {} of database {} was gone: what changed since it was read last is not captured; a backfill with \
             `again` makes up for it", names.slot, task.place.database
        );
    }
    tell(task, &plan, &wanted, &stream, &tables);
    let mut looked = Instant::now();
    let mut doubtful = true;
    let (mut pace, mut more) = (Pace::default(), false);
    loop {
        let batch = tokio::select! {
            () = task.stop.cancelled() => return Ok(End::Stopped),
            batch = stream.next(MAX_BATCH, if more { Duration::ZERO } else { WAIT }) => batch?,
        };
        let count = batch.changes.len();
        backfill::prepare(task, &plan, &tables, &mut session).await?;
        let again = task.app.sources.backfills.is_fresh(task.place).then(|| batch.changes.clone());
        if !take(task, &plan, &mut stream, batch, doubtful).await? {
            return Ok(End::Stopped);
        }
        doubtful = false;
        if let Some(changes) = again
            && backfill::prepare(task, &plan, &tables, &mut session).await?
        {
            // One whose trigger came while these were kept may have been told of them.
            backfill::note(task, &changes).await?;
        }
        if !more && (1..MAX_BATCH / 2).contains(&count) {
            tokio::time::sleep(GATHER).await;
        }
        let mut beside = BesideLog::new(task, &plan, &mut stream);
        more = backfill::step(task, &plan, &mut session, &mut beside, &mut pace).await?;
        if !beside.finish().await? {
            return Ok(End::Stopped);
        }
        if plans.has_changed().unwrap_or(true) {
            return Ok(End::Changed);
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if outbox::tables(&mut session, &plan.capture.outbox).await? != tables {
                return Ok(End::Changed);
            }
            watch_slot(task, &plan, &mut session, &names).await?;
        }
    }
}

/// Keeps what a batch brought, and lets the server forget it; `false` where the end came first.
async fn take(task: &Task<'_>, plan: &Plan, stream: &mut Stream, batch: Batch, doubtful: bool) -> Result<bool, Fault> {
    told_of_refused(task, &batch.refused);
    backfill::note(task, &batch.changes).await?;
    if !keep(task, plan, batch.changes, doubtful).await? {
        return Ok(false);
    }
    stream.confirm(batch.upto).await?;
    Ok(true)
}

pub(super) fn told_of_refused(task: &Task<'_>, refused: &[String]) {
    for refused in refused {
        tracing::warn!(database = task.place.database, "Not taken from the log of {}: {refused}", task.place.database);
    }
}

/// Keeps the changes; `false` where the end came first.
pub(super) async fn keep(task: &Task<'_>, plan: &Plan, changes: Vec<Captured>, doubtful: bool) -> Result<bool, Fault> {
    let mut events = events(task.app, task.place, changes);
    if plan.capture.rows == Extent::Wanted {
        let index = task.app.definitions.index();
        // The application's own events are nobody's row.
        events.retain(|event| event.change.is_none() || !index.matches(event).is_empty());
    }
    let Some(last) = events.last().map(|event| event.timestamp) else { return Ok(true) };
    let count = events.len();
    if !accept(task.app, task.place, events, doubtful, None, task.stop).await? {
        return Ok(false);
    }
    task.status.captured(&task.place.database, count, last, task.app.clock.now());
    Ok(true)
}

fn wanted(plan: &Plan, place: &Place, tables: &[TableName]) -> Wanted {
    let of_table = |((schema, name), wanted): (TableName, triggerd_core::capture::Wanted)| WantedTable {
        schema,
        name,
        insert: wanted.of(Operation::Insert).is_some(),
        update: wanted.of(Operation::Update).is_some(),
        delete: wanted.of(Operation::Delete).is_some(),
        truncate: wanted.truncate,
    };
    Wanted { tables: plan.wanted(place, tables).into_iter().map(of_table).collect() }
}

/// Says what is captured, and what is not.
fn tell(task: &Task<'_>, plan: &Plan, wanted: &Wanted, stream: &Stream, tables: &[TableName]) {
    let mut states: Vec<State> = wanted
        .tables
        .iter()
        .map(|table| {
            let operations = [
                ("insert", table.insert),
                ("update", table.update),
                ("delete", table.delete),
                ("truncate", table.truncate),
            ];
            State {
                table: shown(table.schema.as_deref(), &table.name),
                operations: operations.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect(),
                found: Found::Good,
            }
        })
        .collect();
    states.extend(outbox::missing(plan, tables));
    task.status.runs(plan.generation, states);
    let problems: Vec<&str> = stream.problems().iter().map(|problem| problem.sentence.as_str()).collect();
    if !problems.is_empty() {
        let told = problems.join("; ");
        tracing::warn!(database = task.place.database, "The log of {} is read, but: {told}", task.place.database);
        task.status.warns(told);
    }
}

/// A slot whose reader is behind keeps the log, and fills the server's disk.
async fn watch_slot(task: &Task<'_>, plan: &Plan, session: &mut Session, names: &Names) -> Result<(), Fault> {
    let Some(Slot { retained_bytes, .. }) = status(session, names).await? else { return Ok(()) };
    metrics::gauge!("triggerd_capture_retained_bytes", "database" => task.place.database.clone())
        .set(retained_bytes as f64);
    let limit = u64::from(plan.capture.alarm_mebibytes) << 20;
    if retained_bytes > limit {
        let told = format!(
            "the server keeps {} MiB of its log for the slot {}, more than `capture.alarmMebibytes`; bound it with \
             max_slot_wal_keep_size",
            retained_bytes >> 20,
            names.slot
        );
        tracing::error!(database = task.place.database, "Database {}: {told}", task.place.database);
        task.status.warns(told);
    }
    Ok(())
}
