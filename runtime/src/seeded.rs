//! Faults that a test can order with `TRIGGERD_TEST_FAULT`, to show that the tests of faults would notice them.
//!
//! They exist in builds with debug assertions only. In others nothing is read from the environment, and what is asked here is
//! a constant.

/// What must never be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Answers 202 first and commits later.
    AckBeforeCommit,
    /// The embedded store does not sync what it commits.
    SyncOff,
    /// What a node reports takes effect although its lease has ended and its runs are another's.
    NoFence,
    /// The database's clock counts for nothing: what is due is kept in the node's own time.
    OwnClock,
}

impl Fault {
    #[cfg(debug_assertions)]
    fn of(name: &str) -> Option<Self> {
        match name {
            "ack-before-commit" => Some(Self::AckBeforeCommit),
            "sync-off" => Some(Self::SyncOff),
            "no-fence" => Some(Self::NoFence),
            "own-clock" => Some(Self::OwnClock),
            _ => None,
        }
    }

    /// Whether the environment orders this one.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn is_ordered(self) -> bool {
        static ORDERED: std::sync::LazyLock<Option<Fault>> =
            std::sync::LazyLock::new(|| std::env::var("TRIGGERD_TEST_FAULT").ok().as_deref().and_then(Fault::of));
        *ORDERED == Some(self)
    }

    /// Never.
    #[cfg(not(debug_assertions))]
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        false
    }
}
