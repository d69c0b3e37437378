//! Changed rows from PostgreSQL's write-ahead log, by logical replication (plugin `pgoutput`, PostgreSQL 13 or newer).
//!
//! A [`Stream`] is one replication connection to one slot. The server keeps the log until the slot's reader has
//! confirmed it, over restarts of either side:
//!
//! - [`Stream::open`] makes what is missing (publications, then the slot) and reads on from what was confirmed last.
//! - [`Stream::next`] hands out changes of committed transactions in the order of their commits. What was rolled back,
//!   also to a savepoint, never comes. A transaction that is larger than a batch comes in several; neither it nor more
//!   than one message is held in memory.
//! - Once a batch is safe, [`Stream::confirm`] with its `upto` lets the server forget. What was not confirmed comes
//!   again after a crash, under the same [`key`](super::Captured::key): the key is made of the place of the change in
//!   the log and of nothing else, so that neither batches nor what is wanted nor a failover to a standby change it.
//!
//! What can go wrong for good is that the server has given up log that was not confirmed (`max_slot_wal_keep_size`), that
//! somebody dropped the publications for a while, or the slot: `CHANGES_LOST`, and a stream that
//! [`is_new`](Stream::is_new). A slot that nobody reads fills the server's disk: watch [`Status::retained_bytes`], and
//! [`remove`] what is not wanted any more.
//!
//! # What a change looks like
//!
//! - Values are what `to_jsonb` makes of them (`value.rs` has the table). Generated columns are not in the log.
//! - `previous` has the whole old row where the table says `REPLICA IDENTITY FULL`, else the columns of its replica
//!   identity (the primary key) alone.
//! - A large value that is kept outside of its row (TOAST) is not in the log unless an update wrote it. It is taken
//!   from the old row, where the log has that (`REPLICA IDENTITY FULL`). Otherwise the column is left out of the record,
//!   rather than shown as null, and the context names it in `unchangedColumns`.
//! - Changes of partitions are changes of the partitioned table that is wanted. A row that moves to another partition is
//!   deleted and inserted; TRUNCATE of one partition is not told.
//! - The log does not say which role wrote: `user` is what the application said, else null.
//!
//! # What an application may say
//!
//! `SELECT pg_logical_emit_message(true, 'triggerd', '{"user": …, "context": {…}, "origin": "…", "suppress": true}')`
//! holds for what follows in its transaction, until the next such message replaces all of it: say it first. `suppress`
//! leaves out what follows. The prefix `triggerd.event` with `{"type": "…", "payload": …}` is an event of the
//! application's own, which comes if its transaction commits. Messages outside of a transaction (`false`) are not
//! taken. PostgreSQL 13 sends no messages. What is not understood is left out and told in [`Batch::refused`].

mod beside;
mod check;
mod cluster;
mod decode;
mod kind;
mod line;
mod lsn;
mod message;
mod notation;
mod publication;
mod reader;
mod said;
mod sight;
mod slot;
mod stream;
mod table;
mod value;
mod writer;

pub use check::{Problem, check};
pub use lsn::Lsn;
pub use publication::Names;
pub(super) use reader::{names, run};
pub use slot::{Status, remove, status};
pub use stream::{Batch, Stream};

/// What to capture.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Wanted {
    /// The tables. No table at all is fine: applications' own events come nevertheless.
    pub tables: Vec<WantedTable>,
}

/// A table, and what is wanted of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WantedTable {
    /// Its schema; `None` for the connection's current schema. Changes name it as it is named here.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Rows that are added.
    pub insert: bool,
    /// Rows that are changed.
    pub update: bool,
    /// Rows that are removed.
    pub delete: bool,
    /// The table being emptied.
    pub truncate: bool,
}
