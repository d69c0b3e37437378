//! How much CPU time a component's calls usually take: which of them are begun where they are asked for.
//!
//! To hand a call to another thread and its answer back costs more than a small guest's call itself. One that has been quick so far is
//! therefore begun on its caller's thread. What is not done by the next epoch after all goes on on the guests' own threads, so
//! that nobody's calculations hold up other work for longer than that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Up to which CPU time a call is quick.
const QUICK: Duration = Duration::from_micros(500);

/// Which share of the way down one quicker call takes the estimate: some ten make a component quick again.
const DOWN: u64 = 4;

/// An estimate of the CPU time of a component's calls, from above: a slow call raises it at once.
#[derive(Debug)]
pub(super) struct Habit(AtomicU64);

impl Default for Habit {
    /// Of an unknown component nothing is expected.
    fn default() -> Self {
        Self(AtomicU64::new(nanos(QUICK) * DOWN))
    }
}

impl Habit {
    /// Whether the next call is likely to be quick.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= nanos(QUICK)
    }

    /// Learns what a call has used. Of two at once one may be lost: it is an estimate.
    pub(super) fn learn(&self, used: Duration) {
        let (known, used) = (self.0.load(Ordering::Relaxed), nanos(used));
        let next = if used >= known { used } else { known - (known - used).div_ceil(DOWN) };
        self.0.store(next, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_quick_calls_make_a_component_quick_and_one_slow_call_unmakes_it() {
        let habit = Habit::default();
        let quick = |n: u32| (0..n).for_each(|_| habit.learn(Duration::from_micros(20)));
        quick(1);
        assert!(!habit.is_quick());
        quick(10);
        assert!(habit.is_quick());
        habit.learn(Duration::from_millis(50));
        assert!(!habit.is_quick());
        quick(10);
        assert!(!habit.is_quick(), "the slower, the longer it is remembered");
        quick(10);
        assert!(habit.is_quick());
    }
}
