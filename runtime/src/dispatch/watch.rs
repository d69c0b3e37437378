//! Waiting for runs: callers that asked for it, and `sync` actions.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::watch;
use triggerd_core::definition::{Timing, Trigger};
use triggerd_core::id::RunId;

/// How far a watched run has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Its `sync` actions have not ended.
    Begun,
    /// They have; others may go on.
    SyncDone,
    /// Its `sync` and `async` actions have ended: the run has, or only `queued` actions are left.
    Ended,
}

/// The runs that somebody waits for.
#[derive(Default)]
pub struct Watches(DashMap<RunId, watch::Sender<Stage>>);

/// Waits for the runs of one event. Dropping it stops the watching.
#[derive(Debug)]
pub struct Waiter {
    runs: Vec<watch::Receiver<Stage>>,
    has_sync: bool,
}

impl Watches {
    /// Watches a run from its beginning.
    pub(super) fn watch(&self, run: RunId) -> watch::Receiver<Stage> {
        let (sender, receiver) = watch::channel(Stage::Begun);
        self.0.insert(run, sender);
        receiver
    }

    /// The run's actions before `next` (an index into the trigger's actions) have ended.
    pub(super) fn reached(&self, run: RunId, trigger: &Trigger, next: usize) {
        if self.0.is_empty() {
            return;
        }
        let rest = trigger.actions.get(next..).unwrap_or_default();
        if rest.iter().all(|a| matches!(a.timing, Timing::Queued(_))) {
            self.ended(run);
        } else if !rest.iter().any(|a| a.timing == Timing::Sync)
            && let Some(sender) = self.0.get(&run)
        {
            sender.send_if_modified(|stage| std::mem::replace(stage, Stage::SyncDone.max(*stage)) < Stage::SyncDone);
        }
    }

    /// The run has ended, well or not.
    pub(super) fn ended(&self, run: RunId) {
        if let Some((_, sender)) = self.0.remove(&run) {
            sender.send_replace(Stage::Ended);
        }
    }

    /// Forgets the runs that nobody waits for any more.
    pub(super) fn forget_abandoned(&self) {
        self.0.retain(|_, sender| sender.receiver_count() > 0);
    }
}

impl Waiter {
    /// A waiter with nothing to wait for.
    #[must_use]
    pub fn nothing() -> Self {
        Self { runs: Vec::new(), has_sync: false }
    }

    /// A waiter for watched runs; `has_sync` where any of them has a `sync` action.
    pub(super) fn new(runs: Vec<watch::Receiver<Stage>>, has_sync: bool) -> Self {
        Self { runs, has_sync }
    }

    /// Waits until every `sync` action has ended (at once where there is none), at most `limit`; whether they did.
    pub async fn sync_done(&mut self, limit: Duration) -> bool {
        !self.has_sync || self.all_reach(Stage::SyncDone, limit).await
    }

    /// Waits until every `sync` and `async` action has ended, at most `limit`; whether they did.
    pub async fn ended(&mut self, limit: Duration) -> bool {
        self.all_reach(Stage::Ended, limit).await
    }

    async fn all_reach(&mut self, wanted: Stage, limit: Duration) -> bool {
        let all = async {
            for run in &mut self.runs {
                // A dropped sender has sent `Ended` before, or the process is going down.
                if run.wait_for(|stage| *stage >= wanted).await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(limit, all).await.unwrap_or(false)
    }
}

/// Shared by the dispatcher and its runs.
pub(super) type SharedWatches = Arc<Watches>;
