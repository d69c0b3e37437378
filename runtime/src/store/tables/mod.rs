//! The tables whose SQL both databases speak. This module is compiled once for each store: what differs comes from the store's
//! own module (`super`): its connection, `changed`, `alone`, and what `dialect.rs` says of events and runs.
//!
//! Parameters are written `$n`, which both take; a number that a column is compared with is bound as `i64`, a digest or an
//! id as bytes.

pub(in crate::store) mod audit;
mod backfill_seen;
mod component_state;
mod components;
pub(in crate::store) mod decode;
pub(in crate::store) mod filter;
mod hot;
pub(in crate::store) mod idempotency;
pub(in crate::store) mod inbox;
mod keys;
mod quotas;
mod replay;
mod resources;
mod retention;
mod source_state;
mod sync_conflicts;
mod syncs;
mod tenants;
mod topics;
mod trigger_changes;
mod triggers;

use super::{Connection, Db, DbRow, Store, all_changed, alone, changed, dialect};

/// `$first,$first+1,…`: a list of `count` parameters.
fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(",")
}

/// `($1,$2),($3,$4),…`: the parameters of `count` rows of `columns`.
fn rows(count: usize, columns: usize) -> String {
    (0..count).map(|row| format!("({})", places(columns * row + 1, columns))).collect::<Vec<_>>().join(",")
}
