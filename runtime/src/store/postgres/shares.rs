//! Limits that all nodes share: so many at a time, and so many in a time.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};

use super::Store;
use super::holds::{Held, Token};
use crate::store::Error;

const NOW_US: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

impl Store {
    /// Takes one of the `of` places that `name` has; `None` where all are held by nodes that are alive.
    pub(in crate::store) async fn slot(&self, name: &str, of: u32) -> Result<Option<Held>, Error> {
        let token = Token::new(self);
        let mut conn = self.reader().await?;
        // Nodes that choose at the same time choose different ones, mostly; who loses asks again.
        let taken: Option<String> = sqlx::query_scalar(
            "INSERT INTO holds AS h (name, node, token) SELECT s.name, n.id, $4 FROM nodes AS n CROSS JOIN LATERAL ( \
                 SELECT $2 || i::text AS name FROM generate_series(1, $3) AS i WHERE NOT EXISTS ( \
                     SELECT 1 FROM holds AS o JOIN nodes AS a ON a.id = o.node AND a.lease_until > clock_timestamp() \
                     WHERE o.name = $2 || i::text) ORDER BY random() LIMIT 1) AS s \
             WHERE n.id = $1 AND n.lease_until > clock_timestamp() \
             ON CONFLICT (name) DO UPDATE SET node = excluded.node, token = excluded.token \
             WHERE NOT EXISTS (SELECT 1 FROM nodes AS o WHERE o.id = h.node AND o.lease_until > clock_timestamp()) \
             RETURNING h.name",
        )
        .bind(self.node.id())
        .bind(format!("slot:{name}/"))
        .bind(i32::try_from(of).unwrap_or(i32::MAX))
        .bind(token.value)
        .fetch_optional(&mut *conn)
        .await?;
        Ok(taken.map(|name| Held { name, token }))
    }

    /// Pours `tokens` into a leaky bucket that holds `burst` worth of time, `cost` each, where there is room for one; else says
    /// when there will be.
    pub(in crate::store) async fn rate(
        &self,
        name: &str,
        tokens: u64,
        cost: Duration,
        burst: Duration,
    ) -> Result<Option<Duration>, Error> {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4).max(1);
        let (cost, burst) = (us(cost), us(burst.max(cost)));
        let poured = cost.saturating_mul(i64::try_from(tokens).unwrap_or(i64::MAX)).min(i64::MAX / 4);
        let mut conn = self.reader().await?;
        let sql = format!(
            "INSERT INTO rates AS r (name, empty_at) VALUES ($1, {NOW_US} + $2) ON CONFLICT (name) DO UPDATE \
             SET empty_at = greatest(r.empty_at, {NOW_US}) + $2 WHERE greatest(r.empty_at, {NOW_US}) + $3 <= {NOW_US} + $4 \
             RETURNING 1"
        );
        let taken = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(poured).bind(cost).bind(burst);
        if taken.fetch_optional(&mut *conn).await?.is_some() {
            return Ok(None);
        }
        let sql = format!("SELECT empty_at + $2 - $3 - {NOW_US} AS wait FROM rates WHERE name = $1");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(cost).bind(burst).fetch_optional(&mut *conn).await?;
        let wait: i64 = row.map(|row| row.try_get("wait")).transpose()?.unwrap_or(0);
        Ok(Some(Duration::from_micros(u64::try_from(wait).unwrap_or(0).max(1))))
    }
}
