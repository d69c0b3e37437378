//! The embedded store: SQLite in WAL mode, one writer that commits in groups, a few readers.
//!
//! One file per table below; `writer.rs` tells how writes are kept, `hot.rs` what the hot path costs.

mod batch;
mod bits;
mod checkpoint;
mod claims;
mod decode;
mod dialect;
mod erase;
mod events;
pub(super) mod fault;
mod hot;
mod idempotency;
mod inbox;
pub mod inspect;
mod lanes;
mod looks;
mod metrics;
mod migrate;
mod open;
mod raw;
mod replay;
mod rows;
mod runs;
mod search;
mod segments;
#[path = "../tables/mod.rs"]
mod tables;
mod work;
mod writer;

pub use open::Store;

use sqlx::Sqlite as Db;
use sqlx::sqlite::{SqliteConnection as Connection, SqliteRow as DbRow};
use triggerd_core::id::TenantId;

use crate::store::{ChangeKind, Error};

/// Notes a change that other nodes are to learn of: there are none.
async fn changed(_: &mut Connection, _: ChangeKind, _: &TenantId, _: &str) -> Result<(), Error> {
    Ok(())
}

/// Like [`changed`] for several changes of one kind.
async fn all_changed(_: &mut Connection, _: ChangeKind, _: &[(&TenantId, &str)]) -> Result<(), Error> {
    Ok(())
}

/// Keeps others out of what these names name until the end of the transaction: one connection writes.
async fn alone(_: &mut Connection, _: &[&str]) -> Result<(), Error> {
    Ok(())
}
