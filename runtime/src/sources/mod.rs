//! Where events come from by themselves: the tenants' databases, whose changed rows are captured.

mod change;
mod nudge;

pub use change::{Captured, Change, Place};
pub use nudge::Nudges;
