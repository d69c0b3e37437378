//! What happened to an event, in order: accepted, tried, ended, replayed, of all its runs.

use std::sync::Arc;

use jiff::Timestamp;
use triggerd_core::event::Event;
use triggerd_core::id::RunId;
use triggerd_core::run::{ActionProgress, Attempt, AttemptOutcome, RunState};

use crate::store::Run;

/// Something that happened to an event.
#[derive(Clone, PartialEq, Debug)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// To which run, of which trigger.
    pub run: Option<(RunId, Arc<str>)>,
    /// The try of an action.
    pub tried: Option<Tried>,
    /// Why a try failed, or a run became a dead letter: a stable code.
    pub error_code: Option<String>,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The event was kept.
    Accepted,
    /// A run's first action was tried, for the first time or for the first time since a replay.
    Started,
    /// An action was tried.
    Attempt,
    /// A run ended well.
    Delivered,
    /// A run ended as a dead letter.
    DeadLettered,
    /// A run was asked for again.
    Replayed,
}

impl What {
    /// As the API calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Attempt => "attempt",
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Replayed => "replayed",
        }
    }
}

/// A try of an action.
#[derive(Clone, PartialEq, Debug)]
pub struct Tried {
    /// The action's name.
    pub action: String,
    /// Counted from 1.
    pub attempt: u32,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
}

/// Everything that is known to have happened, oldest first. Of an action that was tried very often only the latest attempts are
/// known, of a run that was replayed very often only the latest ends.
#[must_use]
pub fn of(event: &Event, runs: &[Run]) -> Vec<Moment> {
    let accepted = Moment { at: event.accepted_at, what: What::Accepted, run: None, tried: None, error_code: None };
    // By time; what a run did in one millisecond stays in the order in which it did it.
    let mut moments: Vec<Moment> = runs.iter().flat_map(of_run).collect();
    moments.sort_by_key(|moment| moment.at);
    moments.insert(0, accepted);
    moments
}

/// A run's moments: round after round, of which each replay begins one.
fn of_run(run: &Run) -> Vec<Moment> {
    let moment =
        |at, what| Moment { at, what, run: Some((run.id, run.trigger.clone())), tried: None, error_code: None };
    let rounds = &run.progress.rounds;
    let mut attempts: Vec<Vec<(&ActionProgress, &Attempt)>> = vec![Vec::new(); rounds.len() + 1];
    for action in &run.progress.actions {
        for attempt in &action.attempts {
            let is_of_this_round = attempt.attempt >= action.first_of_round;
            let earlier = || rounds.iter().position(|round| attempt.started_at <= round.ended_at);
            attempts[if is_of_this_round { rounds.len() } else { earlier().unwrap_or(rounds.len()) }]
                .push((action, attempt));
        }
    }
    let mut moments = Vec::new();
    for (n, mut tried) in attempts.into_iter().enumerate() {
        tried.sort_by_key(|(_, attempt)| attempt.started_at);
        if let Some((_, first)) = tried.first() {
            moments.push(moment(first.started_at, What::Started));
        }
        moments.extend(tried.into_iter().map(|(action, attempt)| Moment {
            tried: Some(Tried::of(action, attempt)),
            error_code: attempt.error_code.clone(),
            ..moment(attempt.started_at, What::Attempt)
        }));
        if let Some(round) = rounds.get(n) {
            let what = if round.error_code.is_some() { What::DeadLettered } else { What::Delivered };
            moments.push(Moment { error_code: round.error_code.clone(), ..moment(round.ended_at, what) });
            moments.push(moment(round.replayed_at, What::Replayed));
        }
    }
    let ended = match run.state {
        RunState::Delivered => Some(What::Delivered),
        RunState::Failed => Some(What::DeadLettered),
        RunState::Pending | RunState::Running => None,
    };
    if let (Some(what), Some(at)) = (ended, run.finished_at) {
        moments.push(Moment { error_code: run.error.as_ref().map(|(code, _)| code.clone()), ..moment(at, what) });
    }
    in_step(moments)
}

