//! The writer: one thread that owns the one connection that writes, and commits what is asked for in groups.
//!
//! While a group's commit waits for the disk the next group gathers in the queue; nothing waits for a timer. An answer
//! leaves only after the commit that holds its write.
//!
//! A group is one transaction: first its appends and records (`hot.rs`, a statement for many rows), then its calls,
//! each in a savepoint. Where a row is refused (a constraint), its operation fails alone. Where the disk fails, the group
//! is rolled back and every operation of it is `Unavailable`; the next group begins afresh, so the store recovers as
//! soon as there is space. After a failed sync it does not: what the system still holds of what was written is unknown
//! then, and only a restart, which reads the log back, can tell.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{self, Checkpoint};
use super::fault::{self, Fault};
use super::hot::Hot;
use super::open::{close, closed};
use super::rows::{AppendRow, UpdateRow};
use crate::store::{AppendOutcome, Error};

/// Operations of one group, at most.
const GROUP_OPS: usize = 1024;
/// Bytes of one group, about.
const GROUP_BYTES: usize = 8 << 20;
/// A log with nothing more to come is checkpointed after this long.
const IDLE: Duration = Duration::from_secs(2);

/// To whom an operation's result goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer can be asked for.
pub(super) enum Op {
    Append {
        rows: Vec<AppendRow>,
        answer: Answer<Vec<AppendOutcome>>,
    },
    Record {
        rows: Vec<UpdateRow>,
        answer: Answer<Vec<bool>>,
    },
    Call {
        call: Box<dyn Work>,
        savepoint: bool,
    },
    /// Empty the log; `false` where a reader kept it from being emptied.
    Empty(Answer<bool>),
    Close(Answer<()>),
}

/// Anything else that is to be written.
pub(super) trait Work: Send {
    /// Does it and keeps the result. Only an error of the disk is handed up.
    fn run<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Done>;
    /// Answers, after the commit or its failure.
    fn answer(self: Box<Self>, group: Result<(), Error>);
}

/// How a call ended.
pub(super) enum Done {
    Well,
    /// It is to be undone, alone.
    Refused,
    /// The group is lost.
    Lost(Error),
}

/// A closure as [`Work`].
pub(super) struct Call<F, T> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    answer: Answer<T>,
}

impl<F, T> Call<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    pub(super) fn boxed(work: F, answer: Answer<T>) -> Box<dyn Work> {
        Box::new(Self { work: Some(work), result: None, answer })
    }
}

impl<F, T> Work for Call<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
{
    fn run<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Done> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return Done::Refused;
            };
            let result = work(conn).await;
            let done = match &result {
                Ok(_) => Done::Well,
                Err(Error::Unavailable(why)) => Done::Lost(Error::Unavailable(why.clone())),
                Err(_) => Done::Refused,
            };
            self.result = Some(result);
            done
        })
    }

    fn answer(self: Box<Self>, group: Result<(), Error>) {
        let Self { result, answer, .. } = *self;
        let result = group.and_then(|()| result.unwrap_or_else(|| Err(closed())));
        // The caller may have gone; its write stays.
        let _ = answer.send(result);
    }
}

/// What one transaction holds.
#[derive(Default)]
struct Group {
    hot: Vec<(Hot, HotAnswer)>,
    calls: Vec<(Box<dyn Work>, bool)>,
    emptying: Option<Answer<bool>>,
    closing: Option<Answer<()>>,
    bytes: usize,
}

/// To whom a hot operation's result goes.
enum HotAnswer {
    Append(Answer<Vec<AppendOutcome>>),
    Record(Answer<Vec<bool>>),
}

