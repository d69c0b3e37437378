//! This process among those that share the database: its lease, and what becomes of a dead one's runs.
//!
//! A process has an id of its own for as long as its lease lasts, which it lengthens with every heartbeat, by the database's
//! clock. One that comes too late (it was stopped, or cut off) is dead: it gets a new id, and everything that it held under the
//! former one is another's or will be. A statement that keeps, claims or reports takes a share of the node's row ([`FENCE`]), so
//! that no taking over happens in the middle of it, and none of it after.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::RunId;
use uuid::Uuid;

use super::held::{Dropped, Held};
use super::link::{Link, Session};
use super::skew::Skew;
use super::takeover::{Taken, Whose, release, take_from};
use super::wake::Wake;
use crate::clock::Clock;
use crate::store::Error;

/// A common table expression with one row while the node `$1` is alive, which keeps it so until the statement has ended.
pub(super) const FENCE: &str = "node AS MATERIALIZED (SELECT id FROM nodes WHERE id = $1 \
     AND lease_until > clock_timestamp() FOR KEY SHARE)";

/// The database's time in milliseconds.
pub(super) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Heartbeats in the time of a lease.
const BEATS: u32 = 6;
/// A run that takes longer is named in `queue`, so that what a dead node held is found quickly.
const OLD: Duration = Duration::from_secs(10);
/// How far behind the present the mark for held runs stays: runs that were planned before they are kept.
const MARGIN_MS: i64 = 2000;
/// An answer that takes longer tells the database's time too badly.
const ROUND_TRIP: Duration = Duration::from_millis(250);
/// How long the database may take to answer a heartbeat before everybody is told that it does not.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks for dead nodes.
const LOOK: Duration = Duration::from_secs(2);

/// This process among those that share the database.
pub(super) struct Node {
    id: AtomicI64,
    name: String,
    /// What only one process can have at a time, where there is such a thing.
    home: Option<String>,
    lease: Duration,
    /// When the lease ends at the earliest, by this process' steady clock.
    until: Mutex<Instant>,
    clock: Clock,
    pub(super) held: Held,
    pub(super) skew: Skew,
    pub(super) wake: Arc<Wake>,
    /// Whether the database answered when it was asked last.
    reachable: AtomicBool,
    /// Whether it has let this node's heartbeat wait in vain: connected, or not even that, and no word from it.
    silent: watch::Sender<bool>,
    /// Sessions that were given up on, and that may still commit what they were asked to.
    haunting: Mutex<Vec<Session>>,
    /// The holds of this process, by their tokens.
    pub(super) tokens: Mutex<HashSet<Uuid>>,
    /// Runs that `queue` says this node holds, and that it did not know of at the last heartbeat.
    strays: Mutex<HashSet<Uuid>>,
}

impl Node {
    /// Joins the nodes. What a former process had that had the same home is due at once.
    pub(super) async fn join(
        conn: &mut PgConnection,
        clock: Clock,
        (lease, home): (Duration, Option<String>),
        wake: Arc<Wake>,
    ) -> Result<Self, Error> {
        let host = hostname();
        let node = Self {
            id: AtomicI64::new(0),
            name: format!("{host}:{}", std::process::id()),
            home,
            lease,
            until: Mutex::new(Instant::now()),
            skew: Skew::new(clock.clone()),
            clock,
            held: Held::default(),
            wake,
            reachable: AtomicBool::new(true),
            silent: watch::Sender::new(false),
            haunting: Mutex::default(),
            tokens: Mutex::default(),
            strays: Mutex::default(),
        };
        if let Some(home) = &node.home {
            while let Some(taken) = take_from(conn, Whose::Former(home)).await? {
                node.took_over(&taken, "has ended, and this process is in its place");
            }
        }
        node.register(conn).await?;
        Ok(node)
    }

    /// This process' id now.
    pub(super) fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// How long a lease lasts.
    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether the lease lasts, as far as can be told without asking.
    pub(super) fn is_alive(&self) -> bool {
        Instant::now() < *self.until.lock()
    }

    /// Whether the database answered when it was asked last.
    pub(super) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Whether the database says nothing at all. Then nobody is to wait for it: the heartbeat finds out when that is over.
    pub(super) fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Waits until the database says nothing any more.
    pub(super) async fn silence(&self) {
        // The sender is this node's own: it is there as long as anybody asks.
        let _ = self.silent.subscribe().wait_for(|silent| *silent).await;
    }

    /// The database answered, or did not.
    pub(super) fn reached(&self, answered: bool) {
        self.reachable.store(answered, Ordering::Relaxed);
    }

    /// What the answer to a statement under [`FENCE`] says of this node.
    pub(super) fn fenced(&self) -> Error {
        Error::Unavailable(format!("node {} has lost its lease and joins anew", self.id()))
    }

