//! How much waits: what the metrics show.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Store, decode};
use crate::store::Error;

const PENDING: &str = "(SELECT count(*) FROM queue WHERE holder IS NULL)";
/// What other nodes hold, as they said last.
const ELSEWHERE: &str = "(SELECT coalesce(sum(held), 0)::bigint FROM nodes WHERE id <> $1)";

impl Store {
    pub async fn unfinished(&self) -> Result<u64, Error> {
        Ok(self.number(PENDING).await? + self.running().await?)
    }

    pub async fn queue_depths(&self) -> Result<Vec<(String, u64)>, Error> {
        let (pending, running) = (self.number(PENDING).await?, self.running().await?);
        let failed = self.dead_letter_count().await?;
        Ok(vec![("pending".to_owned(), pending), ("running".to_owned(), running), ("failed".to_owned(), failed)])
    }

    pub async fn oldest_pending(&self) -> Result<Option<Timestamp>, Error> {
        let mut conn = self.reader().await?;
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT min(created_at) FROM queue WHERE holder IS NULL").fetch_one(&mut *conn).await?;
        oldest.map(decode::instant).transpose()
    }

    pub async fn dead_letter_count(&self) -> Result<u64, Error> {
        self.number("(SELECT count(*) FROM dead_letters)").await
    }

    pub async fn node_count(&self) -> Result<u64, Error> {
        self.number("(SELECT count(*) FROM nodes WHERE lease_until > clock_timestamp())").await
    }

    /// Runs that this node holds, and those that other nodes said they hold.
    async fn running(&self) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let elsewhere: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {ELSEWHERE}")))
            .bind(self.node.id())
            .fetch_one(&mut *conn)
            .await?;
        Ok(self.node.held.count() as u64 + elsewhere.unsigned_abs())
    }

    async fn number(&self, what: &str) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let number: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {what}"))).fetch_one(&mut *conn).await?;
        u64::try_from(number).map_err(|_| decode::damaged("count", number))
    }
}
