//! The hot path: events with their runs, and what becomes of runs, many in a statement.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Either, Executor, Row};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::Progress;

use super::batch::{Kind, LARGEST_JOINED, Parameters, Shape, Texts, size_for};
use super::{fault, idempotency};
use crate::clock::Clock;
use crate::store::{Append, AppendOutcome, Error, Idempotency, NewRun, RunNext, RunUpdate};

/// Bits of a run's `seq` that count the runs of one event.
const RUN_BITS: u32 = 18;
/// Runs of one event, at most.
const MAX_RUNS: usize = 1 << RUN_BITS;

/// The first and the last `seq` that runs of an event can have.
pub(super) fn run_range(event_seq: i64) -> (i64, i64) {
    (
        event_seq << RUN_BITS,
        (event_seq << RUN_BITS) | (MAX_RUNS as i64 - 1),
    )
}

/// An event as a row, made in its caller's task: the writer only binds.
pub(super) struct AppendRow {
    id: EventId,
    tenant: TenantId,
    // Shared texts are bound without another copy.
    event_type: Arc<str>,
    source: Option<Arc<str>>,
    table: Option<Arc<str>>,
    accepted_at: i64,
    crc: u32,
    body: Arc<str>,
    runs: Vec<NewRun>,
    pub(super) idempotency: Option<Idempotency>,
}

