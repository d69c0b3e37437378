//! Opening and closing the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tokio::sync::{mpsc, oneshot};
use triggerd_core::id::TenantId;

use super::looks::Looks;
use super::writer::{Call, Op, Writer};
use super::{migrate, tables};
use crate::clock::Clock;
use crate::seeded::Fault;
use crate::store::rota::Rota;
use crate::store::{AuditEntry, ChangeKind, Changes, Error, FeedCursor, Options, Witness, lock};

/// How many operations wait before callers do: a second's worth, so that memory stays bounded.
const QUEUE: usize = 8192;

/// The embedded store. Cheap to clone. Its last clone's end closes it; [`Store::close`] also waits for that.
#[derive(Clone)]
pub struct Store {
    ops: mpsc::Sender<Op>,
    readers: SqlitePool,
    pub(super) looks: Arc<Looks>,
    pub(super) clock: Clock,
    pub(super) rota: Arc<Rota>,
}

impl Store {
    /// Opens the store of `data_dir`, called once at start: takes the directory's lock (another process that holds
    /// it is an error within a second), migrates, and makes claimable what a dead process had claimed.
    pub async fn open(data_dir: &Path, options: Options) -> Result<Self, Error> {
        let held = lock::take(data_dir).await?;
        let path: Arc<Path> = data_dir.join("triggerd.db").into();
        let mut conn = writing(&path).connect().await.map_err(|e| refused(&path, e))?;
        migrate::run(&mut conn).await?;
        let writer = Writer::start(conn, held, path.clone(), options.max_bytes).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .min_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(reading(&path))
            .await?;
        let (ops, queue) = mpsc::channel(QUEUE);
        // It blocks while it writes, and is not to wait behind other tasks: what it waits for, everybody does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|e| Error::Unavailable(format!("cannot start the writer: {e}")))?;
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(writer.run(queue)))
            .map_err(|e| Error::Unavailable(format!("cannot start the writer's thread: {e}")))?;
        let looks = Arc::new(Looks::new(path));
        Ok(Self { ops, readers, looks, clock: options.clock, rota: Arc::default() })
    }

    /// Waits until everything asked for is on the disk, checkpoints and lets go of the data directory. What is
    /// asked for afterwards is answered `Unavailable`.
    pub async fn close(&self) -> Result<(), Error> {
        self.readers.close().await;
        self.looks.close().await;
        let (answer, done) = oneshot::channel();
        if self.ops.send(Op::Close(answer)).await.is_err() {
            return Ok(());
        }
        // A writer that ended meanwhile has let go of the directory, which is all that was asked for.
        done.await.unwrap_or(Ok(()))
    }

    /// Whether the store can be read and written now: what `/ready` asks. Costs one small commit.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1 FROM events LIMIT 1").fetch_optional(&mut *self.reader().await?).await?;
        self.write_one(|conn| {
            Box::pin(async move {
                sqlx::query("PRAGMA user_version = 1").execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    /// Sets how large the database file may grow from now on (`None`: as large as SQLite allows). A limit below the
    /// present size refuses all growth.
    pub async fn limit_size(&self, max_bytes: Option<u64>) -> Result<(), Error> {
        self.write_one(move |conn| Box::pin(async move { super::writer::limit_size(conn, max_bytes).await })).await
    }

    /// Every duty is this process'.
    pub async fn take_duty(&self, _: &str) -> Result<bool, Error> {
        Ok(true)
    }

    /// There is nobody to tell.
    pub async fn tell_others(&self, _: ChangeKind, _: &TenantId, _: &str) -> Result<(), Error> {
        Ok(())
    }

    /// There is nobody to hand anything to.
    pub async fn feed_put(&self, _: &str, _: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Nobody puts anything.
    pub async fn feed_end(&self) -> Result<FeedCursor, Error> {
        Ok(FeedCursor::default())
    }

    /// Nobody has put anything.
    pub async fn feed_get(&self, _: &str, _: &mut FeedCursor) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// There are no other nodes.
    pub async fn changes(&self) -> Result<Changes, Error> {
        Ok(Changes::Some(Vec::new()))
    }

    /// When runs are due that are made so at an instant.
    pub(super) fn due_at(&self, at: Timestamp) -> i64 {
        at.as_millisecond()
    }

    /// Runs were made due that others may take: there is nobody else.
    pub(super) fn made_due(&self) {}

    /// A connection that can only read; held for one call, never across an await on anything else.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        Ok(self.readers.acquire().await?)
    }

    /// Runs `work` in the writer's next group, in a savepoint of its own, and answers once that is committed.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.call(work, true).await
    }

    /// Like [`Store::write`] for work that other nodes are to learn of: there are none.
    pub(super) async fn write_change<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.write_told(work, |_, _| {}).await
    }

    /// Like [`Store::write_change`], and `tell` adds to the audit entry that goes along what the work came to.
    pub(super) async fn write_told<T, F>(&self, work: F, tell: fn(&T, &mut AuditEntry)) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let Some((witness, entry)) = Witness::current().and_then(|witness| Some((witness.clone(), witness.entry()?)))
        else {
            return self.write(work).await;
        };
        let done = self.write(move |conn| Box::pin(tables::audit::with(conn, work, entry, tell))).await?;
        witness.kept();
        Ok(done)
    }

    /// Like [`Store::write`] for work that writes with a single statement, which is all or nothing by itself.
    pub(super) async fn write_one<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.call(work, false).await
    }

    async fn call<T, F>(&self, work: F, savepoint: bool) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        self.send(Op::Call { call: Call::boxed(work, answer), savepoint }).await?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn send(&self, op: Op) -> Result<(), Error> {
        self.ops.send(op).await.map_err(|_| closed())
    }
}

/// The answer to whom the writer can give none.
pub(super) fn closed() -> Error {
    Error::Unavailable("the store is closed".to_owned())
}

fn refused(path: &Path, error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Unavailable(why) => Error::Unavailable(format!("{}: {why}", path.display())),
        other => other,
    }
}

fn writing(path: &Path) -> SqliteConnectOptions {
    let synchronous = if Fault::SyncOff.is_ordered() { SqliteSynchronous::Off } else { SqliteSynchronous::Full };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        // Only a checkpoint that wants the readers out ever waits.
        .busy_timeout(Duration::from_secs(1))
        .foreign_keys(false)
        .pragma("wal_autocheckpoint", "0")
        .pragma("temp_store", "memory")
        // Its list of pages is walked at every commit after the tables have grown: a larger one costs more than it saves.
        .pragma("cache_size", "-8192")
        .pragma("mmap_size", "0")
        // What a row gave up within its page is overwritten with zeros: former versions hold what may have to be erased.
        .pragma("secure_delete", "FAST")
        .statement_cache_capacity(192)
        .row_buffer_size(1024)
        .thread_name(|_| "store-calls".to_owned())
        .disable_statement_logging()
}

pub(super) fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .pragma("query_only", "1")
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-4096")
        .pragma("mmap_size", "0")
        .row_buffer_size(256)
        .thread_name(|n| format!("store-reader-{n}"))
        .disable_statement_logging()
}

/// Closes a connection; what cannot be closed is dropped.
pub(super) async fn close(conn: SqliteConnection) -> Result<(), Error> {
    Ok(conn.close().await?)
}
