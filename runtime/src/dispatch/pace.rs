//! How many attempts a destination takes at once, found out as TCP finds out how much a network takes: one more for each round
//! of answers, half as many where it is too much (additive increase, multiplicative decrease; Chiu and Jain, 1989).

/// How long a destination that had too much is remembered while nothing is in flight, in milliseconds.
const REMEMBERED: u64 = 60_000;

/// What is known of one destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Attempts at once; at least 1.
    limit: f64,
    /// The most that it may become.
    most: f64,
    /// When it was cut last, in milliseconds since the process began.
    cut_at: Option<u64>,
}

impl Pace {
    /// Of a destination of which nothing is known: as many as any may have.
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { limit: most, most, cut_at: None }
    }

    /// Attempts at once.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An attempt was answered.
    pub fn answered(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }

    /// An attempt that began at `begun` was too much for it. What was under way when it was cut last says nothing new.
    pub fn pressed(&mut self, begun: u64, now: u64) {
        if self.cut_at.is_none_or(|cut| begun > cut) {
            self.limit = (self.limit / 2.0).max(1.0);
            self.cut_at = Some(now);
        }
    }

    /// Whether there is nothing to be remembered.
    pub fn is_forgettable(&self, now: u64) -> bool {
        self.cut_at.is_none_or(|cut| now.saturating_sub(cut) > REMEMBERED || self.limit >= self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_halves_it_once_for_all_that_was_under_way_and_answers_let_it_grow() {
        let mut pace = Pace::new(32);
        pace.pressed(10, 100);
        assert_eq!(pace.limit(), 16);
        pace.pressed(50, 110);
        pace.pressed(100, 120);
        assert_eq!(pace.limit(), 16, "these began before it was cut");
        pace.pressed(101, 200);
        assert_eq!(pace.limit(), 8);
        for _ in 0..8 {
            pace.answered();
        }
        assert_eq!(pace.limit(), 8, "not quite a round more");
        pace.answered();
        assert_eq!(pace.limit(), 9);
        (0..10_000).for_each(|_| pace.answered());
        assert_eq!(pace.limit(), 32);
    }

    #[test]
    fn one_attempt_at_a_time_is_always_left_and_what_was_cut_is_remembered_for_a_while() {
        let mut pace = Pace::new(4);
        (1..20).for_each(|n| pace.pressed(n * 10, n * 10 + 5));
        assert_eq!(pace.limit(), 1);
        assert!(!pace.is_forgettable(1_000) && pace.is_forgettable(195 + REMEMBERED + 1));
        assert!(Pace::new(4).is_forgettable(0));
    }
}
