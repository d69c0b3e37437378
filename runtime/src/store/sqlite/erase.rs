//! Erasing: what is left of events is put in their places, and the bytes that were there before are overwritten.
//!
//! Bytes can be left in three places. In the page itself, where a shorter row took a longer one's place: `secure_delete` is on, so
//! that SQLite writes zeros there. In pages that were freed: they are filled and freed again, a few at a time. In the log: it is
//! written into the file and cut to nothing.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use triggerd_core::event::Event;
use triggerd_core::id::TenantId;
use triggerd_core::run::Progress;

use super::decode;
use super::open::{Store, closed};
use super::rows::run_range;
use super::writer::Op;
use crate::store::{Erased, Error};

/// Free pages that are filled in one transaction.
const PAGES: i64 = 512;
/// How often it is tried to empty the log while readers hold it.
const TRIES: u32 = 10;

impl Store {
    pub async fn erase_events(&self, tenant: &TenantId, erased: Vec<Event>, now: Timestamp) -> Result<Erased, Error> {
        let (tenant, now) = (tenant.clone(), now.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                sqlx::query("PRAGMA secure_delete = ON").execute(&mut *conn).await?;
                let done = erase(conn, &tenant, &erased, now).await;
                sqlx::query("PRAGMA secure_delete = FAST").execute(&mut *conn).await?;
                done
            })
        })
        .await
    }

    pub async fn scrub(&self) -> Result<bool, Error> {
        while self.write(|conn| Box::pin(fill(conn))).await? {}
        while self.write(|conn| Box::pin(free(conn))).await? {}
        for _ in 0..TRIES {
            let (answer, done) = oneshot::channel();
            self.send(Op::Empty(answer)).await?;
            if done.await.unwrap_or_else(|_| Err(closed()))? {
                return Ok(true);
            }
        }
        Err(Error::Unavailable(
            "the log cannot be emptied, as something reads the store all the time: what was erased is in it until the next start"
                .to_owned(),
        ))
    }
}

async fn erase(conn: &mut SqliteConnection, tenant: &TenantId, erased: &[Event], now: i64) -> Result<Erased, Error> {
    let mut done = Erased::default();
    for event in erased {
        let body = serde_json::to_string(event).map_err(|e| Error::Conflict(format!("event {}: {e}", event.id)))?;
        let seq: Option<i64> =
            sqlx::query_scalar("UPDATE events SET body = ?, crc = ? WHERE id = ? AND tenant = ? RETURNING seq")
                .bind(&body)
                .bind(crc32fast::hash(body.as_bytes()))
                .bind(event.id.as_bytes().as_slice())
                .bind(tenant.as_str())
                .fetch_optional(&mut *conn)
                .await?;
        // Gone meanwhile, which is as good.
        let Some(seq) = seq else { continue };
        done.events += 1;
        let (first, last) = run_range(seq);
        let runs = sqlx::query("SELECT seq, due_at, progress FROM runs WHERE seq BETWEEN ? AND ?")
            .bind(first)
            .bind(last)
            .fetch_all(&mut *conn)
            .await?;
        for run in &runs {
            done.runs += 1;
            let is_unfinished = run.try_get::<Option<i64>, _>("due_at")?.is_some();
            done.ended += u64::from(is_unfinished);
            erase_run(conn, run.try_get("seq")?, run.try_get("progress")?, is_unfinished, now).await?;
        }
    }
    Ok(done)
}

async fn erase_run(conn: &mut SqliteConnection, seq: i64, progress: &str, end: bool, now: i64) -> Result<(), Error> {
    let mut progress: Progress =
        serde_json::from_str(progress).map_err(|e| decode::damaged("run", format!("number {seq}: progress: {e}")))?;
    progress.erase(end);
    let text = serde_json::to_string(&progress).map_err(|e| decode::damaged("run", format!("number {seq}: {e}")))?;
    if end {
        // The epoch keeps whoever holds it from writing anything more of it.
        sqlx::query(
            "UPDATE runs SET state = 'delivered', due_at = NULL, parked = 0, lost = 0, queue = NULL, epoch = epoch + 1, \
             finished_at = ? WHERE seq = ?",
        )
        .bind(now)
        .bind(seq)
        .execute(&mut *conn)
        .await?;
    }
    // After its end: that lets the next of its lane in.
    sqlx::query(
        "UPDATE runs SET progress = ?, ordering_key = NULL, error = iif(error IS NULL, NULL, 'erased') WHERE seq = ?",
    )
    .bind(text)
    .bind(seq)
    .execute(conn)
    .await?;
    Ok(())
}

/// Fills some free pages with zeros; `false` where there are none.
async fn fill(conn: &mut SqliteConnection) -> Result<bool, Error> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *conn).await?;
    if free == 0 {
        return Ok(false);
    }
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *conn).await?;
    // A page of a long value holds four bytes less; the row itself may need one more page.
    sqlx::query("INSERT INTO erasing (pad) VALUES (zeroblob(?))")
        .bind(free.min(PAGES) * (size - 4))
        .execute(conn)
        .await?;
    Ok(true)
}

/// Frees some of what was filled; `false` where nothing is left.
async fn free(conn: &mut SqliteConnection) -> Result<bool, Error> {
    let gone = sqlx::query("DELETE FROM erasing WHERE rowid = (SELECT max(rowid) FROM erasing)").execute(conn).await?;
    Ok(gone.rows_affected() > 0)
}
