//! How much waits: what the metrics show. Each looks at unfinished runs or dead letters only.

use jiff::Timestamp;

use super::decode;
use super::open::Store;
use crate::store::Error;

/// Unfinished runs that may be claimed, now or later, or are: all that the index `runs_due` has, which answers without the table.
const DUE: &str = "FROM runs INDEXED BY runs_due WHERE due_at IS NOT NULL AND parked = 0";
/// Unfinished runs that wait in their lanes for the one before.
const PARKED: &str =
    "FROM runs INDEXED BY runs_lane WHERE ordering_key IS NOT NULL AND due_at IS NOT NULL AND parked = 1";

impl Store {
    pub async fn unfinished(&self) -> Result<u64, Error> {
        self.number(format!("SELECT (SELECT count(*) {DUE}) + (SELECT count(*) {PARKED})")).await
    }

    pub async fn queue_depths(&self) -> Result<Vec<(String, u64)>, Error> {
        let running = self.number(format!("SELECT coalesce(sum(state = 'running'), 0) {DUE}")).await?;
        let pending = self.unfinished().await?.saturating_sub(running);
        let failed = self.dead_letter_count().await?;
        Ok(vec![("pending".to_owned(), pending), ("running".to_owned(), running), ("failed".to_owned(), failed)])
    }

    pub async fn oldest_pending(&self) -> Result<Option<Timestamp>, Error> {
        let mut conn = self.reader().await?;
        // A parked run waits behind an older one, which is counted.
        let sql = format!("SELECT min(iif(state = 'pending', created_at, NULL)) {DUE}");
        let oldest: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *conn).await?;
        oldest.map(decode::instant).transpose()
    }

    pub async fn dead_letter_count(&self) -> Result<u64, Error> {
        self.number("SELECT count(*) FROM runs WHERE state = 'failed'".to_owned()).await
    }

    /// This process.
    pub async fn node_count(&self) -> Result<u64, Error> {
        Ok(1)
    }

    async fn number(&self, sql: String) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let number: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *conn).await?;
        u64::try_from(number).map_err(|_| decode::damaged("count", number))
    }
}
