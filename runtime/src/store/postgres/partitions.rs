//! Partitions by time: made ahead, dropped when everything in them is old, so that nothing is ever deleted row by row.
//!
//! `events` and `runs` have the same partitions, each by the time that its ids begin with. What has an id from another time is in
//! `events_rest` and `runs_rest`, and moves when a partition for its time is made.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio_util::sync::CancellationToken;
use triggerd_core::id::RunId;
use uuid::Uuid;

use super::link::Link;
use super::node::NOW_MS;
use super::{changes, decode};
use crate::clock::Clock;
use crate::store::Error;

const DAY: i64 = 86_400_000;
/// Partitions that the retention is made of, about.
const PARTITIONS: i64 = 14;
/// How many are made ahead.
const AHEAD: i64 = 2;
/// Dead letters that move to the rest when their partition is dropped; with more it is kept.
const SET_ASIDE: i64 = 10_000;
/// Between two looks, between two tries, and how long one may take.
const LOOK: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(5);
const TEND_LIMIT: Duration = Duration::from_secs(60);
/// The advisory lock of whoever makes or drops partitions.
const LOCK: i64 = 0x7472_6967_7061_7274;

/// What is said of a table's partitions: how full a page is made. Reports on runs are larger than what was planned.
const TABLES: [(&str, &str); 2] = [("events", ""), ("runs", " WITH (fillfactor = 25)")];

/// Makes the partitions that are needed soon.
pub(super) async fn ensure(conn: &mut PgConnection, now_ms: i64, retention: Option<Duration>) -> Result<(), Error> {
    let width = width(retention);
    let mut failed = None;
    for n in -1..=AHEAD {
        let from = (now_ms.div_euclid(width) + n) * width;
        // One that somebody reads just now is made later: until then its rows go to the rest.
        failed = make(conn, from, from + width).await.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Days that a partition spans, in milliseconds.
fn width(retention: Option<Duration>) -> i64 {
    let days = retention.map_or(90, |kept| i64::try_from(kept.as_secs() / 86_400).unwrap_or(90));
    (days / PARTITIONS).clamp(1, 7) * DAY
}

async fn make(conn: &mut PgConnection, from: i64, to: i64) -> Result<(), Error> {
    // A former setting may have made wider ones.
    let is_there = "SELECT count(*) FROM partitions WHERE from_ms < $2 AND to_ms > $1";
    if sqlx::query_scalar::<_, i64>(is_there).bind(from).bind(to).fetch_one(&mut *conn).await? > 0 {
        return Ok(());
    }
    let name = name(from)?;
    for (table, with) in TABLES {
        make_table(conn, table, with, &name, (bound(from), bound(to))).await?;
    }
    sqlx::query("INSERT INTO partitions (name, from_ms, to_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(&name)
        .bind(from)
        .bind(to)
        .execute(conn)
        .await?;
    Ok(())
}

/// One table's partition, in a transaction of its own; two tables locked together could meet a reader the other way round.
async fn make_table(
    conn: &mut PgConnection,
    table: &str,
    with: &str,
    name: &str,
    (low, high): (Uuid, Uuid),
) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    lock(&mut tx).await?;
    let is_there = "SELECT to_regclass($1) IS NOT NULL";
    if sqlx::query_scalar(is_there).bind(format!("{table}_{name}")).fetch_one(&mut *tx).await? {
        return Ok(tx.rollback().await?);
    }
    // Names and bounds are ours.
    for sql in [
        format!("CREATE TABLE {table}_{name} (LIKE {table} INCLUDING ALL){with}"),
        format!(
            "WITH moved AS (DELETE FROM {table}_rest WHERE id >= '{low}' AND id < '{high}' RETURNING *) \
             INSERT INTO {table}_{name} SELECT * FROM moved"
        ),
        format!("ALTER TABLE {table} ATTACH PARTITION {table}_{name} FOR VALUES FROM ('{low}') TO ('{high}')"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// Keeps other nodes from making or dropping partitions until the end of the transaction, which waits for no reader: others would
/// wait behind it.
async fn lock(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *conn).await?;
    sqlx::query("SET LOCAL lock_timeout = '200ms'").execute(conn).await?;
    Ok(())
}

/// Drops the partitions whose events were all accepted before `before`, unless one of their runs has not ended; answers with about
/// how many events that were. Dead letters stay, with their events: they move to the rest.
pub(super) async fn drop_before(conn: &mut PgConnection, before: i64) -> Result<u64, Error> {
    let old = sqlx::query("SELECT name, from_ms, to_ms FROM partitions WHERE to_ms <= $1 ORDER BY from_ms")
        .bind(before)
        .fetch_all(&mut *conn)
        .await?;
    let mut dropped = 0;
    for row in &old {
        let (name, from, to): (String, i64, i64) =
            (row.try_get("name")?, row.try_get("from_ms")?, row.try_get("to_ms")?);
        dropped += drop_one(conn, &name, from, to, before).await?;
    }
    Ok(dropped)
}

async fn drop_one(conn: &mut PgConnection, name: &str, from: i64, to: i64, before: i64) -> Result<u64, Error> {
    let mut tx = conn.begin().await?;
    lock(&mut tx).await?;
    let is_there = "SELECT count(*) FROM partitions WHERE name = $1";
    if sqlx::query_scalar::<_, i64>(is_there).bind(name).fetch_one(&mut *tx).await? == 0 {
        tx.rollback().await?;
        return Ok(0);
    }
    // What is looked at stays so until it is gone.
    let sql = format!("LOCK TABLE events_{name}, runs_{name} IN ACCESS EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    // Ids tell only about when an event was accepted: one of a captured change has the change's time.
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM queue WHERE (run_id >= $1 AND run_id < $2) OR (event_id >= $1 AND event_id < $2)) \
         OR EXISTS (SELECT 1 FROM runs_{name} WHERE state < 2) OR EXISTS (SELECT 1 FROM events_{name} WHERE accepted_at >= $3)"
    );
    let is_needed = sqlx::query_scalar(AssertSqlSafe(sql)).bind(bound(from)).bind(bound(to)).bind(before);
    if is_needed.fetch_one(&mut *tx).await? {
        tracing::debug!(partition = name, "Partition {name} is kept: something in it is needed");
        tx.rollback().await?;
        return Ok(0);
    }
    let sql = format!("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'events_{name}'::regclass");
    let events: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *tx).await?;
    if !set_aside(&mut tx, name).await? {
        tracing::debug!(partition = name, "Partition {name} is kept: there are very many dead letters in it");
        tx.rollback().await?;
        return Ok(0);
    }
    for (table, _) in TABLES {
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}_{name}"))).execute(&mut *tx).await?;
        // Of a time that has no partition any more.
        sqlx::query(AssertSqlSafe(format!("INSERT INTO {table} SELECT * FROM kept_{table}"))).execute(&mut *tx).await?;
    }
    sqlx::query("DELETE FROM partitions WHERE name = $1").bind(name).execute(&mut *tx).await?;
    tx.commit().await?;
    tracing::info!(partition = name, events, "Events of partition {name} were let go");
    Ok(events.unsigned_abs())
}

/// Copies the dead letters of a partition, with their events and those's other runs; `false` where there are too many of them.
async fn set_aside(conn: &mut PgConnection, name: &str) -> Result<bool, Error> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM runs_{name} WHERE state = 3 LIMIT $1) AS dead");
    let dead: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(SET_ASIDE + 1).fetch_one(&mut *conn).await?;
    if dead > SET_ASIDE {
        return Ok(false);
    }
    // Runs may be of a later time than their event, and then be in another partition.
    for sql in [
        format!(
            "CREATE TEMP TABLE kept_events ON COMMIT DROP AS SELECT e.* FROM events_{name} AS e WHERE EXISTS ( \
             SELECT 1 FROM runs AS r WHERE r.id BETWEEN e.first_run AND e.last_run AND r.event_id = e.id AND r.state = 3)"
        ),
        format!(
            "CREATE TEMP TABLE kept_runs ON COMMIT DROP AS SELECT r.* FROM runs_{name} AS r \
             WHERE r.state = 3 OR r.event_id IN (SELECT id FROM kept_events)"
        ),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    }
    Ok(true)
}

