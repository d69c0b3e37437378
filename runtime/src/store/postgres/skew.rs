//! The database's clock: nodes' clocks may differ, and may be set while they run.
//!
//! When a run falls due is kept in the database's time. A node measures how far its own clock is off, again at every heartbeat
//! and whenever its clock was set, and translates. A difference that is smaller than [`STEADY`] is left as it is, so that what
//! was written is read back the same.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::seeded::Fault;

/// A measured change below this is taken for the time that the measuring took, in milliseconds.
const STEADY: i64 = 250;

/// The database's clock minus this process'.
pub(super) struct Skew {
    clock: Clock,
    offset: AtomicI64,
    /// The two clocks of this process, read together.
    seen: Mutex<(Instant, i64)>,
}

impl Skew {
    pub(super) fn new(clock: Clock) -> Self {
        let seen = Mutex::new((Instant::now(), clock.now_ms()));
        Self { clock, offset: AtomicI64::new(0), seen }
    }

    /// Takes note of the database's time, read just now.
    pub(super) fn measured(&self, database_ms: i64) {
        // A clock that a test drives has nothing to do with the database's.
        if !self.clock.is_system() {
            return;
        }
        let now = self.clock.now_ms();
        *self.seen.lock() = (Instant::now(), now);
        let measured = database_ms - now;
        if (measured - self.offset.load(Ordering::Relaxed)).abs() > STEADY {
            let before = self.offset.swap(measured, Ordering::Relaxed);
            tracing::info!(
                milliseconds = measured,
                before,
                "The database's clock differs from this node's by {measured} ms"
            );
        }
    }

    /// A time of this process in the database's.
    pub(super) fn in_database(&self, ms: i64) -> i64 {
        if Fault::OwnClock.is_ordered() {
            return ms;
        }
        self.follow();
        ms.saturating_add(self.offset.load(Ordering::Relaxed))
    }

    /// A time of the database in this process'.
    pub(super) fn of_database(&self, ms: i64) -> i64 {
        ms.saturating_sub(self.offset.load(Ordering::Relaxed))
    }

    /// Notices at once where this process' clock was set.
    fn follow(&self) {
        if !self.clock.is_system() {
            return;
        }
        let mut seen = self.seen.lock();
        let (instant, now) = (Instant::now(), self.clock.now_ms());
        let passed = i64::try_from(instant.duration_since(seen.0).as_millis()).unwrap_or(i64::MAX);
        let set_by = now - seen.1 - passed;
        *seen = (instant, now);
        if set_by.abs() > STEADY {
            self.offset.fetch_sub(set_by, Ordering::Relaxed);
            tracing::warn!(milliseconds = set_by, "This node's clock was set by {set_by} ms");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    use jiff::Timestamp;

    use super::*;
    use crate::clock::Source;

    struct Settable(AtomicI64);

    impl Source for Settable {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).expect("in range")
        }
        fn chance(&self) -> f64 {
            0.5
        }
        fn id_bits(&self) -> [u8; 10] {
            [0; 10]
        }
        fn is_system(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_clock_that_is_set_does_not_move_what_is_due() {
        let source = Arc::new(Settable(AtomicI64::new(1_000_000)));
        let skew = Skew::new(Clock::of(source.clone()));
        skew.measured(5_000_000);
        assert_eq!(skew.in_database(1_000_100), 5_000_100);
        source.0.fetch_add(600_000, Ordering::Relaxed);
        assert!((skew.in_database(1_600_100) - 5_000_100).abs() < 100, "ten minutes ahead");
        source.0.fetch_sub(1_200_000, Ordering::Relaxed);
        assert!((skew.in_database(400_100) - 5_000_100).abs() < 100, "ten minutes behind");
        assert_eq!(skew.of_database(skew.in_database(7)), 7);
    }

    #[test]
    fn small_differences_are_left_alone() {
        let source = Arc::new(Settable(AtomicI64::new(1_000_000)));
        let skew = Skew::new(Clock::of(source));
        skew.measured(1_000_100);
        assert_eq!(skew.in_database(1_000_000), 1_000_000);
    }
}
