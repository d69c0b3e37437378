//! From an attempt's outcome to what follows: the decision is pure, the writing is the store's.

use std::time::Duration;

use triggerd_core::definition::Action;
use triggerd_core::outcome::{Failure, Outcome};
use triggerd_core::retry::{self, Next};
use triggerd_core::run::{ActionProgress, ActionState, Attempt, AttemptOutcome};

use crate::dispatch::push_attempt;

/// How often a run may lose its holder before it is taken for the cause: it becomes a dead letter then.
pub const MAX_LOST: usize = 10;

/// What follows an attempt.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// The next action.
    Delivered,
    /// The same action, after a while.
    Again(Duration),
    /// The action has failed for good.
    Failed(Failure),
}

/// Enters an attempt's outcome into the action's progress and decides what follows. `attempt` comes filled in but
/// for how it ended; `chance` is in `[0, 1)`.
pub fn settle(
    progress: &mut ActionProgress,
    action: &Action,
    mut attempt: Attempt,
    outcome: Outcome,
    chance: f64,
) -> Decision {
    let decision = match outcome {
        Outcome::Done(output) => {
            progress.output = output;
            Decision::Delivered
        }
        Outcome::Dead(failure) => Decision::Failed(failure),
        Outcome::Retry { failure, after } => {
            let number = tries_of_round(progress) + 1;
            attempt.error_code = Some(failure.code.clone());
            attempt.error = Some(failure.message.clone());
            match retry::next(&action.retry, number, &failure, after, chance) {
                Next::After(delay) => Decision::Again(delay),
                Next::GiveUp => Decision::Failed(failure),
            }
        }
    };
    (progress.status, attempt.outcome) = match &decision {
        Decision::Delivered => (ActionState::Delivered, AttemptOutcome::Delivered),
        Decision::Again(_) => (ActionState::Pending, AttemptOutcome::Retry),
        Decision::Failed(failure) => {
            attempt.error_code = Some(failure.code.clone());
            attempt.error = Some(failure.message.clone());
            (ActionState::Failed, AttemptOutcome::Failed)
        }
    };
    push_attempt(progress, attempt);
    decision
}

/// The attempts that the retry policy counts: those since the last replay whose end is known.
fn tries_of_round(progress: &ActionProgress) -> u32 {
    let lost = progress
        .attempts
        .iter()
        .filter(|a| a.attempt >= progress.first_of_round && a.outcome == AttemptOutcome::Lost)
        .count();
    (progress.last_attempt() + 1).saturating_sub(progress.first_of_round).saturating_sub(lost as u32)
}

/// Whether the action has lost its holder so often that it is taken for the cause.
#[must_use]
pub fn is_poison(progress: &ActionProgress) -> bool {
    let trailing = progress.attempts.iter().rev().take_while(|a| a.outcome == AttemptOutcome::Lost).count();
    trailing >= MAX_LOST
}
