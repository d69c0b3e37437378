//! The hot path: events with their runs, and what becomes of runs, many in a statement.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Either, Executor, Row};
use triggerd_core::id::{RunId, TenantId};

use super::batch::{Kind, Parameters, Shape, Texts, size_for};
use super::rows::{AppendRow, UpdateRow};
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
    next_seq: i64,
    texts: Texts,
}

impl Applier {
    pub(super) async fn of(conn: &mut SqliteConnection) -> Result<Self, Error> {
        let last: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events").fetch_one(conn).await?;
        Ok(Self { next_seq: last + 1, texts: Texts::default() })
    }

    /// Begins a transaction and applies all of `hot`; commits it where asked to. An operation at fault fails alone.
    /// An error leaves the transaction to be rolled back.
    pub(super) async fn apply(
        &mut self,
        conn: &mut SqliteConnection,
        hot: &mut [&mut Hot],
        commit: bool,
    ) -> Result<(), sqlx::Error> {
        match self.apply_all(conn, hot, true, commit).await {
            Err(error) if fault::is_of_one_row(&error) => {}
            other => return other,
        }
        // Rare: somebody's row was refused. Each on its own then, to find out whose.
        sqlx::query("ROLLBACK").execute(&mut *conn).await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        for op in hot {
            sqlx::query("SAVEPOINT op").execute(&mut *conn).await?;
            match self.apply_all(conn, std::slice::from_mut(op), false, false).await {
                Ok(()) => {}
                Err(error) if fault::is_of_one_row(&error) => {
                    sqlx::query("ROLLBACK TO op").execute(&mut *conn).await?;
                    op.fail(error.into());
                }
                Err(error) => return Err(error),
            }
            sqlx::query("RELEASE op").execute(&mut *conn).await?;
        }
        if commit {
            sqlx::query("COMMIT").execute(&mut *conn).await?;
        }
        Ok(())
    }

    async fn apply_all(
        &mut self,
        conn: &mut SqliteConnection,
        hot: &mut [&mut Hot],
        begin: bool,
        commit: bool,
    ) -> Result<(), sqlx::Error> {
        // Before the transaction: nobody else writes, so that what is read here stays so.
        let known = known_keys(conn, hot).await?;
        let mut work = Work::default();
        let mut keys = Vec::new();
        let mut outcomes = Vec::new();
        for op in hot.iter() {
            match &**op {
                Hot::Append { rows, .. } => {
                    outcomes.push(work.add_appends(rows, &known, &mut keys, &mut self.next_seq))
                }
                Hot::Record { rows, .. } => {
                    work.add_updates(rows);
                    outcomes.push(Vec::new());
                }
            }
        }
        let kept = idempotency::Rows::of(&keys);
        let applied = self.run(conn, &work, kept, begin, commit).await?;
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

    async fn run(
        &mut self,
        conn: &mut SqliteConnection,
        work: &Work<'_>,
        keys: Option<idempotency::Rows>,
        begin: bool,
        commit: bool,
    ) -> Result<Applied, sqlx::Error> {
        let mut applied = Applied::default();
        if keys.is_none()
            && let Some(statements) = work.joined()
        {
            let shape = Shape { begin, statements, commit };
            let ids = self.send(conn, work, shape, [0; 3]).await?;
            applied.take(ids, work.updates.first());
            return Ok(applied);
        }
        if begin {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        }
        self.run_in_chunks(conn, Kind::Events, work, work.events.len()).await?;
        self.run_in_chunks(conn, Kind::Runs, work, work.runs.len()).await?;
        for round in 0..work.updates.len() {
            let part = work.round(round);
            let ids = self.run_in_chunks(conn, Kind::Updates, &part, part.updates[0].len()).await?;
            applied.take(ids, part.updates.first());
        }
        if let Some(keys) = keys {
            keys.keep(conn).await?;
        }
        if commit {
            sqlx::query("COMMIT").execute(&mut *conn).await?;
        }
        Ok(applied)
    }

    async fn run_in_chunks(
        &mut self,
        conn: &mut SqliteConnection,
        kind: Kind,
        work: &Work<'_>,
        rows: usize,
    ) -> Result<Vec<RunId>, sqlx::Error> {
        let mut done = 0;
        let mut ids = Vec::new();
        while done < rows {
            let size = size_for(rows - done);
            let shape = Shape { begin: false, statements: vec![(kind, size)], commit: false };
            ids.extend(self.send(conn, work, shape, [done; 3]).await?);
            done += size;
        }
        Ok(ids)
    }

    /// Sends one text with the rows from `from` on; answers with the runs that were updated.
    async fn send(
        &mut self,
        conn: &mut SqliteConnection,
        work: &Work<'_>,
        shape: Shape,
        from: [usize; 3],
    ) -> Result<Vec<RunId>, sqlx::Error> {
        let mut parameters = Parameters::default();
        parameters.reserve(&shape.statements);
        for (kind, size) in &shape.statements {
            let bound = work.bind(*kind, from[*kind as usize], *size, &mut parameters);
            parameters.pad(*kind, size - bound);
        }
        let text = self.texts.of(shape);
        let query = sqlx::query_with(AssertSqlSafe(text), parameters.into_inner());
        let mut answers = conn.fetch_many(query);
        let mut ids = Vec::new();
        while let Some(answer) = answers.try_next().await? {
            if let Either::Right(row) = answer {
                ids.extend(RunId::from_slice(row.try_get(0)?));
            }
        }
        Ok(ids)
    }
}

/// The keys among these operations' that have an answer already.
async fn known_keys(
    conn: &mut SqliteConnection,
    hot: &[&mut Hot],
) -> Result<HashMap<(TenantId, String), Idempotency>, sqlx::Error> {
    let asked: Vec<&AppendRow> = hot
        .iter()
        .filter_map(|op| match &**op {
            Hot::Append { rows, .. } => Some(rows),
            Hot::Record { .. } => None,
        })
        .flatten()
        .filter(|row| row.idempotency.is_some())
        .collect();
    if asked.is_empty() { Ok(HashMap::new()) } else { idempotency::find_all(conn, &asked).await }
}
