//! The embedded store: SQLite in WAL mode, one writer that commits in groups, a few readers.
//!
//! One file per table below; `writer.rs` tells how writes are kept, `hot.rs` what the hot path costs.

mod backfill_seen;
mod batch;
mod checkpoint;
mod claims;
mod component_state;
mod components;
mod decode;
mod events;
mod fault;
mod filter;
mod hot;
mod idempotency;
pub mod inspect;
mod keys;
mod lanes;
mod lock;
mod metrics;
mod migrate;
mod open;
mod quotas;
mod replay;
mod resources;
mod rows;
mod runs;
mod source_state;
mod syncs;
mod tenants;
mod topics;
mod triggers;
mod work;
mod writer;

pub use backfill_seen::{RowDigest, TriggerEvents};
pub use open::{Options, Store};
