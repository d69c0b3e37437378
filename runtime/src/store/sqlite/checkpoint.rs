//! Moves the write-ahead log into the database file. Only the writer does, between two groups, so that no checkpoint
//! ever meets a write.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

/// How much is written between two checkpoints that wait for nobody.
const INTERVAL_BYTES: u64 = 16 << 20;
/// A log that readers kept from being reset is reset at this size, waiting for them.
const LARGE_LOG_BYTES: i64 = 64 << 20;
/// A group writes at least the tail pages of some tables and indexes.
const GROUP_BYTES: u64 = 12 * PAGE_BYTES as u64;
const PAGE_BYTES: i64 = 4096;

/// Counts what is written and says when it is time.
#[derive(Default)]
pub(super) struct Checkpoint {
    written: u64,
}

impl Checkpoint {
    /// Takes note of a group of `bytes`.
    pub(super) fn note(&mut self, bytes: usize) {
        self.written += 2 * bytes as u64 + GROUP_BYTES;
    }

    pub(super) fn is_due(&self) -> bool {
        self.written >= INTERVAL_BYTES
    }

    /// Whether something was written since the last one.
    pub(super) fn is_wanted(&self) -> bool {
        self.written > 0
    }

    /// Checkpoints what no reader holds; resets a log that has grown large. A failure is logged and tried again after as
    /// many bytes: the log still has everything.
    pub(super) async fn run(&mut self, conn: &mut SqliteConnection) {
        self.written = 0;
        let log_bytes = match passive(conn).await {
            Ok(pages) => pages * PAGE_BYTES,
            Err(error) => {
                tracing::warn!(%error, "Checkpoint of the store failed: {error}");
                return;
            }
        };
        if log_bytes > LARGE_LOG_BYTES
            && let Err(error) = truncate(conn).await
        {
            tracing::warn!(%error, log_bytes, "The store's log could not be reset: {error}");
        }
    }
}

/// Answers with the log's length in pages.
async fn passive(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(conn).await?.try_get(1)
}

/// Waits for readers, as long as the busy time-out allows, and empties the log; `false` where they kept it.
pub(super) async fn truncate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let busy: i64 = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(conn).await?.try_get(0)?;
    Ok(busy == 0)
}
