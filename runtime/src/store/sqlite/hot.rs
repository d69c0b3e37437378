//! The hot path: events with their runs, and what becomes of runs, many in a statement.

use std::collections::HashMap;

use rusqlite::Connection;
use sqlx::sqlite::{LockedSqliteHandle, SqliteConnection};
use triggerd_core::id::{RunId, TenantId};

use super::batch::{Kind, Parameters, statement};
use super::raw::Raw;
use super::rows::{AppendRow, UpdateRow, bind_event, bind_run, bind_update};
use super::work::{Applied, Work};
use super::{fault, idempotency};
use crate::store::{AppendOutcome, Error, Idempotency};

/// One operation of the hot path, with its result once it is applied.
pub(super) enum Hot {
    Append { rows: Vec<AppendRow>, result: Result<Vec<AppendOutcome>, Error> },
    Record { rows: Vec<UpdateRow>, result: Result<Vec<bool>, Error> },
}

impl Hot {
    pub(super) fn append(rows: Vec<AppendRow>) -> Self {
        Self::Append { rows, result: Ok(Vec::new()) }
    }

    pub(super) fn record(rows: Vec<UpdateRow>) -> Self {
        Self::Record { rows, result: Ok(Vec::new()) }
    }

    /// An append's outcome.
    pub(super) fn appended(self) -> Result<Vec<AppendOutcome>, Error> {
        match self {
            Self::Append { result, .. } => result,
            Self::Record { .. } => unreachable!("answered as what it was asked as"),
        }
    }

    /// A record's outcome.
    pub(super) fn recorded(self) -> Result<Vec<bool>, Error> {
        match self {
            Self::Record { result, .. } => result,
            Self::Append { .. } => unreachable!("answered as what it was asked as"),
        }
    }

    fn fail(&mut self, error: Error) {
        match self {
            Self::Append { result, .. } => *result = Err(error),
            Self::Record { result, .. } => *result = Err(error),
        }
    }
}

/// Applies hot operations to the writer's connection.
pub(super) struct Applier {
    raw: Raw,
    next_seq: i64,
}

impl Applier {
    pub(super) async fn of(conn: &mut SqliteConnection) -> Result<Self, Error> {
        let last: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events").fetch_one(&mut *conn).await?;
        Ok(Self { raw: Raw::of(conn).await?, next_seq: last + 1 })
    }

    /// Lets go of the connection, so that it can be closed.
    pub(super) fn end(self, lent: &mut LockedSqliteHandle<'_>) {
        self.raw.end(lent);
    }

    /// Begins a transaction and applies all of `hot`; commits it where asked to. An operation at fault fails alone.
    /// An error leaves the transaction to be rolled back.
    pub(super) fn apply(
        &mut self,
        lent: &mut LockedSqliteHandle<'_>,
        hot: &mut [&mut Hot],
        commit: bool,
    ) -> rusqlite::Result<()> {
        let Self { raw, next_seq } = self;
        let conn = raw.lent(lent);
        run(conn, "BEGIN IMMEDIATE")?;
        match apply_all(conn, next_seq, hot) {
            Err(error) if fault::is_of_one_row(&error) => {
                run(conn, "ROLLBACK")?;
                run(conn, "BEGIN IMMEDIATE")?;
                apply_each(conn, next_seq, hot)?;
            }
            other => other?,
        }
        if commit { run(conn, "COMMIT") } else { Ok(()) }
    }

    /// Undoes what was applied and not committed.
    pub(super) fn roll_back(&self, lent: &mut LockedSqliteHandle<'_>) -> rusqlite::Result<()> {
        let conn = self.raw.lent(lent);
        // SQLite may have rolled back by itself.
        if conn.is_autocommit() { Ok(()) } else { run(conn, "ROLLBACK") }
    }
}

fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.raw_execute().map(drop)
}

/// Rare: somebody's row was refused. Each on its own then, to find out whose.
fn apply_each(conn: &Connection, next_seq: &mut i64, hot: &mut [&mut Hot]) -> rusqlite::Result<()> {
    for op in hot {
        run(conn, "SAVEPOINT op")?;
        match apply_all(conn, next_seq, std::slice::from_mut(op)) {
            Ok(()) => {}
            Err(error) if fault::is_of_one_row(&error) => {
                run(conn, "ROLLBACK TO op")?;
                op.fail(error.into());
            }
            Err(error) => return Err(error),
        }
        run(conn, "RELEASE op")?;
    }
    Ok(())
}

fn apply_all(conn: &Connection, next_seq: &mut i64, hot: &mut [&mut Hot]) -> rusqlite::Result<()> {
    let known = known_keys(conn, hot)?;
    let mut work = Work::default();
    let mut keys = Vec::new();
    let mut outcomes = Vec::new();
    for op in hot.iter() {
        match &**op {
            Hot::Append { rows, .. } => outcomes.push(work.add_appends(rows, &known, &mut keys, next_seq)),
            Hot::Record { rows, .. } => {
                work.add_updates(rows);
                outcomes.push(Vec::new());
            }
        }
    }
    let applied = write(conn, &work)?;
    idempotency::keep(conn, &keys)?;
    let held: Vec<bool> = work.places.iter().map(|(round, id)| applied.holds(*round, *id)).collect();
    let mut held = held.into_iter();
    for (op, outcome) in hot.iter_mut().zip(outcomes) {
        match &mut **op {
            Hot::Append { result, .. } => *result = Ok(outcome),
            Hot::Record { rows, result } => *result = Ok(held.by_ref().take(rows.len()).collect()),
        }
    }
    Ok(())
}

fn write(conn: &Connection, work: &Work<'_>) -> rusqlite::Result<Applied> {
    in_chunks(conn, Kind::Events, &work.events, |(seq, row), out| bind_event(row, *seq, out))?;
    in_chunks(conn, Kind::Runs, &work.runs, |(seq, row, run), out| bind_run(run, *seq, row, out))?;
    let mut applied = Applied::default();
    for round in &work.updates {
        applied.take(in_chunks(conn, Kind::Updates, round, |row, out| bind_update(row, out))?, round.len());
    }
    Ok(applied)
}

/// Writes rows with as few statements as there are for them; answers with the runs that were updated.
fn in_chunks<T>(
    conn: &Connection,
    kind: Kind,
    mut rows: &[T],
    bind: impl Fn(&T, &mut Parameters<'_, '_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<RunId>> {
    let mut ids = Vec::new();
    while !rows.is_empty() {
        let (mut statement, size) = statement(conn, kind, rows.len())?;
        let (now, later) = rows.split_at(size);
        let mut parameters = Parameters::of(&mut statement);
        for row in now {
            bind(row, &mut parameters)?;
        }
        let mut updated = statement.raw_query();
        while let Some(row) = updated.next()? {
            ids.extend(RunId::from_slice(row.get_ref(0)?.as_blob()?));
        }
        rows = later;
    }
    Ok(ids)
}

/// The keys among these operations' that have an answer already.
fn known_keys(conn: &Connection, hot: &[&mut Hot]) -> rusqlite::Result<HashMap<(TenantId, String), Idempotency>> {
    let asked: Vec<&AppendRow> = hot
        .iter()
        .filter_map(|op| match &**op {
            Hot::Append { rows, .. } => Some(rows),
            Hot::Record { .. } => None,
        })
        .flatten()
        .filter(|row| row.idempotency.is_some())
        .collect();
    if asked.is_empty() { Ok(HashMap::new()) } else { idempotency::find_all(conn, &asked) }
}
