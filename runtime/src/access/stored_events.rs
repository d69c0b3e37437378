//! How many events a tenant has stored, where it may have so many and no more: counted in memory, and put right from the store now and
//! then, so that acceptance asks nobody.

use std::sync::atomic::{AtomicU64, Ordering};

/// No limit.
const NONE: u64 = u64::MAX;

/// The count of one tenant.
#[derive(Debug)]
pub struct StoredEvents {
    most: AtomicU64,
    known: AtomicU64,
    /// Events that were taken since the start: what came while the store counted is added to what it counted.
    taken: AtomicU64,
}

impl Default for StoredEvents {
    fn default() -> Self {
        Self { most: AtomicU64::new(NONE), known: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }
}

impl StoredEvents {
    /// Changes the limit.
    pub fn limit(&self, most: Option<u64>) {
        self.most.store(most.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// The limit.
    #[must_use]
    pub fn most(&self) -> Option<u64> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most != NONE)
    }

    /// Counts `more` events that are about to be stored; the limit, where they are too many.
    pub fn take(&self, more: u64) -> Result<(), u64> {
        let Some(most) = self.most() else { return Ok(()) };
        let fits = |known: u64| known.checked_add(more).filter(|sum| *sum <= most);
        self.known.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| most)?;
        self.taken.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Where a count of the store begins: to be handed to [`Self::correct`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Puts the count right by what the store has counted since `mark`.
    pub fn correct(&self, mark: u64, counted: u64) {
        let meanwhile = self.taken.load(Ordering::Relaxed).saturating_sub(mark);
        self.known.store(counted.saturating_add(meanwhile), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_taken_and_a_batch_whole_or_not_at_all() {
        let events = StoredEvents::default();
        assert_eq!(events.take(u64::MAX), Ok(()), "no limit, nothing counted");
        events.limit(Some(10));
        assert_eq!(
            (events.take(8), events.take(3), events.take(2), events.take(1)),
            (Ok(()), Err(10), Ok(()), Err(10))
        );
        let mark = events.mark();
        events.limit(Some(12));
        assert_eq!(events.take(1), Ok(()));
        // Retention took some; the one that came while it was counted is not forgotten.
        events.correct(mark, 4);
        assert_eq!((events.take(7), events.take(1)), (Ok(()), Err(12)));
    }
}
