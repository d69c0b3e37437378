//! Claims: who may execute a run.
//!
//! A claim raises the run's epoch, the fencing token that its holder's reports carry, and sets a lease. A run may be
//! claimed when it is pending and due, or when its lease has ended; never while an earlier run of its lane (tenant,
//! trigger, ordering key) has not ended, or a later one is being executed. The data directory belongs to one process, so
//! at its start no lease has a holder.
//!
//! Of several tenants that wait each has its share of a claim (`rota.rs`); what they leave goes to the oldest.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::{RunId, TenantId};

use super::decode::{self, RUN_COLUMNS};
use super::open::Store;
use crate::store::{Claimed, Error, rota};

/// Holds for a run `r` whose lane lets it be claimed. Takes `now`, for the leases of later ones.
const LANE_IS_FREE: &str = "(r.ordering_key IS NULL OR NOT EXISTS (SELECT 1 FROM runs AS o \
     WHERE o.tenant = r.tenant AND o.trigger = r.trigger AND o.ordering_key = r.ordering_key \
     AND o.ordering_key IS NOT NULL AND o.due_at IS NOT NULL \
     AND (o.seq < r.seq OR (o.seq > r.seq AND o.state = 'running' AND o.due_at > ?))))";

/// Holds for a run `w` that waits; as the index `runs_waiting` says it.
const WAITING: &str = "w.state = 'pending' AND w.parked = 0";

impl Store {
    pub async fn claim(&self, now: Timestamp, limit: u32, lease_until: Timestamp) -> Result<Vec<Claimed>, Error> {
        let (now, lease) = (now.as_millisecond(), lease_until.as_millisecond());
        // A claim that finds nothing, which most do, costs the writer nothing.
        if !self.is_any_due(now).await? {
            return Ok(Vec::new());
        }
        let mut look = self.rota.look();
        while let Some(after) = look.after() {
            look.found(self.tenants_after(&after, now).await?);
        }
        let waiting = look.all();
        // A quarter is left to the oldest, so that runs whose lease has ended are always among those that are claimed.
        let shared = limit - limit / 4;
        let (served, each) = if waiting.len() < 2 { (Vec::new(), 0) } else { self.rota.next(waiting, shared) };
        self.write(move |conn| {
            Box::pin(async move {
                let mut seqs = Vec::new();
                for tenant in served {
                    seqs.extend(due_of(conn, &tenant, now, each).await?);
                }
                seqs.truncate(shared as usize);
                let oldest = oldest_due(conn, now, limit).await?;
                let chosen: HashSet<i64> = seqs.iter().copied().collect();
                seqs.extend(oldest.into_iter().filter(|seq| !chosen.contains(seq)));
                seqs.truncate(limit as usize);
                take(conn, seqs, lease).await
            })
        })
        .await
    }

    /// The tenants after a name that have runs which wait and are due. Each is one look into the index, however many runs it has.
    async fn tenants_after(&self, after: &str, now: i64) -> Result<Vec<String>, Error> {
        let next = format!("SELECT w.tenant FROM runs AS w WHERE {WAITING} AND w.tenant");
        let sql = format!(
            "WITH RECURSIVE t (tenant) AS ( \
                 SELECT ({next} > ? ORDER BY w.tenant LIMIT 1) UNION ALL \
                 SELECT ({next} > t.tenant ORDER BY w.tenant LIMIT 1) FROM t WHERE t.tenant IS NOT NULL LIMIT ?) \
             SELECT t.tenant FROM t WHERE t.tenant IS NOT NULL \
             AND EXISTS (SELECT 1 FROM runs AS w WHERE {WAITING} AND w.tenant = t.tenant AND w.due_at <= ?) LIMIT ?"
        );
        let mut conn = self.reader().await?;
        let most = (rota::LOOKED_AT as i64, rota::MOST as i64);
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(after).bind(most.0).bind(now).bind(most.1);
        Ok(query.fetch_all(&mut *conn).await?)
    }

    async fn is_any_due(&self, now: i64) -> Result<bool, Error> {
        let mut conn = self.reader().await?;
        let due = sqlx::query("SELECT 1 FROM runs WHERE due_at IS NOT NULL AND parked = 0 AND due_at <= ? LIMIT 1")
            .bind(now)
            .fetch_optional(&mut *conn)
            .await?;
        Ok(due.is_some())
    }

