//! The runs that this node holds, as far as the store knows: whose leases it keeps up as a whole.
//!
//! A node's lease covers all of its runs, so that holding a run costs no write. What the store has to know of them:
//!
//! - the least id of those that the table `queue` does not name, so that another node finds them when this one dies
//!   (`nodes.low_run`);
//! - when a run's own lease ends, which its holder in this process renews here: a run that nobody renews was dropped on
//!   the way, and is given back; so is one of which it is unknown what was committed. Such a run stays here, and below the
//!   mark, until the database has taken it back.

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
    /// `queue` may name it: whoever reports its end looks.
    maybe_queued: bool,
    /// `queue` names it, for certain.
    queued: bool,
    /// It is unknown what was committed of it: nobody in this process holds it, and the database may say otherwise.
    doubtful: bool,
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
        let entry =
            Entry { node, epoch, until: now + lease, since: now, maybe_queued: queued, queued, doubtful: false, lane };
        state.entries.insert(id, entry);
        queued
    }

    /// It is unknown what was committed of these: from now on nobody holds them here.
    pub(super) fn doubt(&self, runs: &[Dropped]) {
        let mut state = self.0.lock();
        for one in runs {
            if let Some(entry) = state.entries.get_mut(&one.id).filter(|entry| entry.epoch == one.epoch) {
                entry.doubtful = true;
            }
        }
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
        let entry = state.entries.get(&id).filter(|entry| entry.epoch == epoch && !entry.doubtful);
        entry.map(|entry| (entry.maybe_queued, entry.lane))
    }

    /// Renews a run's lease; `false` where this node does not hold it.
    pub(super) fn renew(&self, id: RunId, epoch: i64, lease: Duration) -> bool {
        let mut state = self.0.lock();
        let entry = state.entries.get_mut(&id).filter(|entry| entry.epoch == epoch && !entry.doubtful);
        entry.map(|entry| entry.until = Instant::now() + lease).is_some()
    }

    /// The least id that `queue` does not name, at most `newest`: what is to be published. Runs that are entered later with a
    /// lesser id than what is published, or will be, are named.
    pub(super) fn low(&self, newest: Uuid) -> Uuid {
        let mut state = self.0.lock();
        let low = state.entries.iter().filter(|(_, entry)| !entry.queued || entry.doubtful).map(|(id, _)| id.0).min();
        let low = low.map_or(newest, |low| low.min(newest));
        state.low = state.low.max(low);
        low
    }

    /// The mark is in the database.
    pub(super) fn published(&self, low: Uuid) {
        self.0.lock().low = low;
    }

    /// The runs that have been held for longer than `age` and that `queue` does not name for certain; from now on it may.
    pub(super) fn queue_old(&self, node: i64, age: Duration) -> Vec<RunId> {
        let mut state = self.0.lock();
        let old = state.entries.iter_mut().filter(|(_, e)| e.node == node && !e.queued && e.since.elapsed() > age);
        old.map(|(id, entry)| {
            entry.maybe_queued = true;
            *id
        })
        .collect()
    }

    /// `queue` names these, committed.
    pub(super) fn queued(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut state = self.0.lock();
        for id in runs {
            if let Some(entry) = state.entries.get_mut(&id) {
                (entry.queued, entry.maybe_queued) = (true, true);
            }
        }
    }

    /// The runs whose leases nobody renewed, and those in doubt. They stay until [`Held::leave`], and are nobody's from here on.
    pub(super) fn dropped(&self) -> Vec<Dropped> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let lost = state.entries.iter_mut().filter(|(_, entry)| entry.doubtful || entry.until < now);
        lost.map(|(id, entry)| {
            entry.doubtful = true;
            Dropped { id: *id, epoch: entry.epoch, node: entry.node }
        })
        .collect()
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
        let lost = Dropped { id: id(1), epoch: 3, node: 1 };
        assert_eq!(held.dropped(), [lost]);
        assert_eq!(held.low(id(9).0), id(1).0, "until the database has it back it is below the mark");
        assert!(held.find(id(1), 3).is_none(), "nobody reports on it any more");
        held.leave(lost.id, lost.epoch);
        assert!(held.dropped().is_empty());
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

    #[test]
    fn a_run_is_below_the_mark_until_the_queue_names_it_for_certain() {
        let held = Held::default();
        held.enter(1, (id(1), 1), LEASE, false, None);
        assert_eq!(held.queue_old(1, Duration::ZERO), [id(1)]);
        assert_eq!(held.find(id(1), 1), Some((true, None)), "its end looks into the queue");
        assert_eq!(held.low(id(9).0), id(1).0);
        assert_eq!(held.queue_old(1, Duration::ZERO), [id(1)], "asked for again");
        held.queued([id(1)]);
        assert_eq!(held.low(id(9).0), id(9).0);
        assert!(held.queue_old(1, Duration::ZERO).is_empty());
        held.doubt(&[Dropped { id: id(1), epoch: 1, node: 1 }]);
        assert_eq!(held.low(id(9).0), id(1).0, "what was committed of it is unknown");
    }
}