impl Group {
    fn add(&mut self, op: Op) -> ControlFlow<()> {
        match op {
            Op::Append { rows, answer } => {
                self.bytes += rows.iter().map(AppendRow::bytes).sum::<usize>();
                self.hot.push((Hot::append(rows), HotAnswer::Append(answer)));
            }
            Op::Record { rows, answer } => {
                self.bytes += rows.iter().map(UpdateRow::bytes).sum::<usize>();
                self.hot.push((Hot::record(rows), HotAnswer::Record(answer)));
            }
            Op::Call { call, savepoint } => {
                self.bytes += 256;
                self.calls.push((call, savepoint));
            }
            Op::Empty(answer) => {
                self.emptying = Some(answer);
                return ControlFlow::Break(());
            }
            Op::Close(answer) => {
                self.closing = Some(answer);
                return ControlFlow::Break(());
            }
        }
        let ops = self.hot.len() + self.calls.len();
        if ops >= GROUP_OPS || self.bytes >= GROUP_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether it is of the hot path alone.
    fn is_hot(&self) -> bool {
        self.calls.is_empty() && self.emptying.is_none() && self.closing.is_none()
    }

    fn answer(self, group: Result<(), Error>) {
        for (hot, answer) in self.hot {
            match answer {
                HotAnswer::Append(answer) => drop(answer.send(group.clone().and_then(|()| hot.appended()))),
                HotAnswer::Record(answer) => drop(answer.send(group.clone().and_then(|()| hot.recorded()))),
            }
        }
        for (call, _) in self.calls {
            call.answer(group.clone());
        }
    }
}

/// What came of waiting for a group.
enum Gathered {
    Group(Group),
    /// Nothing was asked for, for as long as was waited.
    Nothing,
    /// Nobody will ask any more.
    Closed,
}

/// The writer, on a thread of its own.
pub(super) struct Writer {
    conn: SqliteConnection,
    // Dropped after the connection: the directory is free only once the file is closed.
    lock: File,
    path: Arc<Path>,
    hot: super::hot::Applier,
    checkpoint: Checkpoint,
    /// Why nothing is written any more.
    stopped: Option<Error>,
}

impl Writer {
    /// Takes over the connection of a migrated database: what a dead process had claimed has no holder any more.
    pub(super) async fn start(
        mut conn: SqliteConnection,
        lock: File,
        path: Arc<Path>,
        max_bytes: Option<u64>,
    ) -> Result<Self, Error> {
        super::claims::release_all(&mut conn).await?;
        super::segments::forget_open(&mut conn).await?;
        if max_bytes.is_some() {
            limit_size(&mut conn, max_bytes).await?;
        }
        let hot = super::hot::Applier::of(&mut conn).await?;
        Ok(Self { conn, lock, path, hot, checkpoint: Checkpoint::default(), stopped: None })
    }

    /// Works until the store is closed or its last clone is gone. Blocks its thread while it writes.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Op>) {
        let mut next = None;
        let closing = loop {
            let gathered = match next.take() {
                Some(gathered) => gathered,
                None => gather(&mut queue, self.checkpoint.is_wanted()).await,
            };
            match gathered {
                Gathered::Group(group) if group.is_hot() => next = self.commit_hot(group, &mut queue).await,
                Gathered::Group(group) => {
                    if let Some(answer) = self.commit(group).await {
                        break Some(answer);
                    }
                }
                Gathered::Nothing => self.checkpoint.run(&mut self.conn).await,
                Gathered::Closed => break None,
            }
            if self.checkpoint.is_due() {
                self.checkpoint.run(&mut self.conn).await;
            }
        };
        queue.close();
        while let Some(op) = queue.recv().await {
            let mut late = Group::default();
            let _ = late.add(op);
            late.closing.take().into_iter().for_each(|answer| drop(answer.send(Ok(()))));
            late.emptying.take().into_iter().for_each(|answer| drop(answer.send(Err(closed()))));
            late.answer(Err(closed()));
        }
        let ended = self.end().await;
        if let Some(answer) = closing {
            let _ = answer.send(ended);
        }
    }

    /// Commits a group of the hot path and those after it, as long as they are; hands on what comes then. The connection is
    /// lent only once for all of them.
    async fn commit_hot(&mut self, first: Group, queue: &mut mpsc::Receiver<Op>) -> Option<Gathered> {
        let Self { conn, hot, checkpoint, stopped, path, .. } = self;
        let mut lent = match conn.lock_handle().await {
            Ok(lent) => lent,
            Err(error) => {
                first.answer(Err(error.into()));
                return None;
            }
        };
        let mut group = first;
        loop {
            let mut ops: Vec<&mut Hot> = group.hot.iter_mut().map(|(hot, _)| hot).collect();
            let result = match stopped {
                Some(why) => Err(why.clone()),
                None => checked(hot.apply(&mut lent, &mut ops, true), stopped, path),
            };
            match &result {
                Ok(()) => checkpoint.note(group.bytes),
                Err(error) => {
                    // Where that fails too the next group cannot begin, and it is tried again.
                    let undone = hot.roll_back(&mut lent);
                    tracing::warn!(%error, ?undone, path = %path.display(), "A group of writes was rolled back: {error}");
                }
            }
            group.answer(result);
            if checkpoint.is_due() {
                return None;
            }
            match gather(queue, checkpoint.is_wanted()).await {
                Gathered::Group(next) if next.is_hot() => group = next,
                other => return Some(other),
            }
        }
    }

