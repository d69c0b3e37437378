//! Read transactions that are kept open while the load lasts, as reports and dumps do on a shared server: as long as one is
//! open, PostgreSQL keeps every row version that it might still see, and whatever looks for work has to step over them.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinHandle;

/// How long each transaction stays open before the next one begins.
const OPEN: Duration = Duration::from_secs(120);

/// Transactions that are open until this is dropped.
pub struct LongReads(Vec<JoinHandle<anyhow::Result<()>>>);

impl LongReads {
    /// Keeps `count` of them open on the database, which begin and end at different times.
    #[must_use]
    pub fn begin(url: &str, count: u32) -> Self {
        let readers = (0..count).map(|number| tokio::spawn(read(url.to_owned(), OPEN * number / count)));
        Self(readers.collect())
    }

    /// Ends them; an error where one could not be kept open.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for reader in self.0.drain(..) {
            reader.abort();
            if let Ok(ended) = reader.await {
                ended.context("a read transaction could not be kept open")?;
            }
        }
        Ok(())
    }
}

impl Drop for LongReads {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// The first transaction is as much shorter as says `begun`.
async fn read(url: String, begun: Duration) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect_with(&PgConnectOptions::from_str(&url)?).await?;
    let mut open = OPEN.saturating_sub(begun);
    loop {
        // One snapshot for the whole transaction, taken with its first statement, whatever that reads.
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        conn.execute("SELECT count(*) FROM pg_class").await?;
        tokio::time::sleep(open).await;
        conn.execute("COMMIT").await?;
        open = OPEN;
    }
}
