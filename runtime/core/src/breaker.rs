//! When to leave a destination alone: a circuit breaker, as arithmetic over instants that the caller brings.
//!
//! States, and what leads from one to the next:
//!
//! ```text
//!            10 failures in a row, or half of the last 20 within 30 s
//!   closed ────────────────────────────────────────────────────────────► open
//!     ▲                                                                   │ the wait is over
//!     │ the probe is answered                                             ▼
//!     └────────────────────────────────────────────────────────────── half-open
//!                              the probe fails: open again, for twice as long
//! ```
//!
//! Invariants: while it is open nothing passes; while it is half-open one attempt at a time does. What attempts that
//! began before it opened come to changes nothing. Source of the pattern: M. Nygard, "Release It!", Circuit Breaker.

use std::collections::VecDeque;
use std::time::Duration;

/// So many failures in a row open it.
pub const IN_A_ROW: u32 = 10;
/// So many ends are looked back at ...
pub const LOOK_BACK: usize = 20;
/// ... as far as they are no older than this; where half of so many are failures, it opens.
pub const WINDOW: Duration = Duration::from_secs(30);
/// How long it stays open the first time; each failed probe doubles that ...
pub const FIRST_WAIT: Duration = Duration::from_secs(5);
/// ... up to this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Failures farther apart than this are not in a row, and a breaker without news for so long is forgotten.
pub const MEMORY: Duration = Duration::from_secs(600);

/// What an attempt says about its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It answered, if only with a refusal.
    Answered,
    /// It did not answer, or said that it cannot.
    Failed,
    /// Nothing: the attempt did not come that far.
    Nothing,
}

/// What a breaker lets happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One attempt at a time passes.
    HalfOpen,
}

/// What an attempt is told that asks to pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Go ahead, under this number: it goes with the verdict.
    Pass(Pass),
    /// Not now; ask again after this.
    Refused(Duration),
}

/// Under which opening an attempt passed: ends of earlier ones are told apart by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    round: u64,
    probe: bool,
}

/// One destination's breaker. Instants are milliseconds of a clock that never goes back.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    phase: Phase,
    /// Changes of state so far.
    round: u64,
    failures_in_a_row: u32,
    /// The latest ends, oldest first: when, and whether it failed.
    ends: VecDeque<(u64, bool)>,
    last_end: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Closed,
    Open {
        since: u64,
        wait: u64,
        probe_at: u64,
    },
    HalfOpen {
        since: u64,
        wait: u64,
        probing: bool,
    },
}

/// How long those wait who find another's probe under way.
const PROBE_UNDER_WAY: Duration = Duration::from_secs(1);

impl Breaker {
    /// Asks for an attempt to pass; the flag says whether this turned it from open to half-open.
    pub fn admit(&mut self, now: u64) -> (Admission, Option<State>) {
        match self.phase {
            Phase::Closed => (self.pass(false), None),
            Phase::Open { probe_at, .. } if now < probe_at => {
                (Admission::Refused(Duration::from_millis(probe_at - now)), None)
            }
            Phase::Open { since, wait, .. } => {
                self.turn(Phase::HalfOpen { since, wait, probing: true });
                (self.pass(true), Some(State::HalfOpen))
            }
            Phase::HalfOpen { since, wait, probing: false } => {
                self.phase = Phase::HalfOpen { since, wait, probing: true };
                (self.pass(true), None)
            }
            Phase::HalfOpen { probing: true, .. } => (Admission::Refused(PROBE_UNDER_WAY), None),
        }
    }