    pub async fn claim_lane(
        &self,
        tenant: &TenantId,
        trigger: &str,
        key: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Claimed>, Error> {
        let (tenant, trigger, key) = (tenant.clone(), trigger.to_owned(), key.to_owned());
        let (now, lease) = (now.as_millisecond(), lease_until.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT r.seq FROM runs AS r WHERE r.tenant = ? AND r.trigger = ? AND r.ordering_key = ? \
                     AND r.ordering_key IS NOT NULL AND r.due_at IS NOT NULL AND r.due_at <= ? \
                     AND {LANE_IS_FREE} ORDER BY r.seq LIMIT 1"
                );
                let seqs = sqlx::query_scalar(AssertSqlSafe(sql))
                    .bind(tenant.as_str())
                    .bind(trigger)
                    .bind(key)
                    .bind(now)
                    .bind(now)
                    .fetch_all(&mut *conn)
                    .await?;
                Ok(take(conn, seqs, lease).await?.pop())
            })
        })
        .await
    }

    pub async fn claim_run(&self, id: RunId, now: Timestamp, lease_until: Timestamp) -> Result<Option<Claimed>, Error> {
        let (now, lease) = (now.as_millisecond(), lease_until.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT r.seq FROM runs AS r WHERE r.id = ? AND r.due_at IS NOT NULL AND r.due_at <= ? AND {LANE_IS_FREE}"
                );
                let seqs = sqlx::query_scalar(AssertSqlSafe(sql))
                    .bind(id.as_bytes().as_slice())
                    .bind(now)
                    .bind(now)
                    .fetch_all(&mut *conn)
                    .await?;
                Ok(take(conn, seqs, lease).await?.pop())
            })
        })
        .await
    }

    pub async fn renew(&self, held: Vec<(RunId, i64)>, until: Timestamp) -> Result<Vec<bool>, Error> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let until = until.as_millisecond();
        self.write_one(move |conn| {
            Box::pin(async move {
                let list: Vec<Value> =
                    held.iter().map(|(id, epoch)| serde_json::json!([hex::encode(id.as_bytes()), epoch])).collect();
                let rows = sqlx::query(
                    "UPDATE runs INDEXED BY runs_id SET due_at = ? FROM json_each(?) AS held WHERE runs.id = unhex(held.value ->> 0) \
                     AND runs.epoch = held.value ->> 1 AND runs.state = 'running' RETURNING runs.id, runs.epoch",
                )
                .bind(until)
                .bind(Value::Array(list).to_string())
                .fetch_all(conn)
                .await?;
                let mut renewed = std::collections::HashSet::with_capacity(rows.len());
                for row in &rows {
                    renewed.insert((RunId::from_slice(row.try_get(0)?), row.try_get::<i64, _>(1)?));
                }
                Ok(held.iter().map(|(id, epoch)| renewed.contains(&(Some(*id), *epoch))).collect())
            })
        })
        .await
    }
}

/// A tenant's runs that wait, are due and may be claimed: the oldest.
async fn due_of(conn: &mut SqliteConnection, tenant: &str, now: i64, most: u32) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "SELECT r.seq FROM runs AS r INDEXED BY runs_waiting WHERE r.state = 'pending' AND r.parked = 0 AND r.tenant = ? \
         AND r.due_at <= ? AND {LANE_IS_FREE} ORDER BY r.due_at LIMIT ?"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).bind(now).bind(now).bind(i64::from(most));
    Ok(query.fetch_all(conn).await?)
}

/// The oldest runs that may be claimed, whosever they are; those whose lease has ended are among them.
async fn oldest_due(conn: &mut SqliteConnection, now: i64, most: u32) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "SELECT r.seq FROM runs AS r WHERE r.due_at IS NOT NULL AND r.parked = 0 AND r.due_at <= ? \
         AND {LANE_IS_FREE} ORDER BY r.due_at LIMIT ?"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(now).bind(now).bind(i64::from(most));
    Ok(query.fetch_all(conn).await?)
}

/// Claims these runs, which may be claimed; answers in their order.
async fn take(conn: &mut SqliteConnection, seqs: Vec<i64>, lease: i64) -> Result<Vec<Claimed>, Error> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    let list = Value::from(seqs).to_string();
    sqlx::query(
        "UPDATE runs SET lost = (state = 'running'), state = 'running', epoch = epoch + 1, due_at = ?, parked = 0 \
         WHERE seq IN (SELECT value FROM json_each(?))",
    )
    .bind(lease)
    .bind(list.as_str())
    .execute(&mut *conn)
    .await?;
    let sql = format!(
        "SELECT {RUN_COLUMNS}, e.crc, e.body FROM json_each(?) AS j CROSS JOIN runs AS r ON r.seq = j.value \
         CROSS JOIN events AS e ON e.seq = r.seq >> 18 ORDER BY j.key"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(list).fetch_all(&mut *conn).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        match decode_claimed(row) {
            Ok(one) => claimed.push(one),
            Err(Error::Damaged(what)) => bury(conn, row.try_get("seq")?, &what).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

fn decode_claimed(row: &SqliteRow) -> Result<Claimed, Error> {
    Ok(Claimed { run: decode::run(row)?, event: decode::event(row)?, holder_lost: row.try_get("lost")? })
}

/// Makes a run that cannot be read a dead letter: it would be claimed for ever, and its lane would stand still.
async fn bury(conn: &mut SqliteConnection, seq: i64, what: &str) -> Result<(), Error> {
    tracing::error!("The store holds a damaged {what}; its run becomes a dead letter");
    sqlx::query(
        "UPDATE runs SET state = 'failed', due_at = NULL, finished_at = created_at, error_code = 'STORE_DAMAGED', error = ? \
         WHERE seq = ?",
    )
    .bind(what)
    .bind(seq)
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all leases: called once, by the process that has just locked the data directory.
pub(super) async fn release_all(conn: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query(
        "UPDATE runs SET due_at = 0 WHERE due_at IS NOT NULL AND parked = 0 AND due_at <> 0 AND state = 'running'",
    )
    .execute(conn)
    .await?;
    Ok(())
}
