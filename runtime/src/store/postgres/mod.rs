//! The shared store: PostgreSQL, used by any number of nodes.
//!
//! `writer.rs` tells how the hot path is kept, `node.rs` who holds a run and what becomes of a dead node's, `claims.rs` and
//! `lanes.rs` how waiting runs are taken, `changes.rs` how nodes learn what others changed, `partitions.rs` how old data goes.
//!
//! Invariants:
//! - Every statement that keeps, claims or reports names its node, and does nothing where the node's lease has ended
//!   ([`node::FENCE`]).
//! - A run is held by the node in its `holder`, under its `epoch`. Who holds it is decided in the database alone.
//! - No transaction is open while anything but the database is waited for.

mod changes;
mod claims;
mod connect;
mod decode;
mod dialect;
mod durability;
mod erase;
mod events;
pub(super) mod fault;
mod feed;
mod group;
mod held;
pub(super) mod holds;
mod idempotency;
mod lane_claims;
mod lanes;
mod link;
mod metrics;
mod migrate;
mod node;
mod open;
mod partitions;
mod replay;
mod runs;
mod shares;
mod skew;
mod statement;
#[path = "../tables/mod.rs"]
mod tables;
mod takeover;
mod text;
mod wake;
mod writer;

use sqlx::Postgres as Db;
use sqlx::postgres::{PgConnection as Connection, PgRow as DbRow};
use triggerd_core::id::TenantId;

use crate::store::{ChangeKind, Error};
pub use open::Store;

/// Notes a change that other nodes are to learn of. Others that make changes wait until this transaction ends: called first.
async fn changed(conn: &mut Connection, kind: ChangeKind, tenant: &TenantId, key: &str) -> Result<(), Error> {
    changes::note(conn, kind, &[(tenant, key)]).await
}

/// Like [`changed`] for several changes of one kind.
async fn all_changed(conn: &mut Connection, kind: ChangeKind, of: &[(&TenantId, &str)]) -> Result<(), Error> {
    changes::note(conn, kind, of).await
}

/// Keeps others out of what these names name until the end of the transaction.
async fn alone(conn: &mut Connection, names: &[&str]) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(names.join("\n")).execute(conn).await?;
    Ok(())
}
