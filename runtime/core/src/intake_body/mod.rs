//! The bodies that events come in as, normalised to one [`Event`](crate::event::Event).
//!
//! | file | body |
//! | --- | --- |
//! | `plain` | `{"payload": {"event_type", ...}}` and `{"type", "source", "payload"}` |
//! | `row` | `{"operation", "table", "record", ...}` and Supabase's `{"type": "INSERT", "table", ...}` |
//! | `cloudevent` | CloudEvents, structured and binary |
//! | `execute` | `{"event", "context"}` of the execute call |
//!
//! Every body is read to its end: all mistakes in it come back at once, fields that nobody knows among them.

mod cloudevent;
mod draft;
mod execute;
mod json;
mod plain;
mod row;

pub use cloudevent::{from_binary_cloudevent, from_cloudevent};
pub use draft::Acceptance;
pub use execute::from_execute;
pub use json::from_json;

#[cfg(test)]
mod tests;
