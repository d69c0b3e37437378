//! Events: forgotten after the retention time.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::open::Store;
use super::rows::run_range;
use super::segments;
use crate::store::Error;

impl Store {
    /// There is nothing that goes as a whole.
    pub async fn drop_old(&self, _: Timestamp, _: u32) -> Result<u64, Error> {
        Ok(0)
    }
}

/// Deletes those of these events for which `condition` still holds, with their runs.
pub(super) async fn delete(conn: &mut SqliteConnection, seqs: &[i64], condition: &str) -> Result<u64, Error> {
    let list = serde_json::Value::from(seqs).to_string();
    let sql = format!(
        "DELETE FROM events AS e WHERE e.seq IN (SELECT value FROM json_each(?)) AND ({condition}) RETURNING seq"
    );
    let deleted = sqlx::query(AssertSqlSafe(sql)).bind(list).fetch_all(&mut *conn).await?;
    let mut gone = deleted.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    gone.sort_unstable();
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