/// Keeps partitions made ahead, and small tables small, until `stop`.
pub(super) async fn keep(
    options: PgConnectOptions,
    clock: Clock,
    retention: Option<Duration>,
    stop: CancellationToken,
) {
    let mut link = Link::new(options);
    let mut pause = AGAIN;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
        let kept = match link.get().await {
            Ok(conn) => tokio::time::timeout(TEND_LIMIT, tend(conn, &clock, retention)).await,
            Err(error) => Ok(Err(error)),
        };
        pause = match kept {
            Ok(Ok(())) => LOOK,
            Ok(Err(error)) => {
                tracing::info!(%error, "Partitions could not be made ahead, trying again: {error}");
                AGAIN
            }
            Err(_) => AGAIN,
        };
        drop(link.cut());
    }
    link.close().await;
}

async fn tend(conn: &mut PgConnection, clock: &Clock, retention: Option<Duration>) -> Result<(), Error> {
    let database: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {NOW_MS}"))).fetch_one(&mut *conn).await?;
    // Ids are by the nodes' clocks, which may be ahead of the database's.
    ensure(conn, database.max(clock.now_ms()), retention).await?;
    changes::forget(conn).await?;
    // Buckets that have been empty for long.
    sqlx::query(
        "DELETE FROM rates WHERE empty_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 86400000000",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first id of a millisecond.
fn bound(ms: i64) -> Uuid {
    let id = RunId::new(u64::try_from(ms).unwrap_or(0), [0; 10]).0;
    // Without version and variant, which any id of the millisecond has.
    Uuid::from_u128(id.as_u128() >> 80 << 80)
}

fn name(from: i64) -> Result<String, Error> {
    let at: Timestamp = decode::instant(from)?;
    Ok(at.strftime("%Y%m%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_their_first_day_and_bound_by_their_first_id() {
        assert_eq!(name(1_795_737_600_000).unwrap_or_default(), "20261127");
        let ms = 1_795_737_600_000;
        assert!(bound(ms) <= RunId::new(ms as u64, [0; 10]).0);
        assert!(bound(ms) > RunId::new(ms as u64 - 1, [255; 10]).0);
    }

    #[test]
    fn the_retention_is_about_fourteen_partitions() {
        assert_eq!(width(Some(Duration::from_secs(90 * 86_400))), 6 * DAY);
        assert_eq!(width(Some(Duration::from_secs(3600))), DAY);
        assert_eq!(width(None), 6 * DAY);
    }
}
