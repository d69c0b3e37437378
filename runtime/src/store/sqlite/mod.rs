//! The embedded store.

/// The embedded store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}
