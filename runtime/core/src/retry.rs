//! When to try again: pure arithmetic over a policy, the attempt's number, and a jitter that the caller brings.

use std::time::Duration;

use crate::outcome::Failure;

/// The longest `Retry-After` that is obeyed; a destination cannot park a run for longer.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// An action's `retry` setting.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Tries in all, the first included.
    pub max_attempts: u32,
    /// Milliseconds before the second try.
    pub initial_delay_ms: u64,
    /// Milliseconds that no delay exceeds.
    pub max_delay_ms: u64,
    /// What each delay is multiplied by to give the next.
    pub backoff_multiplier: f64,
    /// How the delay is spread.
    pub jitter: Jitter,
    /// Error codes that are tried again; `None` is every transient one.
    pub retry_on: Option<Vec<String>>,
}

/// How a delay is spread, so that many failures at once do not come back at once.
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// Anywhere between nothing and the delay.
    Full,
    /// Half the delay, and anywhere in the other half.
    Equal,
    /// The delay itself.
    None,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_delay_ms: 2_000,
            max_delay_ms: 86_400_000,
            backoff_multiplier: 2.0,
            jitter: Jitter::Full,
            retry_on: None,
        }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Try again after this long.
    After(Duration),
    /// It failed for good.
    GiveUp,
}

/// What follows attempt number `attempt` (from 1) that failed transiently with `failure`. `asked` is the
/// destination's `Retry-After`; `chance` is in `[0, 1)`.
#[must_use]
pub fn next(policy: &Policy, attempt: u32, failure: &Failure, asked: Option<Duration>, chance: f64) -> Next {
    if attempt >= policy.max_attempts || !policy.covers(&failure.code) {
        return Next::GiveUp;
    }
    let delay = policy.delay_ms(attempt);
    let spread = match policy.jitter {
        Jitter::Full => delay * chance,
        Jitter::Equal => delay / 2.0 + delay / 2.0 * chance,
        Jitter::None => delay,
    };
    let own = Duration::from_millis(spread as u64);
    // What was asked for is a minimum; a tenth of it on top keeps callers from coming back together.
    let asked = asked.map(|a| a.min(MAX_RETRY_AFTER)).map(|a| a + a.mul_f64(chance / 10.0));
    Next::After(asked.map_or(own, |a| a.max(own)))
}

impl Policy {
    /// Whether a failure with `code` is one that this policy tries again.
    #[must_use]
    pub fn covers(&self, code: &str) -> bool {
        let Some(codes) = &self.retry_on else {
            return true;
        };
        codes
            .iter()
            .any(|wanted| wanted == code || (wanted == "HTTP_5XX" && code.len() == 8 && code.starts_with("HTTP_5")))
    }

    /// The delay in milliseconds after attempt `attempt`, before jitter.
    fn delay_ms(&self, attempt: u32) -> f64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = self.initial_delay_ms as f64 * self.backoff_multiplier.powi(exponent);
        delay.min(self.max_delay_ms as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str) -> Failure {
        Failure::new(code, "")
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_jitter_spreads_them_down() {
        let policy = Policy { max_attempts: 100, max_delay_ms: 10_000, ..Policy::default() };
        let at = |attempt, chance| next(&policy, attempt, &failure("ETIMEDOUT"), None, chance);
        assert_eq!(at(1, 0.5), Next::After(Duration::from_millis(1_000)));
        assert_eq!(at(2, 0.5), Next::After(Duration::from_millis(2_000)));
        assert_eq!(at(99, 0.5), Next::After(Duration::from_millis(5_000)));
        assert_eq!(at(1, 0.0), Next::After(Duration::ZERO));
    }

    #[test]
    fn the_last_attempt_gives_up() {
        let policy = Policy::default();
        assert_eq!(next(&policy, 5, &failure("ETIMEDOUT"), None, 0.1), Next::GiveUp);
    }

    #[test]
    fn retry_on_narrows_what_is_tried_again() {
        let policy = Policy { retry_on: Some(vec!["HTTP_5XX".into(), "ECONNREFUSED".into()]), ..Policy::default() };
        assert!(policy.covers("HTTP_503") && policy.covers("ECONNREFUSED"));
        assert!(!policy.covers("HTTP_429") && !policy.covers("ETIMEDOUT"));
    }

    #[test]
    fn retry_after_is_a_minimum_and_capped_at_an_hour() {
        let policy = Policy::default();
        let asked = |secs| next(&policy, 1, &failure("HTTP_429"), Some(Duration::from_secs(secs)), 0.0);
        assert_eq!(asked(30), Next::After(Duration::from_secs(30)));
        assert_eq!(asked(315_360_000), Next::After(MAX_RETRY_AFTER));
    }
}