    /// A session was given up on in the middle of a statement: what becomes of these runs is seen once it is gone.
    pub(super) fn doubt(&self, session: Option<Session>, runs: &[Dropped]) {
        self.haunting.lock().extend(session);
        self.held.doubt(runs);
    }

    fn newest(&self) -> Uuid {
        let ms = u64::try_from(self.clock.now_ms() - MARGIN_MS).unwrap_or(0);
        RunId::new(ms, [0; 10]).0
    }

    async fn register(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let asked = Instant::now();
        let low = self.held.low(self.newest());
        let sql = format!(
            "INSERT INTO nodes (name, home, lease_until, low_run) \
             VALUES ($1, $2, clock_timestamp() + $3 * interval '1 ms', $4) RETURNING id, {NOW_MS} AS now"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(&self.name)
            .bind(&self.home)
            .bind(self.lease_ms())
            .bind(low)
            .fetch_one(conn)
            .await?;
        self.skew.measured(row.try_get("now")?);
        self.held.published(low);
        let before = self.id.swap(row.try_get("id")?, Ordering::AcqRel);
        self.held.forget(before);
        *self.until.lock() = asked + self.lease;
        tracing::info!(node = self.id(), name = self.name, "Joined the nodes of this store as node {}", self.id());
        Ok(())
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }

    /// Keeps the lease up and takes dead nodes' runs over, until `stop`; leaves then.
    pub(super) async fn run(self: Arc<Self>, options: PgConnectOptions, stop: CancellationToken) {
        let mut link = Link::new(options);
        let mut beats = tokio::time::interval(self.lease / BEATS);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While the database does not answer, a look is what finds out when it does.
        let mut looks = tokio::time::interval(LOOK.min(self.lease / BEATS));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let beat = tokio::select! {
                () = stop.cancelled() => break,
                _ = beats.tick() => true,
                _ = looks.tick() => false,
            };
            // One that answers and cannot write, as with a full disk, can still be read.
            let asked = self.ask(&mut link).await;
            self.reached(asked.is_ok());
            let done = match asked {
                Ok(conn) if beat => tokio::time::timeout(self.lease / 2, self.beat(conn)).await,
                Ok(conn) => tokio::time::timeout(self.lease / 2, self.look(conn)).await,
                Err(error) => Ok(Err(error)),
            };
            let failed = match done {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(_) => Error::Unavailable("the database does not answer".to_owned()),
            };
            tracing::warn!(error = %failed, "This node's heartbeat was not kept: {failed}");
            // A heartbeat that comes late renews a lease that lasts, or none.
            drop(link.cut());
        }
        if let Ok(conn) = link.get().await
            && let Err(error) = self.leave(conn).await
        {
            tracing::warn!(%error, "This node did not sign off; others take its runs over: {error}");
        }
        link.close().await;
    }