impl AppendRow {
    pub(super) fn of(append: Append) -> Result<Self, Error> {
        let event: &Event = &append.event;
        if append.runs.len() > MAX_RUNS {
            return Err(Error::Conflict(format!(
                "an event makes {MAX_RUNS} runs at most, not {}",
                append.runs.len()
            )));
        }
        let body = serde_json::to_string(event)
            .map_err(|e| Error::Conflict(format!("event {}: {e}", event.id)))?;
        Ok(Self {
            id: event.id,
            tenant: event.tenant.clone(),
            event_type: event.event_type.as_str().into(),
            source: event.source.as_deref().map(Arc::from),
            table: event.table().map(Arc::from),
            accepted_at: event.accepted_at.as_millisecond(),
            crc: crc32fast::hash(body.as_bytes()),
            body: body.into(),
            runs: append.runs,
            idempotency: append.idempotency,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.len() + 256 + 256 * self.runs.len()
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn accepted_at(&self) -> i64 {
        self.accepted_at
    }

    fn bind(&self, seq: i64, out: &mut Parameters) {
        out.push(seq);
        out.push(self.id.as_bytes().as_slice());
        out.push(self.tenant.0.clone());
        out.push(self.event_type.clone());
        out.push(self.source.clone());
        out.push(self.table.clone());
        out.push(self.accepted_at);
        out.push(self.runs.len() as i64);
        out.push(i64::from(self.crc));
        out.push(self.body.clone());
    }
}

/// Binds a new run as a row of [`Kind::Runs`].
pub(super) fn bind_run(
    run: &NewRun,
    seq: i64,
    tenant: &TenantId,
    created_at: i64,
    due: i64,
    out: &mut Parameters,
) {
    out.push(seq);
    out.push(run.id.as_bytes().as_slice());
    out.push(tenant.0.clone());
    out.push(run.trigger.clone());
    out.push(i64::from(run.version));
    out.push(i64::from(run.lease_until.is_some()));
    out.push(run.lease_until.map_or(due, |t| t.as_millisecond()));
    out.push(run.queue.as_deref());
    out.push(run.ordering_key.as_deref());
    out.push(created_at);
}

/// A run's state as [`Kind::Updates`] takes it: a number, which needs no allocation.
#[derive(Clone, Copy)]
enum State {
    Pending,
    Running,
    Delivered,
    Failed,
}

/// A holder's report as a row, made in its caller's task.
pub(super) struct UpdateRow {
    id: RunId,
    epoch: i64,
    state: State,
    due: Option<i64>,
    queue: Option<String>,
    progress: Arc<str>,
    attempts: i64,
    last_attempt: Option<i64>,
    error: Option<(String, String)>,
    finished: Option<i64>,
}

impl UpdateRow {
    pub(super) fn of(update: RunUpdate, clock: &Clock) -> Result<Self, Error> {
        let progress = serde_json::to_string(&*update.progress)
            .map_err(|e| Error::Conflict(format!("progress of run {}: {e}", update.id)))?;
        let (attempts, last_attempt) = tally(&update.progress);
        let mut row = Self {
            id: update.id,
            epoch: update.epoch,
            state: State::Running,
            due: None,
            queue: None,
            progress: progress.into(),
            attempts,
            last_attempt,
            error: None,
            finished: None,
        };
        match update.next {
            RunNext::Hold(until) => row.due = Some(until.as_millisecond()),
            RunNext::Release { due, queue } => {
                (row.state, row.due, row.queue) =
                    (State::Pending, Some(due.as_millisecond()), queue);
            }
            RunNext::Delivered => {
                (row.state, row.finished) = (State::Delivered, Some(clock.now_ms()))
            }
            RunNext::Failed { code, message } => {
                (row.state, row.finished, row.error) =
                    (State::Failed, Some(clock.now_ms()), Some((code, message)));
            }
        }
        Ok(row)
    }

    pub(super) fn bytes(&self) -> usize {
        self.progress.len() + 256
    }

    fn bind(&self, out: &mut Parameters) {
        out.push(self.id.as_bytes().as_slice());
        out.push(self.epoch);
        out.push(self.state as i64);
        out.push(self.due);
        out.push(self.queue.as_deref());
        out.push(self.progress.clone());
        out.push(self.attempts);
        out.push(self.last_attempt);
        out.push(self.error.as_ref().map(|(code, _)| code.as_str()));
        out.push(self.error.as_ref().map(|(_, message)| message.as_str()));
        out.push(self.finished);
    }
}

/// How many attempts there were, and when the last of them ended.
pub(super) fn tally(progress: &Progress) -> (i64, Option<i64>) {
    let ended = |a: &triggerd_core::run::Attempt| {
        a.started_at
            .as_millisecond()
            .saturating_add(i64::try_from(a.duration_ms).unwrap_or(i64::MAX))
    };
    let attempts = progress
        .actions
        .iter()
        .map(|a| i64::from(a.last_attempt()))
        .sum();
    let last = progress
        .actions
        .iter()
        .flat_map(|a| &a.attempts)
        .map(ended)
        .max();
    (attempts, last)
}

/// One operation of the hot path, with its result once it is applied.
pub(super) enum Hot {
    Append {
        rows: Vec<AppendRow>,
        result: Result<Vec<AppendOutcome>, Error>,
    },
    Record {
        rows: Vec<UpdateRow>,
        result: Result<Vec<bool>, Error>,
    },
}

impl Hot {
    pub(super) fn append(rows: Vec<AppendRow>) -> Self {
        Self::Append {
            rows,
            result: Ok(Vec::new()),
        }
    }

    pub(super) fn record(rows: Vec<UpdateRow>) -> Self {
        Self::Record {
            rows,
            result: Ok(Vec::new()),
        }
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
        let last: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events")
            .fetch_one(conn)
            .await?;
        Ok(Self {
            next_seq: last + 1,
            texts: Texts::default(),
        })
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
            match self
                .apply_all(conn, std::slice::from_mut(op), false, false)
                .await
            {
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
        let mut work = Rows::default();
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
        let held: Vec<bool> = work
            .places
            .iter()
            .map(|(round, id)| applied.holds(*round, *id))
            .collect();
        let mut held = held.into_iter();
        for (op, outcome) in hot.iter_mut().zip(outcomes) {
            match &mut **op {
                Hot::Append { result, .. } => *result = Ok(outcome),
                Hot::Record { rows, result } => {
                    *result = Ok(held.by_ref().take(rows.len()).collect())
                }
            }
        }
        Ok(())
    }

    async fn run(
        &mut self,
        conn: &mut SqliteConnection,
        work: &Rows<'_>,
        keys: Option<idempotency::Rows>,
        begin: bool,
        commit: bool,
    ) -> Result<Applied, sqlx::Error> {
        let mut applied = Applied::default();
        if keys.is_none()
            && let Some(statements) = work.joined()
        {
            let shape = Shape {
                begin,
                statements,
                commit,
            };
            let ids = self.send(conn, work, shape, [0; 3]).await?;
            applied.take(ids, work.updates.first());
            return Ok(applied);
        }
        if begin {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        }
        self.run_in_chunks(conn, Kind::Events, work, work.events.len())
            .await?;
        self.run_in_chunks(conn, Kind::Runs, work, work.runs.len())
            .await?;
        for round in 0..work.updates.len() {
            let part = Rows {
                updates: vec![work.updates[round].clone()],
                ..Rows::default()
            };
            let ids = self
                .run_in_chunks(conn, Kind::Updates, &part, part.updates[0].len())
                .await?;
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
        work: &Rows<'_>,
        rows: usize,
    ) -> Result<Vec<RunId>, sqlx::Error> {
        let mut done = 0;
        let mut ids = Vec::new();
        while done < rows {
            let size = size_for(rows - done);
            let shape = Shape {
                begin: false,
                statements: vec![(kind, size)],
                commit: false,
            };
            ids.extend(self.send(conn, work, shape, [done; 3]).await?);
            done += size;
        }
        Ok(ids)
    }

    /// Sends one text with the rows from `from` on; answers with the runs that were updated.
    async fn send(
        &mut self,
        conn: &mut SqliteConnection,
        work: &Rows<'_>,
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
    if asked.is_empty() {
        Ok(HashMap::new())
    } else {
        idempotency::find_all(conn, &asked).await
    }
}

/// The rows of many operations, table by table.
#[derive(Default)]
struct Rows<'a> {
    events: Vec<(i64, &'a AppendRow)>,
    runs: Vec<(i64, &'a AppendRow, &'a NewRun)>,
    /// A second report on the same run waits for the next round: one statement changes a row once.
    updates: Vec<Vec<&'a UpdateRow>>,
    /// In which round each update is, in the order they came.
    places: Vec<(usize, RunId)>,
    seen: HashMap<RunId, usize>,
}

impl<'a> Rows<'a> {
    fn add_appends(
        &mut self,
        rows: &'a [AppendRow],
        known: &HashMap<(TenantId, String), Idempotency>,
        keys: &mut Vec<(&'a TenantId, &'a Idempotency)>,
        next_seq: &mut i64,
    ) -> Vec<AppendOutcome> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(answer) = &row.idempotency {
                let first = known.get(&(row.tenant.clone(), answer.key.clone()));
                let in_group = || {
                    keys.iter()
                        .find(|(t, i)| **t == row.tenant && i.key == answer.key)
                        .map(|(_, i)| *i)
                };
                if let Some(first) = first.or_else(in_group) {
                    outcomes.push(AppendOutcome::Replayed(first.clone()));
                    continue;
                }
                keys.push((&row.tenant, answer));
            }
            let seq = *next_seq;
            *next_seq += 1;
            self.events.push((seq, row));
            self.runs.extend(
                row.runs
                    .iter()
                    .enumerate()
                    .map(|(n, run)| ((seq << RUN_BITS) | n as i64, row, run)),
            );
            outcomes.push(AppendOutcome::Kept);
        }
        outcomes
    }

    fn add_updates(&mut self, rows: &'a [UpdateRow]) {
        for row in rows {
            let round = self.seen.entry(row.id).and_modify(|n| *n += 1).or_insert(0);
            if self.updates.len() == *round {
                self.updates.push(Vec::new());
            }
            self.updates[*round].push(row);
            self.places.push((*round, row.id));
        }
    }

    /// The statements of one text that holds everything, where one can.
    fn joined(&self) -> Option<Vec<(Kind, usize)>> {
        if self.updates.len() > 1 {
            return None;
        }
        let updates = self.updates.first().map_or(0, Vec::len);
        let counts = [
            (Kind::Events, self.events.len()),
            (Kind::Runs, self.runs.len()),
            (Kind::Updates, updates),
        ];
        if counts.iter().any(|(_, n)| *n > LARGEST_JOINED) {
            return None;
        }
        Some(
            counts
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(kind, n)| (*kind, size_for(*n)))
                .collect(),
        )
    }

    /// Binds up to `size` rows from `from` on; answers with how many there were.
    fn bind(&self, kind: Kind, from: usize, size: usize, out: &mut Parameters) -> usize {
        match kind {
            Kind::Events => self.events[from..]
                .iter()
                .take(size)
                .map(|(seq, row)| row.bind(*seq, out))
                .count(),
            Kind::Runs => self.runs[from..]
                .iter()
                .take(size)
                .map(|(seq, row, run)| {
                    bind_run(
                        run,
                        *seq,
                        &row.tenant,
                        row.accepted_at,
                        row.accepted_at,
                        out,
                    )
                })
                .count(),
            Kind::Updates => self.updates[0][from..]
                .iter()
                .take(size)
                .map(|row| row.bind(out))
                .count(),
        }
    }
}

/// Which updates took effect, by round.
#[derive(Default)]
struct Applied(Vec<Option<HashSet<RunId>>>);

impl Applied {
    fn take(&mut self, ids: Vec<RunId>, asked: Option<&Vec<&UpdateRow>>) {
        // Nearly always nobody is fenced, and there is nothing to look up.
        let all = asked.is_some_and(|rows| rows.len() == ids.len());
        self.0.push(if all {
            None
        } else {
            Some(ids.into_iter().collect())
        });
    }

    fn holds(&self, round: usize, id: RunId) -> bool {
        self.0
            .get(round)
            .is_some_and(|ids| ids.as_ref().is_none_or(|ids| ids.contains(&id)))
    }
}
