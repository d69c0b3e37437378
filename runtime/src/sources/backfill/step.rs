//! One step of a database's backfills: a page of rows becomes events.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, json};
use triggerd_core::capture::{self, Columns, captures};
use triggerd_core::definition::Trigger;
use triggerd_core::event::Operation;

use super::pace::Pace;
use super::page::{self, Page};
use super::{Backfill, Beside, Progress, State, before};
use crate::connections::sql::{Fault, Session};
use crate::databases;
use crate::resources::Extent;
use crate::sources::accept::{accept, events};
use crate::sources::plan::{Plan, TableName};
use crate::sources::task::Task;
use crate::sources::{Captured, Change};
use crate::store::{self, Position};

/// Reads a page of the first backfill that runs here and does not wait; whether there is more to be read at once. A page that
/// cannot be read just now is the backfill's own problem: the capture goes on, and the backfill later.
pub(in crate::sources) async fn step<B: Beside>(
    task: &Task<'_>,
    plan: &Plan,
    session: &mut Session,
    beside: &mut B,
    pace: &mut Pace,
) -> Result<bool, Fault> {
    let backfills = &task.app.sources.backfills;
    let now = Instant::now();
    let mut running = backfills.running(task.place).into_iter().filter(|b| b.state == State::Running);
    let Some(backfill) = running.find(|backfill| !pace.waits(&backfill.id, now)) else {
        return Ok(false);
    };
    // A rate is one of rows.
    let reads_rows = backfill.history.is_none();
    let room = pace.room(&backfill.id, backfill.rate.filter(|_| reads_rows), now);
    if room == 0 {
        return Ok(false);
    }
    let mut next = Backfill { problem: None, ..Backfill::clone(&backfill) };
    let mut waits = false;
    // What is around the page is the capture's: the connection, the log, the store.
    match advance(task, plan, session, beside, room, &mut next).await? {
        Ok(()) => pace.went_on(&backfill.id),
        Err(fault) if fault.retryable => {
            let ended = Instant::now();
            pace.failed(&backfill.id, ended - now, ended);
            if backfill.problem.as_ref() != Some(&fault.message) {
                let (trigger, database) = (&backfill.trigger, &backfill.database);
                tracing::warn!(
                    trigger,
                    database,
                    code = fault.code,
                    "The backfill of trigger {trigger} over {database} waits: {fault}"
                );
            }
            next.problem = Some(fault.message);
            waits = true;
        }
        Err(fault) => {
            next.state = State::Failed;
            next.problem = Some(fault.message);
        }
    }
    if next == *backfill {
        return Ok(false);
    }
    if !next.state.is_open() {
        next.ended_at = Some(task.app.clock.now());
    }
    let kept = backfills.advance(task.app, &task.place.tenant, &backfill, &next).await.map_err(of_store)?;
    let is_over = kept.as_ref().is_none_or(|kept| kept.id != next.id || !kept.state.is_open());
    if is_over {
        task.app.store.backfill_forget(&task.place.tenant, &next.id).await.map_err(of_store)?;
    }
    if kept.is_some_and(|kept| kept == next) && is_over {
        tracing::info!(
            trigger = next.trigger,
            database = next.database,
            "The backfill of trigger {} over {} has ended: {}",
            next.trigger,
            next.database,
            next.problem.as_deref().unwrap_or("all rows were read")
        );
    }
    Ok((backfill.rate.is_none() || !reads_rows) && !waits)
}

/// The fault within is the backfill's own.
async fn advance<B: Beside>(
    task: &Task<'_>,
    plan: &Plan,
    session: &mut Session,
    beside: &mut B,
    room: usize,
    next: &mut Backfill,
) -> Result<Result<(), Fault>, Fault> {
    let trigger = task.app.definitions.index().get(&task.place.tenant, &next.trigger);
    let Some(trigger) = trigger.filter(|trigger| captures(trigger, &next.database, &next.env)) else {
        let message = format!("the trigger `{}` does not capture this database any more", next.trigger);
        return Ok(Err(Fault::permanent("NOT_FOUND", message)));
    };
    if next.tables.is_empty() {
        // Not before inserts are noted.
        return Ok(Ok(()));
    }
    if let Some((accepted_at, seq)) = next.history {
        // Before the first page; what is told of from now on is noted anyway.
        let after = before::note(task, next, Position { accepted_at, seq }).await.map_err(of_store)?;
        next.history = after.map(|after| (after.accepted_at, after.seq));
        return Ok(Ok(()));
    }
    let columns = if plan.capture.columns == Extent::All { Columns::All } else { Columns::of(&trigger) };
    let (id, started_at) = (next.id.clone(), next.started_at);
    let Some(progress) = next.tables.iter_mut().find(|table| !table.done) else {
        next.state = State::Done;
        return Ok(Ok(()));
    };
    let page = match page::read(session, beside, progress, &columns, room).await? {
        Ok(Some(page)) => page,
        Ok(None) => return Ok(Ok(())),
        Err(fault) => return Ok(Err(fault)),
    };
    let Page { rows, seen, is_last } = page;
    if !beside.tell(session, seen).await? {
        return Ok(Ok(()));
    }
    let digests: Vec<_> = rows.iter().map(|row| progress.digest(&row.record)).collect();
    let known: Vec<_> = digests.iter().flatten().copied().collect();
    let told_of = task.app.store.backfill_seen(&task.place.tenant, &id, &known).await.map_err(of_store)?;
    let mut changes = Vec::with_capacity(rows.len());
    let mut left_out = 0;
    let after = rows.last().map(|row| row.key.clone());
    for (row, digest) in rows.into_iter().zip(digests) {
        if digest.is_some_and(|digest| told_of.contains(&digest)) {
            left_out += 1;
        } else {
            let mut context = Map::from_iter([("backfill".to_owned(), id.clone().into())]);
            row.unread.note(&mut context);
            changes.push(Captured {
                key: format!("backfill/{id}/{}", json!([progress.schema, progress.name, row.key])),
                change: Change::Row {
                    operation: Operation::Insert,
                    schema: progress.schema.clone(),
                    table: progress.name.clone(),
                    record: row.record,
                    previous: serde_json::Value::Null,
                },
                at: started_at,
                transaction: None,
                user: serde_json::Value::Null,
                context,
                origin: None,
            });
        }
    }
    let count = changes.len() as u64;
    // The same page may have been taken before, where the process ended in between.
    let events = events(task.app, task.place, changes);
    match accept(task.app, task.place, events, true, Some(trigger.tag.clone()), task.stop).await {
        Ok(true) => {}
        Ok(false) => return Err(Fault::unavailable("the server is shutting down")),
        Err(refused) => return Ok(Err(refused)),
    }
    progress.after = after.or(progress.after.take());
    progress.rows += count;
    progress.left_out += left_out;
    progress.done = is_last;
    Ok(Ok(()))
}

