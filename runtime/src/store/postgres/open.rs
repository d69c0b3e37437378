//! Joining and leaving the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, Postgres};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::changes::Cursor;
use super::lane_claims::LaneClaims;
use super::link::Link;
use super::node::Node;
use super::statement::Texts;
use super::wake::Wake;
use super::writer::{Op, Writer};
use super::{connect, durability, migrate, partitions, tables};
use crate::clock::Clock;
use crate::store::rota::Rota;
use crate::store::{AuditEntry, Durability, Error, Options, Witness};

/// How many operations wait before callers do: a second's worth, so that memory stays bounded.
const QUEUE: usize = 8192;
/// How long closing waits for what is on its way.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// The shared store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) clock: Clock,
    pub(super) node: Arc<Node>,
    pub(super) cursor: Arc<Mutex<Cursor>>,
    pub(super) lane_claims: Arc<LaneClaims>,
    pub(super) rota: Arc<Rota>,
    pool: PgPool,
    ops: mpsc::Sender<Op>,
    durability: Durability,
    writers: TaskTracker,
    tasks: TaskTracker,
    /// Ends the writers' queue.
    closing: CancellationToken,
    /// Ends what keeps the node alive, after them.
    leaving: CancellationToken,
}

impl Store {
    /// Migrates the database of a `postgres://` URL and joins the nodes that share it.
    pub async fn connect(url: &str, options: Options) -> Result<Self, Error> {
        let connect_options = connect::options(url)?;
        let hot = connect::hot(&connect_options);
        let mut conn = connect::one(&connect_options).await?;
        let durability = durability::check(&mut conn, options.shared.allow_degraded).await?;
        migrate::run(&mut conn).await?;
        if let Err(error) = partitions::ensure(&mut conn, options.clock.now_ms(), options.shared.retention).await {
            tracing::info!(%error, "Partitions are made later: {error}");
        }
        let cursor = Arc::new(Mutex::new(Cursor::now(&mut conn).await?));
        let wake = Arc::new(Wake::default());
        let node =
            Node::join(&mut conn, options.clock.clone(), (options.shared.lease, options.shared.home), wake.clone());
        let node = Arc::new(node.await?);
        // In good order: whether it is closed well matters to nobody.
        let _ = conn.close().await;

        let (closing, leaving) = (CancellationToken::new(), CancellationToken::new());
        let (writers, tasks) = (TaskTracker::new(), TaskTracker::new());
        let (ops, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let texts = Arc::new(Texts::default());
        for _ in 0..options.shared.writers.max(1) {
            let (node, texts, clock) = (node.clone(), texts.clone(), options.clock.clone());
            let writer = Writer { link: Link::new(hot.clone()), node, texts, clock };
            writers.spawn(writer.run(queue.clone(), closing.clone()));
        }
        tasks.spawn(node.clone().run(connect_options.clone(), leaving.clone()));
        tasks.spawn(partitions::keep(
            connect_options.clone(),
            options.clock.clone(),
            options.shared.retention,
            leaving.clone(),
        ));
        if options.shared.notify {
            tasks.spawn(wake.clone().tell(connect_options.clone(), leaving.clone()));
            tasks.spawn(wake.listen(connect_options.clone(), leaving.clone()));
        }
        writers.close();
        tasks.close();
        let pool = connect::pool(connect::cold(&connect_options), options.readers.max(2));
        Ok(Self {
            clock: options.clock,
            node,
            cursor,
            lane_claims: Arc::default(),
            rota: Arc::default(),
            pool,
            ops,
            durability,
            writers,
            tasks,
            closing,
            leaving,
        })
    }

    /// Finishes what was asked for, hands back what is held, and leaves the nodes.
    pub async fn close(&self) -> Result<(), Error> {
        self.closing.cancel();
        let written = tokio::time::timeout(CLOSE_LIMIT, self.writers.wait()).await;
        self.leaving.cancel();
        self.pool.close().await;
        let left = tokio::time::timeout(CLOSE_LIMIT, self.tasks.wait()).await;
        match (written, left) {
            (Ok(()), Ok(())) => Ok(()),
            _ => Err(Error::Unavailable("the database does not answer; others take this node's runs over".to_owned())),
        }
    }

    /// Whether the database can be read and written by this node now.
    pub async fn ping(&self) -> Result<(), Error> {
        let alive: Option<i64> = sqlx::query_scalar(
            "UPDATE nodes SET held = held WHERE id = $1 AND lease_until > clock_timestamp() RETURNING id",
        )
        .bind(self.node.id())
        .fetch_optional(&mut *self.reader().await?)
        .await?;
        alive.map(drop).ok_or_else(|| self.node.fenced())
    }

    /// Whether this node's lease lasts.
    pub fn is_alive(&self) -> bool {
        self.node.is_alive()
    }

    /// Whether what is committed outlives a loss of power.
    pub fn durability(&self) -> Durability {
        self.durability.clone()
    }

    pub(super) async fn send(&self, op: Op) -> Result<(), Error> {
        self.ops.send(op).await.map_err(|_| closed())
    }

    /// When runs are due that are made so at an instant, by the database's clock.
    pub(super) fn due_at(&self, at: Timestamp) -> i64 {
        self.node.skew.in_database(at.as_millisecond())
    }

    /// Runs were made due that any node may take.
    pub(super) fn made_due(&self) {
        self.node.wake.due();
    }

    /// A connection for one call, never held while anything else is waited for.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Postgres>, Error> {
        if !self.node.is_reachable() {
            return Err(Error::Unavailable("the database does not answer".to_owned()));
        }
        Ok(self.pool.acquire().await?)
    }

    /// Runs `work` in a transaction of its own, and answers once that is committed.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let mut conn = self.reader().await?;
        // Dropped before its commit, a transaction is rolled back.
        let mut tx = conn.begin().await?;
        let done = work(&mut tx).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Like [`Store::write`] for work that other nodes are to learn of.
    pub(super) async fn write_change<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.write_told(work, |_, _| {}).await
    }

    /// Like [`Store::write_change`], and `tell` adds to the audit entry that goes along what the work came to.
    pub(super) async fn write_told<T, F>(&self, work: F, tell: fn(&T, &mut AuditEntry)) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let done = match Witness::current().and_then(|witness| Some((witness.clone(), witness.entry()?))) {
            None => self.write(work).await?,
            Some((witness, entry)) => {
                let done = self.write(move |conn| Box::pin(tables::audit::with(conn, work, entry, tell))).await?;
                witness.kept();
                done
            }
        };
        self.node.wake.changed();
        Ok(done)
    }

    /// Like [`Store::write`] for work that writes with a single statement, which is all or nothing by itself.
    pub(super) async fn write_one<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let mut conn = self.reader().await?;
        work(&mut conn).await
    }
}

/// The answer to whom the store can give none.
pub(super) fn closed() -> Error {
    Error::Unavailable("the store is closed".to_owned())
}
