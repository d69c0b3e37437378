//! Capture by a transactional outbox: triggers in the tenant's database write every change into a table, in the
//! transaction that makes it, and this side reads the table.
//!
//! ```text
//! wants (core::capture) ─► ddl ─► install, compared with what is there ─► the writer's own transaction fills the outbox
//!                                                                         reader ─► entry ─► accept ─► delete
//! ```

mod beside;
mod closed;
mod ddl;
mod entry;
mod filter;
mod install;
mod mysql;
mod names;
mod postgres;
mod reader;
mod row;
mod sqlite;

pub(super) use entry::with_bytes;
pub use install::{Found, State};
pub(super) use install::{missing, tables_of as tables};
pub use names::Names;
pub(super) use reader::{leave, run};
pub(super) use row::row_json;
