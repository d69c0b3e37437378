//! A rate limit on this node: a leaky bucket that holds one second's worth, in one atomic number.
//!
//! The number is the instant at which the bucket will be empty again (GCRA's theoretical arrival time). A batch is let
//! in when there is room for one event and then owes for all of its events: it cannot starve on its size, and the
//! rate holds over time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;

/// One limit. Zero per second is no limit.
#[derive(Debug)]
pub struct Rate {
    per_second: AtomicU32,
    /// Nanoseconds on the caller's clock.
    empty_at: AtomicU64,
}

/// What a limit said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The limit per second.
    pub limit: u32,
    /// How many more would be let in now.
    pub remaining: u32,
    /// Seconds until the bucket is empty, or, for one that was refused, until it is let in; rounded up.
    pub seconds: u64,
}

impl Rate {
    /// A limit of `per_second`.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: AtomicU32::new(per_second), empty_at: AtomicU64::new(0) }
    }

    /// Changes the limit; what was used stays used.
    pub fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) > 0
    }

    /// Takes one; `None` where there is no limit. `now` is in nanoseconds and never goes back.
    pub fn take(&self, now: u64) -> Option<Verdict> {
        let limit = self.per_second.load(Ordering::Relaxed);
        if limit == 0 {
            return None;
        }
        let cost = SECOND / u64::from(limit);
        let mut empty_at = self.empty_at.load(Ordering::Relaxed);
        loop {
            let level = empty_at.saturating_sub(now);
            if level + cost > SECOND.max(cost) {
                let wait = level + cost - SECOND.max(cost);
                return Some(Verdict { allowed: false, limit, remaining: 0, seconds: wait.div_ceil(SECOND) });
            }
            let next = empty_at.max(now) + cost;
            match self.empty_at.compare_exchange_weak(empty_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let level = level + cost;
                    let remaining = u32::try_from(SECOND.saturating_sub(level) / cost).unwrap_or(limit);
                    return Some(Verdict { allowed: true, limit, remaining, seconds: level.div_ceil(SECOND) });
                }
                Err(seen) => empty_at = seen,
            }
        }
    }

    /// Charges for more of a request that was let in.
    pub fn charge(&self, now: u64, more: u64) {
        let limit = u64::from(self.per_second.load(Ordering::Relaxed));
        if limit == 0 || more == 0 {
            return;
        }
        let cost = more.saturating_mul(SECOND / limit);
        let charged = |empty_at: u64| Some(empty_at.max(now).saturating_add(cost));
        // The closure always answers, so this cannot fail.
        let _ = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_second_s_worth_is_let_in_at_once_and_then_the_rate() {
        let rate = Rate::new(10);
        let allowed = |now| rate.take(now).unwrap().allowed;
        assert_eq!((0..20).filter(|_| allowed(SECOND)).count(), 10);
        assert!(!allowed(SECOND + SECOND / 20));
        assert!(allowed(SECOND + SECOND / 10));
        assert!(!allowed(SECOND + SECOND / 10));
        assert_eq!((0..20).filter(|_| allowed(9 * SECOND)).count(), 10);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let rate = Rate::new(1);
        assert_eq!(rate.take(0), Some(Verdict { allowed: true, limit: 1, remaining: 0, seconds: 1 }));
        assert_eq!(rate.take(0), Some(Verdict { allowed: false, limit: 1, remaining: 0, seconds: 1 }));
    }

    #[test]
    fn a_batch_is_let_in_whole_and_owes_for_it() {
        let rate = Rate::new(1000);
        assert!(rate.take(0).unwrap().allowed);
        rate.charge(0, 9_999);
        let verdict = rate.take(0).unwrap();
        assert!(!verdict.allowed && verdict.seconds == 10, "{verdict:?}");
        assert!(rate.take(10 * SECOND).unwrap().allowed);
    }

    #[test]
    fn zero_is_no_limit_and_a_changed_limit_holds_at_once() {
        let rate = Rate::new(0);
        assert_eq!(rate.take(5), None);
        rate.set(1);
        assert!(rate.take(5).unwrap().allowed);
        assert!(!rate.take(5).unwrap().allowed);
    }
}
