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
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio_util::sync::CancellationToken;
use triggerd_core::id::RunId;
use uuid::Uuid;

use super::held::{Dropped, Held};
use super::link::{Link, Session};
use super::skew::Skew;
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
/// Rows of a dead node that one transaction takes over.
const SLICE: i64 = 5000;
/// How far behind the present the mark for held runs stays: runs that were planned before they are kept.
const MARGIN_MS: i64 = 2000;
/// An answer that takes longer tells the database's time too badly.
const ROUND_TRIP: Duration = Duration::from_millis(250);
/// Between two looks for dead nodes.
const LOOK: Duration = Duration::from_secs(2);

/// This process among those that share the database.
pub(super) struct Node {
    id: AtomicI64,
    name: String,
    lease: Duration,
    /// When the lease ends at the earliest, by this process' steady clock.
    until: Mutex<Instant>,
    clock: Clock,
    pub(super) held: Held,
    pub(super) skew: Skew,
    pub(super) wake: Arc<Wake>,
    /// Whether the database answered when it was asked last.
    reachable: AtomicBool,
    /// Sessions that were given up on, and that may still commit what they were asked to.
    haunting: Mutex<Vec<Session>>,
    /// The holds of this process, by their tokens.
    pub(super) tokens: Mutex<HashSet<Uuid>>,
    /// Runs that `queue` says this node holds, and that it did not know of at the last heartbeat.
    strays: Mutex<HashSet<Uuid>>,
}

