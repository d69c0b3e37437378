//! What every store promises, written against `Store`'s methods alone: another implementation runs the same.

pub mod claims;
pub mod definitions;
pub mod events;
pub mod fixtures;
pub mod runs;
pub mod small;
pub mod statuses;
pub mod syncs;
