//! The delivery ledger: which deliveries have taken effect in this database, and with what result.
//!
//! A row is written in the same transaction as the effect: both are there or neither is. A second try of a delivery
//! finds the row, does nothing and has the first result. Two tries at once meet at the primary key: the later one
//! waits for the earlier one's transaction. Rows go after 30 days, a few at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use crate::connections::sql::{Arg, Engine, Fault, Session};

/// The ledger's name in every database.
pub(super) const TABLE: &str = "triggerd_deliveries";

/// How often old rows are looked for, as long as there are few.
const CLEANED_EVERY: Duration = Duration::from_secs(600);
/// How many rows are removed at once.
const BATCH: u64 = 500;
/// The longest that a removal may hold up the attempt that does it.
const CLEANING_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of one database's ledger.
#[derive(Default)]
pub(super) struct State {
    there: AtomicBool,
    cleaned: Mutex<Option<Instant>>,
}

impl State {
    pub(super) fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    pub(super) fn found(&self, there: bool) {
        self.there.store(there, Ordering::Relaxed);
    }

    /// Whether it is time to remove old rows; whoever is told so does it.
    fn is_due(&self) -> bool {
        let mut cleaned = self.cleaned.lock();
        let due = cleaned.is_none_or(|at| at.elapsed() >= CLEANED_EVERY);
        if due {
            *cleaned = Some(Instant::now());
        }
        due
    }
}

/// Makes the ledger where there is none. No transaction may be open.
pub(super) async fn ensure(session: &mut Session) -> Result<(), Fault> {
    if exists(session).await? {
        return Ok(());
    }
    let ddl = ddl(session.engine());
    let Err(fault) = session.control(ddl).await else { return Ok(()) };
    // Somebody else may have made it at the same moment.
    if fault.retryable || exists(session).await? {
        return if fault.retryable { Err(fault) } else { Ok(()) };
    }
    let message = format!(
        "the delivery ledger cannot be made ({}); run `{ddl}` with the rights for it, or set \"ledger\": false",
        fault.message
    );
    Err(Fault::permanent("DB_DENIED", message))
}

async fn exists(session: &mut Session) -> Result<bool, Fault> {
    let sql = match session.engine() {
        Engine::Postgres => "SELECT '1' WHERE to_regclass('triggerd_deliveries') IS NOT NULL",
        Engine::Mysql => {
            "SELECT '1' FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name = 'triggerd_deliveries'"
        }
        Engine::Sqlite => "SELECT '1' FROM sqlite_schema WHERE name = 'triggerd_deliveries'",
    };
    Ok(session.rows(sql, &[], 1).await?.count > 0)
}

fn ddl(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "CREATE TABLE IF NOT EXISTS triggerd_deliveries (delivery_id text PRIMARY KEY, \
             created_at timestamptz NOT NULL DEFAULT now(), result text); \
             CREATE INDEX IF NOT EXISTS triggerd_deliveries_created_at ON triggerd_deliveries (created_at)"
        }
        Engine::Mysql => {
            "CREATE TABLE IF NOT EXISTS triggerd_deliveries (delivery_id VARCHAR(64) CHARACTER SET ascii COLLATE \
             ascii_bin PRIMARY KEY, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
             result LONGTEXT CHARACTER SET utf8mb4, KEY created_at (created_at)) ENGINE = InnoDB"
        }
        Engine::Sqlite => {
            "CREATE TABLE IF NOT EXISTS triggerd_deliveries (delivery_id TEXT PRIMARY KEY, \
             created_at INTEGER NOT NULL DEFAULT (unixepoch()), result TEXT); \
             CREATE INDEX IF NOT EXISTS triggerd_deliveries_created_at ON triggerd_deliveries (created_at)"
        }
    }
}