/// Lets nothing be earlier than what came before it: the clocks of several nodes may differ.
fn in_step(mut moments: Vec<Moment>) -> Vec<Moment> {
    for n in 1..moments.len() {
        moments[n].at = moments[n].at.max(moments[n - 1].at);
    }
    moments
}

impl Tried {
    fn of(action: &ActionProgress, attempt: &Attempt) -> Self {
        Self {
            action: action.name.clone(),
            attempt: attempt.attempt,
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;
    use triggerd_core::id::{EventId, TenantId};
    use triggerd_core::run::{ActionState, Progress, Round};

    use super::*;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn attempt(n: u32, second: i64) -> Attempt {
        Attempt {
            attempt: n,
            started_at: t(second),
            duration_ms: 0,
            outcome: AttemptOutcome::Failed,
            error_code: Some("HTTP_400".to_owned()),
            error: None,
            request: None,
            response: None,
        }
    }

    fn run(id: RunId, attempts: Vec<Attempt>, first_of_round: u32, rounds: Vec<Round>) -> Run {
        let action = ActionProgress {
            name: "call".to_owned(),
            kind: "http.post".to_owned(),
            status: ActionState::Failed,
            delivery_id: id.delivery("call"),
            reason: None,
            output: Value::Null,
            effect: None,
            first_of_round,
            attempts,
        };
        Run {
            id,
            tenant: TenantId::new("default"),
            event_id: EventId::new(0, [0; 10]),
            trigger: Arc::from("welcome"),
            version: 1,
            state: RunState::Failed,
            epoch: 1,
            due: None,
            queue: None,
            ordering_key: None,
            replay: true,
            progress: Progress { actions: vec![action], rounds },
            error: Some(("HTTP_400".to_owned(), "it said no".to_owned())),
            created_at: t(0),
            finished_at: Some(t(9)),
        }
    }

    fn told(moments: &[Moment]) -> Vec<(i64, &'static str)> {
        moments.iter().map(|m| (m.at.as_second() - 1_800_000_000, m.what.as_str())).collect()
    }

    #[test]
    fn rounds_are_told_in_order_with_their_attempts_though_they_end_in_one_second() {
        let round = Round { ended_at: t(2), error_code: Some("HTTP_400".to_owned()), replayed_at: t(2) };
        let one = run(RunId::new(1, [1; 10]), vec![attempt(1, 1), attempt(2, 2), attempt(3, 2)], 3, vec![round]);
        let event = Event::plain(one.event_id, one.tenant.clone(), "a", Value::Null, t(0));
        let moments = of(&event, &[one]);
        let wanted = [
            (0, "accepted"),
            (1, "started"),
            (1, "attempt"),
            (2, "attempt"),
            (2, "dead_lettered"),
            (2, "replayed"),
            (2, "started"),
            (2, "attempt"),
            (9, "dead_lettered"),
        ];
        assert_eq!(told(&moments), wanted);
        assert_eq!(moments[7].tried.as_ref().unwrap().attempt, 3);
        assert_eq!(moments[4].error_code.as_deref(), Some("HTTP_400"));
    }

    #[test]
    fn runs_are_told_together_and_nothing_is_earlier_than_what_led_to_it() {
        let first = run(RunId::new(1, [1; 10]), vec![attempt(1, 3)], 1, Vec::new());
        let mut second = run(RunId::new(1, [2; 10]), vec![attempt(1, 12)], 1, Vec::new());
        // Another node's clock is behind.
        second.finished_at = Some(t(11));
        let event = Event::plain(first.event_id, first.tenant.clone(), "a", Value::Null, t(0));
        let moments = of(&event, &[second, first]);
        let wanted = [
            (0, "accepted"),
            (3, "started"),
            (3, "attempt"),
            (9, "dead_lettered"),
            (12, "started"),
            (12, "attempt"),
            (12, "dead_lettered"),
        ];
        assert_eq!(told(&moments), wanted);
    }
}
