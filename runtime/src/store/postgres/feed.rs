//! What nodes hand each other for clients that listen: parcels of text that are kept for a minute.

use sqlx::Row as _;

use super::Store;
use crate::store::{Error, FeedCursor};

/// Parcels that are fetched at once.
const SOME: i64 = 200;

impl Store {
    pub async fn feed_put(&self, origin: &str, parcel: &str) -> Result<(), Error> {
        let (origin, parcel) = (origin.to_owned(), parcel.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                // One node's parcels come one after another, so that its numbers become visible in order.
                sqlx::query(
                    "WITH gone AS (DELETE FROM feed WHERE at < clock_timestamp() - interval '1 minute') \
                     INSERT INTO feed (origin, parcel) VALUES ($1, $2)",
                )
                .bind(origin)
                .bind(parcel)
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub async fn feed_end(&self) -> Result<FeedCursor, Error> {
        let mut conn = self.reader().await?;
        let rows = sqlx::query("SELECT origin, max(n) AS n FROM feed GROUP BY origin").fetch_all(&mut *conn).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("origin")?, row.try_get("n")?)))
            .collect::<Result<_, Error>>()
            .map(FeedCursor)
    }

    pub async fn feed_get(&self, origin: &str, cursor: &mut FeedCursor) -> Result<Vec<String>, Error> {
        let (origins, numbers): (Vec<&str>, Vec<i64>) = cursor.0.iter().map(|(name, n)| (name.as_str(), *n)).unzip();
        let mut conn = self.reader().await?;
        let rows = sqlx::query(
            "SELECT f.origin, f.n, f.parcel FROM feed AS f \
             LEFT JOIN unnest($1::text[], $2::bigint[]) AS seen (origin, n) ON seen.origin = f.origin \
             WHERE f.n > coalesce(seen.n, 0) AND f.origin <> $3 ORDER BY f.n LIMIT $4",
        )
        .bind(origins)
        .bind(numbers)
        .bind(origin)
        .bind(SOME)
        .fetch_all(&mut *conn)
        .await?;
        let mut parcels = Vec::with_capacity(rows.len());
        for row in &rows {
            cursor.0.insert(row.try_get("origin")?, row.try_get("n")?);
            parcels.push(row.try_get("parcel")?);
        }
        Ok(parcels)
    }
}
