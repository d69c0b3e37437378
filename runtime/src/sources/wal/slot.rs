//! The replication slot: how far it is, what it holds back, and its end.

use std::time::Duration;

use tokio::time::Instant;

use super::line::Line;
use super::lsn::Lsn;
use super::publication::{self, Names};
use crate::connections::sql::{Arg, Fault, Session};

/// Making a slot waits until all transactions that are open have ended.
const MAKING: Duration = Duration::from_secs(60);

/// How long a slot is waited for that another connection holds: our own before this one, which the server has not missed.
pub(super) const HELD: Duration = Duration::from_secs(10);

const STATUS: &str = "
SELECT s.plugin::text, (s.database = current_database())::text, s.active::text, COALESCE(s.wal_status, '')::text,
       COALESCE(s.confirmed_flush_lsn, '0/0')::text,
       COALESCE(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
                                           THEN pg_catalog.pg_last_wal_replay_lsn()
                                           ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn), 0)::bigint::text
FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1";

/// How a slot is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Bytes of the log that the server keeps because of it. They grow while nothing is confirmed, and a transaction
    /// that stays open keeps them too; an alarm belongs here.
    pub retained_bytes: u64,
    /// What was confirmed last.
    pub confirmed: Lsn,
    /// A connection reads from it.
    pub active: bool,
    /// `reserved`, `extended` (kept beyond `max_wal_size`), `unreserved` (about to be lost) or `lost`; PostgreSQL's view
    /// `pg_replication_slots`.
    pub wal_status: String,
    /// It is one of this database, for `pgoutput`.
    pub(super) fits: bool,
}

impl Status {
    /// The server has removed log that was not confirmed: the slot is of no use any more, and changes are missing.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.wal_status == "lost"
    }
}

/// How the slot is; `None` where there is none.
pub async fn status(session: &mut Session, names: &Names) -> Result<Option<Status>, Fault> {
    let rows = session.rows(STATUS, &[Arg::Text(names.slot.clone())], 1).await?.rows;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |index: usize| row.get(index).and_then(Arg::text).unwrap_or_default();
    Ok(Some(Status {
        retained_bytes: text(5).parse::<i64>().map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)),
        confirmed: text(4).parse().unwrap_or_default(),
        active: text(2) == "true",
        wal_status: text(3).to_owned(),
        fits: text(0) == "pgoutput" && text(1) == "true",
    }))
}

/// Drops slot and publications, where there are any: the server keeps no log for them any more, and what was not
/// confirmed is not captured. No stream may be open; one that was just dropped is waited for. Opening one afterwards begins anew, which is also the only way on
/// once a slot is lost.
pub async fn remove(session: &mut Session, names: &Names) -> Result<(), Fault> {
    names.check()?;
    let until = Instant::now() + HELD;
    while Instant::now() < until && status(session, names).await?.is_some_and(|status| status.active) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let sql = "SELECT pg_catalog.pg_drop_replication_slot(slot_name)::text FROM pg_catalog.pg_replication_slots \
               WHERE slot_name = $1";
    session.rows(sql, &[Arg::Text(names.slot.clone())], 1).await?;
    publication::remove(session, names).await
}

/// Makes the slot; changes that commit from now on are captured.
pub(super) async fn make(line: &mut Line, names: &Names) -> Result<(), Fault> {
    let command = format!("CREATE_REPLICATION_SLOT \"{}\" LOGICAL pgoutput NOEXPORT_SNAPSHOT", names.slot);
    let made = line.ask(&command, MAKING).await;
    made.map(drop).map_err(|fault| Fault {
        message: format!(
            "the slot `{}` was not made (that waits for the transactions that are open): {}",
            names.slot, fault.message
        ),
        ..fault
    })
}