/// Looks up the tables of backfills that were begun just now: from then on inserts are noted. To be called before anything new
/// is told of. Whether there was one.
pub(in crate::sources) async fn prepare(
    task: &Task<'_>,
    plan: &Plan,
    tables: &[TableName],
    session: &mut Session,
) -> Result<bool, Fault> {
    let mut prepared = false;
    for backfill in task.app.sources.backfills.running(task.place).into_iter().filter(|b| b.tables.is_empty()) {
        // Begun together with its trigger, which nothing matches before it is there.
        let Some(trigger) = task.app.definitions.index().get(&task.place.tenant, &backfill.trigger) else { continue };
        // Nor before its tables are captured: a backfill that another node has begun may be known before the plan is.
        let planned = |known: &Arc<Trigger>| known.tag == trigger.tag && known.version == trigger.version;
        if captures(&trigger, &backfill.database, &backfill.env) && !plan.triggers.iter().any(planned) {
            continue;
        }
        let mut next = Backfill::clone(&backfill);
        match of_trigger(&trigger, &next, tables, session).await {
            Ok(found) if found.is_empty() => {
                next.state = State::Failed;
                next.problem = Some("the trigger reacts to inserts into none of the tables there are".to_owned());
            }
            Ok(found) => {
                next.tables = found;
                let history = before::beginning(task, &next).await.map_err(of_store)?;
                next.history = history.map(|from| (from.accepted_at, from.seq));
            }
            Err(fault) if fault.gone || fault.retryable => return Err(fault),
            Err(fault) => {
                next.state = State::Failed;
                next.problem = Some(fault.message);
            }
        }
        next.ended_at = (next.state == State::Failed).then(|| task.app.clock.now());
        let backfills = &task.app.sources.backfills;
        backfills.advance(task.app, &task.place.tenant, &backfill, &next).await.map_err(of_store)?;
        prepared = true;
    }
    Ok(prepared)
}

/// The tables whose inserts the trigger reacts to.
async fn of_trigger(
    trigger: &Trigger,
    backfill: &Backfill,
    tables: &[TableName],
    session: &mut Session,
) -> Result<Vec<Progress>, Fault> {
    let mut found = Vec::new();
    for (schema, name) in tables {
        let wanted = capture::wanted([trigger], &backfill.database, &backfill.env, schema.as_deref(), name);
        if wanted.insert.is_none() {
            continue;
        }
        let table = databases::table_in(session, schema.as_deref(), name).await?;
        let key: Vec<String> = table.primary_key().iter().map(|column| column.name.clone()).collect();
        if key.is_empty() {
            let message = format!("table `{name}` has no primary key to go by; give it one");
            return Err(Fault::permanent("DB_NO_KEY", message));
        }
        found.push(Progress {
            schema: schema.clone(),
            name: name.clone(),
            key,
            after: None,
            done: false,
            rows: 0,
            left_out: 0,
        });
    }
    Ok(found)
}

/// Notes which rows the capture tells a backfill's trigger of, for the backfills that are not over: before it forgets them where
/// they come from. A row whose insert the trigger does not take may be one for it later.
pub(in crate::sources) async fn note(task: &Task<'_>, changes: &[Captured]) -> Result<(), Fault> {
    for backfill in task.app.sources.backfills.running(task.place) {
        let trigger = task.app.definitions.index().get(&task.place.tenant, &backfill.trigger);
        let Some(trigger) = trigger else { continue };
        let takes = |captured: &Captured| {
            let event = captured.clone().into_event(task.place, task.app.clock.now());
            trigger.matched(&event).is_some()
        };
        let digest = |captured: &Captured| {
            let Change::Row { operation: Operation::Insert, schema, table, record, .. } = &captured.change else {
                return None;
            };
            let mut tables = backfill.tables.iter().filter(|progress| !progress.done);
            let progress = tables.find(|progress| progress.is(schema.as_deref(), table))?;
            takes(captured).then(|| progress.digest(record))?
        };
        let rows: Vec<_> = changes.iter().filter_map(digest).collect();
        if !rows.is_empty() {
            task.app.store.backfill_see(&task.place.tenant, &backfill.id, rows).await.map_err(of_store)?;
        }
    }
    Ok(())
}

fn of_store(error: store::Error) -> Fault {
    Fault::unavailable(error.to_string())
}