    /// Enters what an attempt that passed came to; the state that this turned it to.
    pub fn enter(&mut self, now: u64, pass: Pass, verdict: Verdict) -> Option<State> {
        if pass.round != self.round {
            return None;
        }
        match (self.phase, verdict) {
            (Phase::HalfOpen { .. }, _) if !pass.probe => None,
            (Phase::HalfOpen { since, wait, .. }, Verdict::Nothing) => {
                self.phase = Phase::HalfOpen { since, wait, probing: false };
                None
            }
            (Phase::HalfOpen { .. }, Verdict::Answered) => {
                self.turn(Phase::Closed);
                (self.failures_in_a_row, self.last_end) = (0, now);
                self.ends.clear();
                Some(State::Closed)
            }
            (Phase::HalfOpen { since, wait, .. }, Verdict::Failed) => {
                let longest = u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX);
                let wait = wait.saturating_mul(2).min(longest);
                self.note(now, true);
                self.turn(Phase::Open { since, wait, probe_at: now.saturating_add(wait) });
                Some(State::Open)
            }
            (Phase::Open { .. }, _) | (Phase::Closed, Verdict::Nothing) => None,
            (Phase::Closed, Verdict::Answered) => {
                self.note(now, false);
                None
            }
            (Phase::Closed, Verdict::Failed) => {
                self.note(now, true);
                if !self.has_had_enough(now) {
                    return None;
                }
                let wait = u64::try_from(FIRST_WAIT.as_millis()).unwrap_or(u64::MAX);
                self.turn(Phase::Open { since: now, wait, probe_at: now.saturating_add(wait) });
                Some(State::Open)
            }
        }
    }

    /// Somebody else found it failing and leaves it alone for `wait`; the state that this turned it to.
    pub fn hear_open(&mut self, now: u64, wait: Duration) -> Option<State> {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match self.phase {
            Phase::Closed => {
                self.turn(Phase::Open { since: now, wait, probe_at: now.saturating_add(wait) });
                Some(State::Open)
            }
            Phase::Open { since, probe_at, .. } => {
                // Whoever waits longer has tried more often.
                self.phase = Phase::Open { since, wait, probe_at: probe_at.max(now.saturating_add(wait)) };
                None
            }
            Phase::HalfOpen { .. } => None,
        }
    }

    /// Somebody else's probe was answered; the state that this turned it to.
    pub fn hear_closed(&mut self, now: u64) -> Option<State> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        self.turn(Phase::Closed);
        (self.failures_in_a_row, self.last_end) = (0, now);
        self.ends.clear();
        Some(State::Closed)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// The failures since the destination last answered.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures_in_a_row
    }

    /// When it left the closed state; `None` where it is closed.
    #[must_use]
    pub fn opened_at(&self) -> Option<u64> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { since, .. } | Phase::HalfOpen { since, .. } => Some(since),
        }
    }

    /// When an open one lets a probe pass.
    #[must_use]
    pub fn next_probe(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { probe_at, .. } => Some(probe_at),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// Whether forgetting it now changes nothing that anybody would notice.
    #[must_use]
    pub fn is_forgettable(&self, now: u64) -> bool {
        let quiet_since = |at: u64, memory: Duration| u128::from(now.saturating_sub(at)) > memory.as_millis();
        match self.phase {
            Phase::Closed if self.failures_in_a_row == 0 => {
                !self.ends.iter().any(|(_, failed)| *failed) || quiet_since(self.last_end, WINDOW)
            }
            Phase::Closed => quiet_since(self.last_end, MEMORY),
            Phase::Open { probe_at, .. } => quiet_since(probe_at, MEMORY),
            Phase::HalfOpen { probing, .. } => !probing && quiet_since(self.last_end, MEMORY),
        }
    }

    fn pass(&self, probe: bool) -> Admission {
        Admission::Pass(Pass { round: self.round, probe })
    }

    fn turn(&mut self, to: Phase) {
        self.phase = to;
        self.round += 1;
    }

    fn note(&mut self, now: u64, failed: bool) {
        let apart = u128::from(now.saturating_sub(self.last_end)) > MEMORY.as_millis();
        let before = if apart { 0 } else { self.failures_in_a_row };
        self.failures_in_a_row = if failed { before.saturating_add(1) } else { 0 };
        self.last_end = now;
        self.ends.push_back((now, failed));
        if self.ends.len() > LOOK_BACK {
            self.ends.pop_front();
        }
    }

    fn has_had_enough(&self, now: u64) -> bool {
        let recent = |at: u64| u128::from(now.saturating_sub(at)) <= WINDOW.as_millis();
        let failed = self.ends.iter().filter(|(_, failed)| *failed).count();
        let half = self.ends.len() == LOOK_BACK
            && self.ends.front().is_some_and(|(at, _)| recent(*at))
            && failed * 2 >= LOOK_BACK;
        self.failures_in_a_row >= IN_A_ROW || half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets an attempt pass at `now` that comes to `verdict` at once.
    fn attempt(breaker: &mut Breaker, now: u64, verdict: Verdict) -> Option<State> {
        match breaker.admit(now).0 {
            Admission::Pass(pass) => breaker.enter(now, pass, verdict),
            Admission::Refused(_) => panic!("refused at {now}"),
        }
    }

    fn opened(now: u64) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            attempt(&mut breaker, now, Verdict::Failed);
        }
        assert_eq!(breaker.state(), State::Open);
        breaker
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_nine_do_not() {
        let mut breaker = Breaker::default();
        for round in 0..3_u64 {
            for i in 0..9 {
                assert_eq!(attempt(&mut breaker, round * 100_000 + i, Verdict::Failed), None);
            }
            attempt(&mut breaker, round * 100_000 + 10, Verdict::Answered);
        }
        for i in 0..9 {
            assert_eq!(attempt(&mut breaker, 400_000 + i, Verdict::Failed), None);
        }
        assert_eq!(attempt(&mut breaker, 400_010, Verdict::Failed), Some(State::Open));
        assert_eq!((breaker.failures(), breaker.opened_at(), breaker.next_probe()), (10, Some(400_010), Some(405_010)));
    }

    #[test]
    fn half_of_the_last_twenty_within_the_window_open_it() {
        let run = |step: u64| {
            let mut breaker = Breaker::default();
            (0..40).find_map(|i| {
                let verdict = if i % 2 == 0 { Verdict::Answered } else { Verdict::Failed };
                attempt(&mut breaker, i * step, verdict).map(|state| (i, state))
            })
        };
        assert_eq!(run(1000), Some((19, State::Open)));
        assert_eq!(run(2000), None, "twenty ends in forty seconds are not within the window");
        let mut rare = Breaker::default();
        for i in 0..200 {
            let verdict = if i % 3 == 0 { Verdict::Failed } else { Verdict::Answered };
            assert_eq!(attempt(&mut rare, i, verdict), None, "a third of failures is let pass");
        }
    }

    #[test]
    fn failures_that_are_far_apart_are_not_in_a_row() {
        let mut breaker = Breaker::default();
        let step = u64::try_from(MEMORY.as_millis()).unwrap_or(0) + 1;
        for i in 0..50 {
            assert_eq!(attempt(&mut breaker, i * step, Verdict::Failed), None);
        }
        assert!(breaker.is_forgettable(50 * step + step) && !breaker.is_forgettable(49 * step + 1));
    }

    #[test]
    fn one_probe_at_a_time_decides_and_each_failed_one_doubles_the_wait() {
        let mut breaker = opened(0);
        let mut now = 0;
        for wait in [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000] {
            assert_eq!(breaker.admit(now + wait - 1).0, Admission::Refused(Duration::from_millis(1)));
            now += wait;
            let (admission, turned) = breaker.admit(now);
            assert_eq!(turned, Some(State::HalfOpen));
            assert_eq!(breaker.admit(now), (Admission::Refused(PROBE_UNDER_WAY), None), "one probe at a time");
            let Admission::Pass(pass) = admission else { panic!("the wait is over") };
            assert_eq!(breaker.enter(now, pass, Verdict::Failed), Some(State::Open));
        }
        assert_eq!(breaker.opened_at(), Some(0));
        now += 300_000;
        assert_eq!(attempt(&mut breaker, now, Verdict::Answered), Some(State::Closed));
        assert_eq!(breaker.failures(), 0);
        for _ in 0..IN_A_ROW {
            attempt(&mut breaker, now, Verdict::Failed);
        }
        assert_eq!(breaker.next_probe(), Some(now + 5_000), "the waits begin anew");
    }

    #[test]
    fn a_probe_that_says_nothing_lets_the_next_one_probe() {
        let mut breaker = opened(0);
        assert_eq!(attempt(&mut breaker, 5_000, Verdict::Nothing), None);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(attempt(&mut breaker, 5_001, Verdict::Answered), Some(State::Closed));
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let mut breaker = Breaker::default();
        let Admission::Pass(early) = breaker.admit(0).0 else { panic!("closed") };
        for _ in 0..IN_A_ROW {
            attempt(&mut breaker, 1, Verdict::Failed);
        }
        assert_eq!(breaker.enter(2, early, Verdict::Answered), None);
        let Admission::Pass(probe) = breaker.admit(6_000).0 else { panic!("the wait is over") };
        assert_eq!(breaker.enter(6_001, early, Verdict::Failed), None);
        assert_eq!(breaker.enter(6_002, probe, Verdict::Answered), Some(State::Closed));
        assert_eq!(breaker.enter(6_003, early, Verdict::Failed), None);
        assert_eq!(breaker.failures(), 0);
    }

    #[test]
    fn what_nobody_would_miss_is_forgotten() {
        assert!(Breaker::default().is_forgettable(0));
        let mut breaker = Breaker::default();
        attempt(&mut breaker, 0, Verdict::Answered);
        assert!(breaker.is_forgettable(1));
        attempt(&mut breaker, 2, Verdict::Failed);
        attempt(&mut breaker, 3, Verdict::Answered);
        assert!(!breaker.is_forgettable(4) && breaker.is_forgettable(40_000));
        let open = opened(0);
        assert!(!open.is_forgettable(500_000) && open.is_forgettable(700_000));
    }

    #[test]
    fn what_others_found_holds_here_and_what_was_on_its_way_changes_nothing() {
        let mut breaker = Breaker::default();
        let (Admission::Pass(before), _) = breaker.admit(0) else { panic!("closed") };
        assert_eq!(breaker.hear_open(10, FIRST_WAIT), Some(State::Open));
        assert_eq!(breaker.hear_open(20, FIRST_WAIT * 2), None, "for longer");
        assert!(matches!(breaker.admit(9_000).0, Admission::Refused(_)));
        assert_eq!(breaker.enter(9_001, before, Verdict::Answered), None);
        let (Admission::Pass(probe), Some(State::HalfOpen)) = breaker.admit(10_020) else { panic!("not half-open") };
        assert_eq!(breaker.hear_open(10_021, FIRST_WAIT), None, "its own probe is on its way");
        assert_eq!(breaker.hear_closed(10_022), Some(State::Closed));
        assert_eq!(breaker.hear_closed(10_023), None);
        assert_eq!(breaker.enter(10_024, probe, Verdict::Failed), None);
        assert_eq!((breaker.state(), breaker.failures()), (State::Closed, 0));
    }
}
