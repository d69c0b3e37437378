//! From a definition's JSON to a compiled trigger, or to all the mistakes in it at once.

mod action;
mod fields;
mod retry;
mod trigger;

pub use trigger::compile;

/// The largest definition, in bytes of its JSON.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most actions of one definition, fallbacks included.
pub const MAX_ACTIONS: usize = 64;

/// How deep fallbacks may stand in fallbacks.
pub const MAX_FALLBACKS: usize = 4;
