//! The audit log: who changed what. Entries are written with the change itself, see `store/witness.rs`.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::decode::{at, damaged, tenant};
use super::dialect::{Id, id, some};
use super::{Connection, DbRow, Store};
use crate::store::{AuditEntry, AuditFilter, AuditOutcome, Error};

/// How far the entries of a list are counted.
const COUNTED: i64 = 10_000;

const WHERE: &str = "FROM audit WHERE tenant = $1 AND id < $2 AND ($3 IS NULL OR at >= $3) AND ($4 IS NULL OR at < $4) \
     AND ($5 IS NULL OR key_id = $5) AND ($6 IS NULL OR method = $6) \
     AND ($7 IS NULL OR path = $7 OR substr(path, 1, length($7) + 1) = $7 || '/') AND ($8 IS NULL OR outcome = $8)";

/// Keeps entries in the transaction of what they tell of. One that is there already says less: its request was given up meanwhile.
pub(in crate::store) async fn keep(conn: &mut Connection, entries: Vec<AuditEntry>) -> Result<(), Error> {
    for entry in entries {
        insert(
            conn,
            entry,
            "DO UPDATE SET outcome = excluded.outcome, before = excluded.before, after = excluded.after",
        )
        .await?;
    }
    Ok(())
}

/// Does the work of a change, and keeps in its transaction the entry that tells of it.
pub(in crate::store) async fn with<T, F>(
    conn: &mut Connection,
    work: F,
    mut entry: AuditEntry,
    tell: fn(&T, &mut AuditEntry),
) -> Result<T, Error>
where
    F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, Error>> + Send,
{
    let done = work(conn).await?;
    tell(&done, &mut entry);
    keep(conn, vec![entry]).await?;
    Ok(done)
}

impl Store {
    pub async fn audit(&self, entries: Vec<AuditEntry>) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                for entry in entries {
                    insert(conn, entry, "DO NOTHING").await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn audit_correct(&self, entry: Uuid, outcome: AuditOutcome, status: u16) -> Result<(), Error> {
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE audit SET outcome = $1, status = $2 WHERE id = $3";
                let update = sqlx::query(sql).bind(outcome.as_str()).bind(i64::from(status)).bind(id(entry));
                update.execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    pub async fn audit_entries(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<(Vec<AuditEntry>, u64), Error> {
        let mut conn = self.reader().await?;
        let bound = |sql: String, before: Uuid| {
            sqlx::query(AssertSqlSafe(sql))
                .bind(tenant.as_str().to_owned())
                .bind(id(before))
                .bind(filter.start.map(Timestamp::as_millisecond))
                .bind(filter.end.map(Timestamp::as_millisecond))
                .bind(filter.key.clone())
                .bind(filter.method.clone())
                .bind(filter.path.clone())
                .bind(filter.outcome.map(AuditOutcome::as_str))
        };
        let sql = format!(
            "SELECT id, tenant, at, key_id, peer, method, route, path, outcome, status, before, after {WHERE} ORDER BY id DESC LIMIT $9"
        );
        let rows = bound(sql, before.unwrap_or(Uuid::max())).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
        let entries = rows.iter().map(decode).collect::<Result<_, _>>()?;
        let sql = format!("SELECT count(*) AS total FROM (SELECT 1 {WHERE} LIMIT $9) AS counted");
        let total: i64 = bound(sql, Uuid::max()).bind(COUNTED).fetch_one(&mut *conn).await?.try_get("total")?;
        Ok((entries, total.unsigned_abs()))
    }

    pub async fn audit_retire(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = format!("DELETE FROM audit WHERE {}", some("audit", "id", "at < $1"));
                let delete = sqlx::query(AssertSqlSafe(sql)).bind(before.as_millisecond()).bind(i64::from(limit));
                Ok(delete.execute(conn).await?.rows_affected())
            })
        })
        .await
    }
}

async fn insert(conn: &mut Connection, entry: AuditEntry, conflict: &str) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO audit (id, tenant, at, key_id, peer, method, route, path, outcome, status, before, after) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) {conflict}"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(id(entry.id))
        .bind(entry.tenant.as_str())
        .bind(entry.at.as_millisecond())
        .bind(entry.key)
        .bind(entry.peer)
        .bind(entry.method)
        .bind(entry.route)
        .bind(entry.path)
        .bind(entry.outcome.as_str())
        .bind(entry.status.map(i64::from))
        .bind(entry.before.map(|value| value.to_string()))
        .bind(entry.after.map(|value| value.to_string()))
        .execute(conn)
        .await?;
    Ok(())
}

fn decode(row: &DbRow) -> Result<AuditEntry, Error> {
    let json = |column: &str| -> Result<_, Error> {
        let text: Option<String> = row.try_get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| damaged(column, e))).transpose()
    };
    let key: Id = row.try_get("id")?;
    let outcome: String = row.try_get("outcome")?;
    let status: Option<i64> = row.try_get("status")?;
    Ok(AuditEntry {
        id: Uuid::from_slice(key.as_ref()).map_err(|e| damaged("audit entry", e))?,
        tenant: tenant(row)?,
        at: at(row, "at")?,
        key: row.try_get("key_id")?,
        peer: row.try_get("peer")?,
        method: row.try_get("method")?,
        route: row.try_get("route")?,
        path: row.try_get("path")?,
        outcome: AuditOutcome::parse(&outcome).ok_or_else(|| damaged("outcome", &outcome))?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        before: json("before")?,
        after: json("after")?,
    })
}
