//! Events: forgotten after the retention time.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::dialect::RUNS_OF_E;
use super::open::Store;
use super::rows::run_range;
use super::segments;
use crate::store::Error;

impl Store {
    pub async fn delete_events_before(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let before = before.as_millisecond();
        let limit = limit.clamp(1, 10_000) as usize;
        let mut seqs = Vec::new();
        let mut from = i64::MIN;
        let mut conn = self.reader().await?;
        // In order of acceptance: the first event that is young enough ends the search.
        'search: while seqs.len() < limit {
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT e.seq, e.accepted_at, NOT EXISTS (SELECT 1 FROM {RUNS_OF_E} AND r.due_at IS NOT NULL) AS ended \
                 FROM events AS e WHERE e.seq > ? ORDER BY e.seq LIMIT 1000"
            )))
            .bind(from)
            .fetch_all(&mut *conn)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let seq: i64 = row.try_get("seq")?;
                if row.try_get::<i64, _>("accepted_at")? >= before || seqs.len() == limit {
                    break 'search;
                }
                if row.try_get("ended")? {
                    seqs.push(seq);
                }
                from = seq;
            }
        }
        drop(conn);
        if seqs.is_empty() {
            return Ok(0);
        }
        self.write(move |conn| Box::pin(async move { delete(conn, &seqs).await })).await
    }
}

/// Deletes events with their runs, but not one that was replayed meanwhile.
async fn delete(conn: &mut SqliteConnection, seqs: &[i64]) -> Result<u64, Error> {
    let list = serde_json::Value::from(seqs).to_string();
    let deleted = sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM events AS e WHERE e.seq IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM {RUNS_OF_E} AND r.due_at IS NOT NULL) \
         RETURNING seq")) )
    .bind(list)
    .fetch_all(&mut *conn)
    .await?;
    let gone = deleted.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    segments::mark(conn, &gone).await?;
    for part in gone.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            continue;
        };
        sqlx::query("DELETE FROM runs WHERE seq BETWEEN ? AND ?")
            .bind(run_range(*first).0)
            .bind(run_range(*last).1)
            .execute(&mut *conn)
            .await?;
    }
    Ok(gone.len() as u64)
}
