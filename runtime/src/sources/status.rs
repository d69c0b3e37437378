//! What can be told of a captured database.

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::outbox::{Found, State as Table};

/// One database's state, shared between who captures it and who asks. Cheap to share as `Arc`.
pub struct Status {
    told: Mutex<Told>,
    /// The number of the last plan that was carried out, or could not be.
    settled: watch::Sender<u64>,
}

/// What is told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Changes are read.
    pub running: bool,
    /// Why not, or what else is wrong with the whole database.
    pub problem: Option<String>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// How many changes became events since the start.
    pub captured: u64,
    /// When the last of them was made, by the database's clock.
    pub last_change_at: Option<Timestamp>,
    /// When it was accepted.
    pub last_accepted_at: Option<Timestamp>,
}

impl Told {
    /// As JSON, of the database as it is in `env`.
    #[must_use]
    pub fn shown(&self, env: &str) -> Value {
        let at = |instant: Option<Timestamp>| instant.map(|at| format!("{at:.3}"));
        json!({
            "env": env,
            "running": self.running,
            "problem": self.problem,
            "captured": self.captured,
            "last_change_at": at(self.last_change_at),
            "last_accepted_at": at(self.last_accepted_at),
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
        })
    }
}

fn table(table: &Table) -> Value {
    let (state, problem) = match &table.found {
        Found::Good | Found::Installed | Found::Repaired => ("captured", None),
        Found::Removed => ("left", None),
        Found::Problem(problem) => ("failing", Some(problem)),
    };
    json!({"table": table.table, "operations": table.operations, "state": state, "problem": problem})
}

impl Default for Status {
    fn default() -> Self {
        Self { told: Mutex::default(), settled: watch::Sender::new(0) }
    }
}

impl Status {
    /// What is known.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// The plan of that number is carried out.
    pub(super) fn runs(&self, generation: u64, tables: Vec<Table>) {
        let mut told = self.told.lock();
        told.running = true;
        told.problem = None;
        told.tables = tables;
        drop(told);
        self.settle(generation);
    }

    /// It cannot be carried out, or not any more.
    pub(super) fn fails(&self, generation: u64, problem: String) {
        let mut told = self.told.lock();
        told.running = false;
        told.problem = Some(problem);
        drop(told);
        self.settle(generation);
    }

    /// Something is wrong, while changes are read.
    pub(super) fn warns(&self, problem: String) {
        self.told.lock().problem = Some(problem);
    }

    /// Changes became events: how many, when the last of them was made, and when it was accepted.
    pub(super) fn captured(&self, database: &str, count: usize, last: Timestamp, now: Timestamp) {
        metrics::counter!("triggerd_captured_changes_total", "database" => database.to_owned()).increment(count as u64);
        metrics::histogram!("triggerd_capture_lag_seconds", "database" => database.to_owned())
            .record((now.duration_since(last)).as_secs_f64().max(0.0));
        let mut told = self.told.lock();
        told.captured += count as u64;
        told.last_change_at = Some(last);
        told.last_accepted_at = Some(now);
    }

    /// Waits until the plan of that number, or a later one, was carried out or could not be.
    pub async fn settled(&self, generation: u64) {
        // The sender is this struct's own: it is not dropped before.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= generation).await;
    }

    fn settle(&self, generation: u64) {
        self.settled.send_if_modified(|settled| {
            let later = generation > *settled;
            if later {
                *settled = generation;
            }
            later
        });
    }
}