impl Node {
    /// Joins the nodes.
    pub(super) async fn join(
        conn: &mut PgConnection,
        clock: Clock,
        lease: Duration,
        wake: Arc<Wake>,
    ) -> Result<Self, Error> {
        let host = hostname();
        let node = Self {
            id: AtomicI64::new(0),
            name: format!("{host}:{}", std::process::id()),
            lease,
            until: Mutex::new(Instant::now()),
            skew: Skew::new(clock.clone()),
            clock,
            held: Held::default(),
            wake,
            reachable: AtomicBool::new(true),
            haunting: Mutex::default(),
            tokens: Mutex::default(),
            strays: Mutex::default(),
        };
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
            "INSERT INTO nodes (name, lease_until, low_run) VALUES ($1, clock_timestamp() + $2 * interval '1 ms', $3) \
             RETURNING id, {NOW_MS} AS now"
        );
        let row =
            sqlx::query(AssertSqlSafe(sql)).bind(&self.name).bind(self.lease_ms()).bind(low).fetch_one(conn).await?;
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
            let done = match link.get().await {
                Ok(conn) if beat => tokio::time::timeout(self.lease / 2, self.beat(conn)).await,
                Ok(conn) => tokio::time::timeout(self.lease / 2, self.look(conn)).await,
                Err(error) => Ok(Err(error)),
            };
            let failed = match done {
                Ok(Ok(())) => {
                    self.reached(true);
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => Error::Unavailable("the database does not answer".to_owned()),
            };
            tracing::warn!(error = %failed, "This node could not reach the store: {failed}");
            self.reached(false);
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
            "INSERT INTO queue (run_id, event_id, holder, created_at) \
             SELECT r.id, r.event_id, r.holder, r.created_at FROM runs AS r \
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
        let lost: Vec<Dropped> = self.held.dropped().into_iter().filter(|one| one.node == self.id()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let haunting = self.haunting.lock().clone();
        for session in &haunting {
            if !session.end(conn).await? {
                // It may still commit: the next heartbeat looks again.
                return Ok(());
            }
        }
        self.haunting.lock().drain(..haunting.len());
        let count = release(conn, self.id(), &lost, 0, true).await?;
        lost.iter().for_each(|one| self.held.leave(one.id, one.epoch));
        if count > 0 {
            tracing::warn!(runs = count, "{count} runs that this node had lost track of are due again");
            self.wake.due();
        }
        Ok(())
    }

    /// Looks for dead nodes and takes their runs over.
    async fn look(&self, conn: &mut PgConnection) -> Result<(), Error> {
        loop {
            // One node takes a dead one over; the row goes with its last run.
            let mut tx = conn.begin().await?;
            let dead = sqlx::query(
                "SELECT id, name, low_run FROM nodes WHERE lease_until < clock_timestamp() ORDER BY id LIMIT 1 \
                 FOR UPDATE SKIP LOCKED",
            )
            .fetch_optional(&mut *tx)
            .await?;
            let Some(dead) = dead else { return Ok(tx.rollback().await?) };
            let (id, name, low): (i64, String, Uuid) =
                (dead.try_get("id")?, dead.try_get("name")?, dead.try_get("low_run")?);
            let taken = take_over(&mut tx, id, low).await?;
            if taken < SLICE as u64 {
                sqlx::query("DELETE FROM holds WHERE node = $1").bind(id).execute(&mut *tx).await?;
                sqlx::query("DELETE FROM nodes WHERE id = $1").bind(id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            metrics::counter!("triggerd_runs_taken_over_total").increment(taken);
            tracing::warn!(
                node = id,
                name,
                runs = taken,
                "Node {id} ({name}) is dead: {taken} of its runs are due again"
            );
            if taken > 0 {
                self.wake.due();
            }
            if id == self.id() {
                // It was this process itself, which was too late.
                self.register(conn).await?;
            }
        }
    }

    /// Signs off: what this node still holds is due at once.
    async fn leave(&self, conn: &mut PgConnection) -> Result<(), Error> {
        loop {
            let mut tx = conn.begin().await?;
            let row = sqlx::query("SELECT low_run FROM nodes WHERE id = $1 FOR UPDATE").bind(self.id());
            let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(()) };
            let taken = take_over(&mut tx, self.id(), row.try_get("low_run")?).await?;
            if taken < SLICE as u64 {
                sqlx::query("DELETE FROM holds WHERE node = $1").bind(self.id()).execute(&mut *tx).await?;
                sqlx::query("DELETE FROM nodes WHERE id = $1").bind(self.id()).execute(&mut *tx).await?;
                tx.commit().await?;
                return Ok(());
            }
            tx.commit().await?;
        }
    }
}

/// Makes runs that a node holds due, under the node's row lock; answers with how many, at most [`SLICE`]. Nobody is
/// their holder then, so that the former one can report nothing any more.
async fn take_over(conn: &mut PgConnection, node: i64, low: Uuid) -> Result<u64, Error> {
    let sql = format!(
        "WITH named AS MATERIALIZED (SELECT run_id FROM queue WHERE holder = $1 LIMIT {SLICE} FOR UPDATE), \
         found AS MATERIALIZED ( \
             SELECT run_id AS id FROM named UNION \
             (SELECT r.id FROM runs AS r WHERE r.id >= $2 AND r.holder = $1 ORDER BY r.id LIMIT {SLICE})), \
         freed AS ( \
             UPDATE runs AS r SET state = 0, holder = NULL FROM found \
             WHERE r.id = found.id AND r.holder = $1 AND r.state = 1 RETURNING r.id, r.event_id, r.created_at), \
         ended AS (DELETE FROM queue AS q USING named WHERE q.run_id = named.run_id \
             AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = q.run_id AND r.holder = $1 AND r.state = 1) RETURNING q.run_id), \
         due AS (INSERT INTO queue (run_id, event_id, due_at, lost, created_at) \
             SELECT id, event_id, {NOW_MS}, true, created_at FROM freed \
             ON CONFLICT (run_id) DO UPDATE SET holder = NULL, due_at = excluded.due_at, lost = true) \
         SELECT (SELECT count(*) FROM freed) + (SELECT count(*) FROM ended)"
    );
    let taken: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(node).bind(low).fetch_one(conn).await?;
    Ok(taken.unsigned_abs())
}

/// Gives these runs back where the node still holds them under these epochs; they are due in `delay_ms`. `lost`: their
/// holder lost track of them in the middle of an attempt. Answers with how many that were.
pub(super) async fn release(
    conn: &mut PgConnection,
    node: i64,
    runs: &[Dropped],
    delay_ms: i64,
    lost: bool,
) -> Result<u64, Error> {
    let ids: Vec<Uuid> = runs.iter().map(|one| one.id.0).collect();
    let epochs: Vec<i64> = runs.iter().map(|one| one.epoch).collect();
    let sql = format!(
        "WITH freed AS ( \
             UPDATE runs AS r SET state = 0, holder = NULL FROM unnest($2::uuid[], $3::bigint[]) AS u (id, epoch) \
             WHERE r.id = u.id AND r.epoch = u.epoch AND r.holder = $1 AND r.state = 1 RETURNING r.id, r.event_id, r.created_at), \
         due AS (INSERT INTO queue (run_id, event_id, due_at, lost, created_at) \
             SELECT id, event_id, {NOW_MS} + $4, $5, created_at FROM freed \
             ON CONFLICT (run_id) DO UPDATE SET holder = NULL, due_at = excluded.due_at, lost = excluded.lost) \
         SELECT count(*) FROM freed"
    );
    let freed: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(node)
        .bind(ids)
        .bind(epochs)
        .bind(delay_ms)
        .bind(lost)
        .fetch_one(conn)
        .await?;
    Ok(freed.unsigned_abs())
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "node".to_owned(), |name| name.trim().to_owned())
}
