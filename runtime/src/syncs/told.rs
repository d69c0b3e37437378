//! What can be told of a sync since the start: counts, lag, failures.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd_core::outcome::Failure;
use triggerd_core::sync::{Reason, Side};

/// Minutes that are looked back on.
const MINUTES: usize = 60;

/// What became of one row.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Applied {
    /// The side that was written.
    pub to: Option<Side>,
    /// The row was deleted there.
    pub deleted: bool,
    /// A value is lost.
    pub lost: Option<Reason>,
    /// Nothing was to be done.
    pub same: bool,
}

impl Applied {
    /// Nothing was to be done.
    #[must_use]
    pub fn same() -> Self {
        Self { same: true, ..Self::default() }
    }

    /// In a word.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.lost, self.same, self.deleted) {
            (Some(Reason::Stale), ..) => "skipped_stale",
            (Some(Reason::Conflict), ..) => "conflict",
            (None, true, _) => "same",
            (None, false, true) => "deleted",
            (None, false, false) if self.to.is_none() => "left",
            (None, false, false) => "synced",
        }
    }
}

/// The counts of one sync.
#[derive(Default)]
pub struct Told {
    outcomes: BTreeMap<&'static str, u64>,
    lag: Option<f64>,
    last_at: Option<Timestamp>,
    last_failure: Option<(Timestamp, Failure)>,
    /// By minute: changes and failures.
    hour: VecDeque<(i64, u64, u64)>,
}

impl Told {
    /// A row was looked after.
    pub(super) fn applied(&mut self, applied: &Applied, lag: f64, now: Timestamp) {
        *self.outcomes.entry(applied.outcome()).or_default() += 1;
        if !applied.same {
            self.lag = Some(lag);
            self.last_at = Some(now);
            self.minute(now).1 += 1;
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, failure: &Failure, now: Timestamp) {
        *self.outcomes.entry("failed").or_default() += 1;
        self.last_failure = Some((now, failure.clone()));
        self.minute(now).2 += 1;
    }

    fn minute(&mut self, now: Timestamp) -> &mut (i64, u64, u64) {
        let minute = now.as_second().div_euclid(60);
        if self.hour.back().is_none_or(|last| last.0 != minute) {
            self.hour.push_back((minute, 0, 0));
        }
        while self.hour.len() > MINUTES {
            self.hour.pop_front();
        }
        let last = self.hour.len() - 1;
        &mut self.hour[last]
    }

    /// As JSON.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> Value {
        let since = now.as_second().div_euclid(60) - MINUTES as i64;
        let recent = self.hour.iter().filter(|(minute, ..)| *minute > since);
        let (changes, failures) = recent.fold((0, 0), |(c, f), (_, changes, failures)| (c + changes, f + failures));
        let last_failure = self
            .last_failure
            .as_ref()
            .map(|(at, failure)| json!({"at": format!("{at:.3}"), "code": failure.code, "message": failure.message}));
        json!({
            "outcomes": self.outcomes, "lag_seconds": self.lag, "last_change_at": self.last_at.map(|at| format!("{at:.3}")),
            "changes_last_hour": changes, "failures_last_hour": failures, "last_failure": last_failure,
        })
    }
}
