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
/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);
/// The advisory lock of whoever makes or drops partitions.
const LOCK: i64 = 0x7472_6967_7061_7274;

/// What is said of a table's partitions: how full a page is made. Reports on runs are larger than what was planned.
const TABLES: [(&str, &str); 2] = [("events", ""), ("runs", " WITH (fillfactor = 25)")];

/// Makes the partitions that are needed soon.
pub(super) async fn ensure(conn: &mut PgConnection, now_ms: i64, retention: Option<Duration>) -> Result<(), Error> {
    let width = width(retention);
    for n in -1..=AHEAD {
        let from = (now_ms.div_euclid(width) + n) * width;
        make(conn, from, from + width).await?;
    }
    Ok(())
}

/// Days that a partition spans, in milliseconds.
fn width(retention: Option<Duration>) -> i64 {
    let days = retention.map_or(90, |kept| i64::try_from(kept.as_secs() / 86_400).unwrap_or(90));
    (days / PARTITIONS).clamp(1, 7) * DAY
}

async fn make(conn: &mut PgConnection, from: i64, to: i64) -> Result<(), Error> {
    let is_there = "SELECT count(*) FROM partitions WHERE from_ms < $2 AND to_ms > $1";
    if sqlx::query_scalar::<_, i64>(is_there).bind(from).bind(to).fetch_one(&mut *conn).await? > 0 {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    // Another node may have made it meanwhile; or a former setting made wider ones.
    if sqlx::query_scalar::<_, i64>(is_there).bind(from).bind(to).fetch_one(&mut *tx).await? > 0 {
        return Ok(());
    }
    let name = name(from)?;
    for (table, with) in TABLES {
        let (low, high) = (bound(from), bound(to));
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
    }
    sqlx::query("INSERT INTO partitions (name, from_ms, to_ms) VALUES ($1, $2, $3)")
        .bind(&name)
        .bind(from)
        .bind(to)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Drops the partitions whose events were all accepted before `before`, unless one of their runs has not ended; answers with about
/// how many events that were.
pub(super) async fn drop_before(conn: &mut PgConnection, before: i64) -> Result<u64, Error> {
    let old = sqlx::query("SELECT name, from_ms, to_ms FROM partitions WHERE to_ms <= $1 ORDER BY from_ms")
        .bind(before)
        .fetch_all(&mut *conn)
        .await?;
    let mut dropped = 0;
    for row in &old {
        let (name, from, to): (String, i64, i64) =
            (row.try_get("name")?, row.try_get("from_ms")?, row.try_get("to_ms")?);
        dropped += drop_one(conn, &name, from, to).await?;
    }
    Ok(dropped)
}

async fn drop_one(conn: &mut PgConnection, name: &str, from: i64, to: i64) -> Result<u64, Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    // A reader of the partition is not waited for: others would wait behind.
    sqlx::query("SET LOCAL lock_timeout = '200ms'").execute(&mut *tx).await?;
    let is_there = "SELECT count(*) FROM partitions WHERE name = $1";
    if sqlx::query_scalar::<_, i64>(is_there).bind(name).fetch_one(&mut *tx).await? == 0 {
        return Ok(0);
    }
    // Ids tell when an event was accepted only about: one that claims to be older is kept with the partition's runs.
    let unfinished = "SELECT EXISTS (SELECT 1 FROM queue WHERE (run_id >= $1 AND run_id < $2) OR (event_id >= $1 AND event_id < $2))";
    if sqlx::query_scalar(unfinished).bind(bound(from)).bind(bound(to)).fetch_one(&mut *tx).await? {
        tracing::debug!(partition = name, "Partition {name} is kept: one of its runs has not ended");
        return Ok(0);
    }
    let sql = format!("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'events_{name}'::regclass");
    let events: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *tx).await?;
    sqlx::query("DELETE FROM dead_letters WHERE run_id >= $1 AND run_id < $2")
        .bind(bound(from))
        .bind(bound(to))
        .execute(&mut *tx)
        .await?;
    for (table, _) in TABLES {
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}_{name}"))).execute(&mut *tx).await?;
    }
    sqlx::query("DELETE FROM partitions WHERE name = $1").bind(name).execute(&mut *tx).await?;
    tx.commit().await?;
    tracing::info!(partition = name, events, "Events of partition {name} were let go");
    Ok(events.unsigned_abs())
}

/// Keeps partitions made ahead, and small tables small, until `stop`.
pub(super) async fn keep(
    options: PgConnectOptions,
    clock: Clock,
    retention: Option<Duration>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut link = Link::new(options);
    // The first tick is at once, and was done when the store was opened.
    ticks.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let kept = match link.get().await {
            Ok(conn) => tend(conn, &clock, retention).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "Partitions could not be made ahead, trying again: {error}");
        }
        link.cut();
    }
    link.close().await;
}

async fn tend(conn: &mut PgConnection, clock: &Clock, retention: Option<Duration>) -> Result<(), Error> {
    let database: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {NOW_MS}"))).fetch_one(&mut *conn).await?;
    // Ids are by the nodes' clocks, which may be ahead of the database's.
    ensure(conn, database.max(clock.now_ms()), retention).await?;
    changes::forget(conn).await
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