/// Enters the delivery in the open transaction. `Some`: it took effect before, with this result.
pub(super) async fn enter(session: &mut Session, delivery: &str) -> Result<Option<Value>, Fault> {
    let (insert, select) = match session.engine() {
        Engine::Postgres => (
            "INSERT INTO triggerd_deliveries (delivery_id) VALUES ($1) ON CONFLICT (delivery_id) DO NOTHING",
            "SELECT result FROM triggerd_deliveries WHERE delivery_id = $1",
        ),
        Engine::Mysql => (
            "INSERT IGNORE INTO triggerd_deliveries (delivery_id) VALUES (?)",
            "SELECT result FROM triggerd_deliveries WHERE delivery_id = ?",
        ),
        Engine::Sqlite => (
            "INSERT INTO triggerd_deliveries (delivery_id) VALUES (?) ON CONFLICT (delivery_id) DO NOTHING",
            "SELECT result FROM triggerd_deliveries WHERE delivery_id = ?",
        ),
    };
    let args = [Arg::Text(delivery.to_owned())];
    if session.execute(insert, &args).await? > 0 {
        return Ok(None);
    }
    read(session, select, delivery).await.map(Some)
}

/// PostgreSQL: the result of a delivery that took effect before.
pub(super) async fn first(session: &mut Session, delivery: &str) -> Result<Value, Fault> {
    read(session, "SELECT result FROM triggerd_deliveries WHERE delivery_id = $1", delivery).await
}

async fn read(session: &mut Session, select: &str, delivery: &str) -> Result<Value, Fault> {
    let kept = session.rows(select, &[Arg::Text(delivery.to_owned())], 1).await?.rows;
    let result = kept.first().and_then(|row| row[0].text()).and_then(|text| serde_json::from_str(text).ok());
    result.ok_or_else(|| Fault::unavailable(format!("the ledger's entry of delivery {delivery} cannot be read")))
}

/// What the delivery did, where it took effect.
pub(super) async fn find(session: &mut Session, delivery: &str) -> Result<Option<Value>, Fault> {
    let sql = match session.engine() {
        Engine::Postgres => "SELECT result FROM triggerd_deliveries WHERE delivery_id = $1",
        Engine::Mysql | Engine::Sqlite => "SELECT result FROM triggerd_deliveries WHERE delivery_id = ?",
    };
    let kept = session.rows(sql, &[Arg::Text(delivery.to_owned())], 1).await?.rows;
    Ok(kept.first().and_then(|row| row[0].text()).and_then(|text| serde_json::from_str(text).ok()))
}

/// Notes the result, in the same transaction.
pub(super) async fn note(session: &mut Session, delivery: &str, result: &Value) -> Result<(), Fault> {
    let sql = match session.engine() {
        Engine::Postgres => "UPDATE triggerd_deliveries SET result = $1 WHERE delivery_id = $2",
        Engine::Mysql | Engine::Sqlite => "UPDATE triggerd_deliveries SET result = ? WHERE delivery_id = ?",
    };
    let args = [Arg::Text(result.to_string()), Arg::Text(delivery.to_owned())];
    session.execute(sql, &args).await.map(drop)
}

/// Removes some rows that nobody will ask for any more. `false` where the connection is not to be used again.
pub(super) async fn clean(session: &mut Session, state: &State) -> bool {
    if !state.is_due() {
        return true;
    }
    let sql = match session.engine() {
        Engine::Postgres => {
            "DELETE FROM triggerd_deliveries WHERE delivery_id IN (SELECT delivery_id FROM triggerd_deliveries \
             WHERE created_at < now() - interval '30 days' ORDER BY created_at LIMIT 500)"
        }
        Engine::Mysql => {
            "DELETE FROM triggerd_deliveries WHERE created_at < NOW() - INTERVAL 30 DAY ORDER BY created_at LIMIT 500"
        }
        Engine::Sqlite => {
            "DELETE FROM triggerd_deliveries WHERE delivery_id IN (SELECT delivery_id FROM triggerd_deliveries \
             WHERE created_at < unixepoch() - 2592000 ORDER BY created_at LIMIT 500)"
        }
    };
    let removed = session.execute(sql, &[]);
    match tokio::time::timeout(CLEANING_TIMEOUT, removed).await {
        Ok(Ok(removed)) => {
            if removed == BATCH {
                // There are more: the next write goes on.
                *state.cleaned.lock() = None;
            }
            true
        }
        Ok(Err(fault)) => {
            tracing::warn!(code = fault.code, "Old entries of a delivery ledger were not removed: {fault}");
            false
        }
        Err(_) => {
            tracing::warn!("Old entries of a delivery ledger were not removed in time");
            false
        }
    }
}
