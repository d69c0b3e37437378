//! The runs that this node holds, as far as the store knows: whose leases it keeps up as a whole.
//!
//! A node's lease covers all of its runs, so that holding a run costs no write. What the store has to know of them:
//!
//! - the least id of those that the table `queue` does not name, so that another node finds them when this one dies
//!   (`nodes.low_run`);
//! - when a run's own lease ends, which its holder in this process renews here: a run that nobody renews was dropped on
//!   the way, and is given back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use triggerd_core::id::RunId;
use uuid::Uuid;

/// A held run.
struct Entry {
    node: i64,
    epoch: i64,
    until: Instant,
    since: Instant,
    /// `queue` names it.
    queued: bool,
    lane: Option<Uuid>,
}

/// The held runs.
#[derive(Default)]
pub(super) struct Held(Mutex<State>);

#[derive(Default)]
struct State {
    entries: HashMap<RunId, Entry>,
    /// What `nodes.low_run` says, or is about to say.
    low: Uuid,
}

/// A run that is given back because nobody renewed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dropped {
    pub(super) id: RunId,
    pub(super) epoch: i64,
    pub(super) node: i64,
}

impl Held {
    /// Enters a run that is about to be kept or was just claimed. Answers whether `queue` has to name it: it does already
    /// (`queued`), or nobody would find it.
    pub(super) fn enter(
        &self,
        node: i64,
        (id, epoch): (RunId, i64),
        lease: Duration,
        queued: bool,
        lane: Option<Uuid>,
    ) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock();
        let queued = queued || id.0 < state.low;
        state.entries.insert(id, Entry { node, epoch, until: now + lease, since: now, queued, lane });
        queued
    }

    /// The run has ended or was given back, under this epoch or an older one.
    pub(super) fn leave(&self, id: RunId, epoch: i64) {
        let mut state = self.0.lock();
        if state.entries.get(&id).is_some_and(|entry| entry.epoch <= epoch) {
            state.entries.remove(&id);
        }
    }

    /// Whether `queue` names the run, and its lane; `None` where this node does not hold it under this epoch.
    pub(super) fn find(&self, id: RunId, epoch: i64) -> Option<(bool, Option<Uuid>)> {
        let state = self.0.lock();
        state.entries.get(&id).filter(|entry| entry.epoch == epoch).map(|entry| (entry.queued, entry.lane))
    }

    /// Renews a run's lease; `false` where this node does not hold it.
    pub(super) fn renew(&self, id: RunId, epoch: i64, lease: Duration) -> bool {
        let mut state = self.0.lock();
        let entry = state.entries.get_mut(&id).filter(|entry| entry.epoch == epoch);
        entry.map(|entry| entry.until = Instant::now() + lease).is_some()
    }

    /// The least id that `queue` does not name, at most `newest`: what is to be published. Runs that are entered later with a
    /// lesser id than what is published, or will be, are named.
    pub(super) fn low(&self, newest: Uuid) -> Uuid {
        let mut state = self.0.lock();
        let low = state.entries.iter().filter(|(_, entry)| !entry.queued).map(|(id, _)| id.0).min();
        let low = low.map_or(newest, |low| low.min(newest));
        state.low = state.low.max(low);
        low
    }

    /// The mark is in the database.
    pub(super) fn published(&self, low: Uuid) {
        self.0.lock().low = low;
    }

    /// The runs that have been held for longer than `age` and that `queue` does not name; from now on it does.
    pub(super) fn queue_old(&self, node: i64, age: Duration) -> Vec<RunId> {
        let mut state = self.0.lock();
        let old = state.entries.iter_mut().filter(|(_, e)| e.node == node && !e.queued && e.since.elapsed() > age);
        old.map(|(id, entry)| {
            entry.queued = true;
            *id
        })
        .collect()
    }

    /// Takes out the runs whose leases nobody renewed.
    pub(super) fn take_dropped(&self) -> Vec<Dropped> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let dropped: Vec<Dropped> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.until < now)
            .map(|(id, entry)| Dropped { id: *id, epoch: entry.epoch, node: entry.node })
            .collect();
        for one in &dropped {
            state.entries.remove(&one.id);
        }
        dropped
    }

    /// Whether the run is held, under whatever epoch.
    pub(super) fn has(&self, id: RunId) -> bool {
        self.0.lock().entries.contains_key(&id)
    }

    /// Forgets what a node held that is dead: this process under its former id.
    pub(super) fn forget(&self, node: i64) {
        self.0.lock().entries.retain(|_, entry| entry.node != node);
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn id(ms: u64) -> RunId {
        RunId::new(ms, [0; 10])
    }

    #[test]
    fn the_low_mark_covers_every_run_that_the_queue_does_not_name() {
        let held = Held::default();
        assert!(!held.enter(1, (id(100), 1), LEASE, false, None));
        assert!(!held.enter(1, (id(200), 1), LEASE, false, None));
        assert!(held.enter(1, (id(50), 2), LEASE, true, None), "claimed: the queue names it");
        assert_eq!(held.low(id(900).0), id(100).0);
        held.leave(id(100), 1);
        assert_eq!(held.low(id(900).0), id(200).0);
        assert!(held.enter(1, (id(150), 1), LEASE, false, None), "a clock that was set back: below the mark");
        assert_eq!(held.low(id(900).0), id(200).0);
        held.leave(id(200), 1);
        assert_eq!(held.low(id(900).0), id(900).0);
        held.published(id(900).0);
        assert_eq!(held.low(id(600).0), id(600).0, "a clock that was set back");
        assert!(held.enter(1, (id(700), 1), LEASE, false, None), "the database does not know of the lower mark yet");
        held.published(id(600).0);
        assert!(!held.enter(1, (id(701), 1), LEASE, false, None));
        assert_eq!(held.count(), 4);
    }

    #[test]
    fn a_run_that_nobody_renews_is_given_back_once() {
        let held = Held::default();
        held.enter(1, (id(1), 3), Duration::ZERO, false, None);
        held.enter(1, (id(2), 1), LEASE, false, None);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(held.take_dropped(), [Dropped { id: id(1), epoch: 3, node: 1 }]);
        assert!(held.take_dropped().is_empty());
        assert!(!held.renew(id(1), 3, LEASE) && held.renew(id(2), 1, LEASE) && !held.renew(id(2), 2, LEASE));
    }

    #[test]
    fn a_late_end_of_an_earlier_claim_leaves_the_later_one() {
        let held = Held::default();
        held.enter(2, (id(1), 5), LEASE, true, None);
        held.leave(id(1), 4);
        assert!(held.find(id(1), 5).is_some());
        held.forget(1);
        assert!(held.has(id(1)));
        held.forget(2);
        assert!(!held.has(id(1)));
    }
}