    /// Asks for a word of the database. Where none comes in time, everybody is told; what is refused at once, everybody finds out.
    async fn ask<'l>(&self, link: &'l mut Link) -> Result<&'l mut PgConnection, Error> {
        let word = async move {
            let conn = link.get().await?;
            sqlx::query("SELECT 1").execute(&mut *conn).await?;
            Ok(conn)
        };
        let asked = tokio::time::timeout(ANSWER.min(self.lease), word).await;
        self.silent.send_replace(asked.is_err());
        asked.unwrap_or_else(|_| Err(Error::Unavailable("the database does not answer".to_owned())))
    }

    /// One heartbeat.
    async fn beat(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let asked = Instant::now();
        let low = self.held.low(self.newest());
        let sql = format!(
            "UPDATE nodes SET lease_until = clock_timestamp() + $2 * interval '1 ms', low_run = $3, held = $4 \
             WHERE id = $1 AND lease_until > clock_timestamp() RETURNING {NOW_MS} AS now"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(self.id())
            .bind(self.lease_ms())
            .bind(low)
            .bind(i64::try_from(self.held.count()).unwrap_or(i64::MAX))
            .fetch_optional(&mut *conn)
            .await?;
        let Some(row) = row else {
            metrics::counter!("triggerd_node_leases_lost_total").increment(1);
            tracing::warn!(node = self.id(), "Node {} has lost its lease: what it held is taken over", self.id());
            return self.register(conn).await;
        };
        *self.until.lock() = asked + self.lease;
        self.held.published(low);
        if asked.elapsed() < ROUND_TRIP {
            self.skew.measured(row.try_get("now")?);
        }
        self.name_old(conn).await?;
        self.give_back(conn).await?;
        self.find_strays(conn).await?;
        self.end_holds(conn).await
    }

    /// Ends holds of this node that nobody in this process has: their end, or the answer to their beginning, was lost.
    async fn end_holds(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let live: Vec<Uuid> = self.tokens.lock().iter().copied().collect();
        sqlx::query("DELETE FROM holds WHERE node = $1 AND token <> $2 AND token <> ALL($3)")
            .bind(self.id())
            .bind(Uuid::nil())
            .bind(live)
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Gives back runs that `queue` says this node holds, and that it knows nothing of: they were claimed, or named, by a
    /// statement whose answer was lost.
    async fn find_strays(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let named: Vec<Uuid> = sqlx::query_scalar("SELECT run_id FROM queue WHERE holder = $1")
            .bind(self.id())
            .fetch_all(&mut *conn)
            .await?;
        let unknown: HashSet<Uuid> = named.into_iter().filter(|id| !self.held.has(RunId(*id))).collect();
        // One that is unknown for the first time may just be on its way.
        let before = std::mem::replace(&mut *self.strays.lock(), unknown.clone());
        let strays: Vec<Uuid> = unknown.intersection(&before).copied().collect();
        if strays.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "WITH freed AS (UPDATE runs AS r SET state = 0, holder = NULL FROM unnest($2::uuid[]) AS u (id) \
                 WHERE r.id = u.id AND r.holder = $1 AND r.state = 1 RETURNING r.id), \
             due AS (UPDATE queue AS q SET holder = NULL, due_at = {NOW_MS}, lost = true FROM freed WHERE q.run_id = freed.id), \
             ended AS (DELETE FROM queue AS q USING unnest($2::uuid[]) AS u (id) WHERE q.run_id = u.id AND q.holder = $1 \
                 AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = u.id AND r.state < 2)) \
             SELECT count(*) FROM freed"
        );
        let freed: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(self.id()).bind(strays).fetch_one(conn).await?;
        if freed > 0 {
            tracing::warn!(runs = freed, "{freed} runs that this node did not know it held are due again");
            self.wake.due();
        }
        Ok(())
    }

    /// Names runs in `queue` that have been held for long.
    async fn name_old(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let old = self.held.queue_old(self.id(), OLD);
        if old.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = old.iter().map(|id| id.0).collect();
        // The lock waits for a report that is being written just now, and sees what it says.
        sqlx::query(
            "INSERT INTO queue (run_id, event_id, tenant, holder, created_at) \
             SELECT r.id, r.event_id, r.tenant, r.holder, r.created_at FROM runs AS r \
             WHERE r.id = ANY($2) AND r.holder = $1 AND r.state = 1 FOR UPDATE ON CONFLICT (run_id) DO NOTHING",
        )
        .bind(self.id())
        .bind(&ids)
        .execute(&mut *conn)
        .await?;
        let named: Vec<Uuid> = sqlx::query_scalar("SELECT run_id FROM queue WHERE run_id = ANY($2) AND holder = $1")
            .bind(self.id())
            .bind(ids)
            .fetch_all(conn)
            .await?;
        self.held.queued(named.into_iter().map(RunId));
        Ok(())
    }

    /// Makes claimable what this process no longer knows of: runs that were dropped on the way, or of which it is unknown what
    /// was committed.
    async fn give_back(&self, conn: &mut PgConnection) -> Result<(), Error> {
        // In this order: of each run in doubt the session is among those that are ended.
        let lost: Vec<Dropped> = self.held.dropped().into_iter().filter(|one| one.node == self.id()).collect();
        let haunting = self.haunting.lock().clone();
        for session in &haunting {
            if !session.end(conn).await? {
                // It may still commit: the next heartbeat looks again.
                return Ok(());
            }
        }
        self.haunting.lock().drain(..haunting.len());
        if lost.is_empty() {
            return Ok(());
        }
        let count = release(conn, self.id(), &lost).await?;
        lost.iter().for_each(|one| self.held.leave(one.id, one.epoch));
        if count > 0 {
            tracing::warn!(runs = count, "{count} runs that this node had lost track of are due again");
            self.wake.due();
        }
        Ok(())
    }

    /// Looks for dead nodes and takes their runs over.
    async fn look(&self, conn: &mut PgConnection) -> Result<(), Error> {
        while let Some(taken) = take_from(conn, Whose::Dead).await? {
            self.took_over(&taken, "is dead");
            if taken.id == self.id() {
                // It was this process itself, which was too late.
                self.register(conn).await?;
            }
        }
        Ok(())
    }

    fn took_over(&self, taken: &Taken, why: &str) {
        let Taken { id, name, runs } = taken;
        metrics::counter!("triggerd_runs_taken_over_total").increment(*runs);
        tracing::warn!(node = id, name, runs, "Node {id} ({name}) {why}: {runs} of its runs are due again");
        if *runs > 0 {
            self.wake.due();
        }
    }

    /// Signs off: what this node still holds is due at once.
    async fn leave(&self, conn: &mut PgConnection) -> Result<(), Error> {
        while take_from(conn, Whose::Node(self.id())).await?.is_some() {}
        Ok(())
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "node".to_owned(), |name| name.trim().to_owned())
}
