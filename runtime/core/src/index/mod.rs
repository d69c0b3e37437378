//! The index: which triggers may match an event, at a cost that does not grow with their number.
//!
//! ```text
//! tenant ─► change: (database, table, change event) ─┐
//!       └─► type: trie of dotted parts, * and **  ───┴─► bucket: path ─► value ─► candidates
//!                                                            └────► those without a predicate
//! ```
//!
//! A trigger stands in every place that its tables and events make. What its place does not settle (environment,
//! prefixes of names, the rest of the condition) is then asked of each candidate. All maps are persistent: a
//! changed index shares all that did not change with the one it was made of.

mod bucket;
mod group;
mod keyed;
mod place;
mod scope;
mod snapshot;
mod tenant;
mod type_trie;

pub use snapshot::{Index, Match};

#[cfg(test)]
mod tests;