    /// Writes and commits a group and answers; hands on whom to answer when closed.
    async fn commit(&mut self, mut group: Group) -> Option<Answer<()>> {
        let (closing, emptying) = (group.closing.take(), group.emptying.take());
        let bytes = group.bytes;
        let result = match &self.stopped {
            Some(why) => Err(why.clone()),
            None => self.transact(&mut group).await,
        };
        if result.is_ok() {
            self.checkpoint.note(bytes);
        }
        group.answer(result);
        if let Some(answer) = emptying {
            // Whoever asked may have gone.
            let _ = answer.send(checkpoint::truncate(&mut self.conn).await.map_err(Error::from));
        }
        closing
    }

    async fn transact(&mut self, group: &mut Group) -> Result<(), Error> {
        if group.hot.is_empty() && group.calls.is_empty() {
            return Ok(());
        }
        let result = self.write(group).await;
        if let Err(error) = &result {
            let _ = sqlx::query("ROLLBACK").execute(&mut self.conn).await;
            tracing::warn!(%error, path = %self.path.display(), "A group of writes was rolled back: {error}");
        }
        result
    }

    async fn write(&mut self, group: &mut Group) -> Result<(), Error> {
        if group.hot.is_empty() {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut self.conn).await?;
        } else {
            let mut hot: Vec<&mut Hot> = group.hot.iter_mut().map(|(hot, _)| hot).collect();
            let mut lent = self.conn.lock_handle().await?;
            checked(self.hot.apply(&mut lent, &mut hot, false), &mut self.stopped, &self.path)?;
        }
        for (call, savepoint) in &mut group.calls {
            run_call(&mut self.conn, call.as_mut(), *savepoint).await?;
        }
        let result = sqlx::query("COMMIT").execute(&mut self.conn).await.map(drop);
        checked(result, &mut self.stopped, &self.path)
    }

    async fn end(self) -> Result<(), Error> {
        let Self { mut conn, lock, hot, stopped, .. } = self;
        hot.end(&mut conn.lock_handle().await?);
        let flushed = if stopped.is_none() { checkpoint::truncate(&mut conn).await.map(drop) } else { Ok(()) };
        close(conn).await?;
        drop(lock);
        Ok(flushed?)
    }
}

/// The next group: what is waiting, at least one operation. Where a checkpoint is wanted it is waited for so long only.
async fn gather(queue: &mut mpsc::Receiver<Op>, checkpoint: bool) -> Gathered {
    let first = match queue.try_recv() {
        Ok(op) => Some(op),
        Err(_) if checkpoint => match tokio::time::timeout(IDLE, queue.recv()).await {
            Ok(op) => op,
            Err(_) => return Gathered::Nothing,
        },
        Err(_) => queue.recv().await,
    };
    let Some(first) = first else { return Gathered::Closed };
    let mut group = Group::default();
    let mut more = group.add(first);
    while more.is_continue() {
        match queue.try_recv() {
            Ok(op) => more = group.add(op),
            Err(_) => break,
        }
    }
    Gathered::Group(group)
}

/// Stops all writing after a failed sync.
fn checked<E: Fault + Into<Error> + std::fmt::Display>(
    result: Result<(), E>,
    stopped: &mut Option<Error>,
    path: &Path,
) -> Result<(), Error> {
    let Err(error) = result else { return Ok(()) };
    if fault::is_failed_sync(&error) {
        let why = Error::Unavailable(format!("the disk failed to sync ({error}): check it and restart"));
        tracing::error!(path = %path.display(), "The store stops: {why}");
        *stopped = Some(why.clone());
        return Err(why);
    }
    Err(error.into())
}

async fn run_call(conn: &mut SqliteConnection, call: &mut dyn Work, savepoint: bool) -> Result<(), Error> {
    if savepoint {
        sqlx::query("SAVEPOINT op").execute(&mut *conn).await?;
    }
    match call.run(&mut *conn).await {
        Done::Lost(error) => return Err(error),
        Done::Refused if savepoint => {
            sqlx::query("ROLLBACK TO op").execute(&mut *conn).await?;
        }
        Done::Refused | Done::Well => {}
    }
    if savepoint {
        sqlx::query("RELEASE op").execute(&mut *conn).await?;
    }
    Ok(())
}

/// Sets how large the file may grow, in bytes.
pub(super) async fn limit_size(conn: &mut SqliteConnection, max_bytes: Option<u64>) -> Result<(), Error> {
    let page_size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *conn).await?;
    let pages = max_bytes.map_or(i64::from(u32::MAX - 1), |b| i64::try_from(b).unwrap_or(i64::MAX) / page_size.max(1));
    // A pragma takes no parameters; the number is ours.
    let sql = format!("PRAGMA max_page_count = {}", pages.max(1));
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}
