//! How fast a database's backfills go, and which of them wait after a fault.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Rows of a page, at most.
const PAGE: usize = 500;
/// With a rate, pages are as large as what comes in this time.
const TICK: Duration = Duration::from_millis(100);
/// The first and the longest pause of a backfill after a fault of its own.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The pause in times of what the try took, which the capture had to wait for.
const SHARE: u32 = 10;

/// How fast a database's backfills go.
#[derive(Default)]
pub(in crate::sources) struct Pace {
    last: Option<Instant>,
    /// Those that failed just now, by their ids.
    faults: HashMap<String, Faults>,
}

struct Faults {
    count: u32,
    until: Instant,
}

impl Pace {
    /// How many rows of a backfill may be read now.
    pub(super) fn room(&mut self, id: &str, rate: Option<u32>, now: Instant) -> usize {
        // A page that took too long may do with fewer rows.
        let most = PAGE >> self.faults.get(id).map_or(0, |faults| faults.count.min(6));
        let Some(rate) = rate else { return most };
        if self.last.is_some_and(|last| now - last < TICK) {
            return 0;
        }
        self.last = Some(now);
        // At least one: the slowest is ten rows a second.
        ((rate as usize) / 10).clamp(1, most)
    }

    /// Whether a backfill waits after a fault.
    pub(super) fn waits(&self, id: &str, now: Instant) -> bool {
        self.faults.get(id).is_some_and(|faults| now < faults.until)
    }

    /// A page failed after `took`.
    pub(super) fn failed(&mut self, id: &str, took: Duration, now: Instant) {
        let faults = self.faults.entry(id.to_owned()).or_insert(Faults { count: 0, until: now });
        let pause = (FIRST_PAUSE * (1 << faults.count.min(6))).min(LONGEST_PAUSE).max(took * SHARE);
        *faults = Faults { count: faults.count.saturating_add(1), until: now + pause };
    }

    /// A page was read.
    pub(super) fn went_on(&mut self, id: &str) {
        self.faults.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_that_fails_waits_longer_and_longer_and_alone() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.room("a", None, now), PAGE);
        pace.failed("a", Duration::ZERO, now);
        assert!(pace.waits("a", now) && !pace.waits("b", now));
        assert!(!pace.waits("a", now + FIRST_PAUSE));
        assert_eq!(pace.room("a", None, now), PAGE / 2);
        for _ in 0..100 {
            pace.failed("a", Duration::ZERO, now);
        }
        assert!(pace.waits("a", now + LONGEST_PAUSE / 2) && !pace.waits("a", now + LONGEST_PAUSE));
        assert!(pace.room("a", Some(1_000_000), now) >= 1);
        pace.failed("a", Duration::from_secs(30), now);
        assert!(pace.waits("a", now + Duration::from_secs(299)), "the capture had to wait for it");
        pace.went_on("a");
        assert!(!pace.waits("a", now));
        assert_eq!(pace.room("a", None, now), PAGE);
    }
}
