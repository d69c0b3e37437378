//! Where events come from by themselves: the tenants' databases, whose changed rows are captured.

mod change;
pub mod wal;

pub use change::{Captured, Change, Place};
