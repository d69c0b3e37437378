//! Lanes: runs of one trigger with equal ordering keys execute one after another, in the order they were kept.
//!
//! Invariants: a lane is open while any of its runs has not ended; only the first run of a lane is held, the others
//! are `pending` in the store; when a run ends, the lane's next one is claimed. Memory holds a count per open lane,
//! never the runs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use triggerd_core::id::TenantId;

/// Names a lane.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lane {
    /// Whose.
    pub tenant: TenantId,
    /// The trigger's tag.
    pub trigger: Arc<str>,
    /// The rendered key.
    pub key: String,
}

/// The open lanes with the number of their unfinished runs.
#[derive(Default)]
pub struct Lanes(Mutex<HashMap<Lane, u64>>);

impl Lanes {
    /// Adds a run; whether it is the lane's first and may start.
    pub fn enter(&self, lane: Lane) -> bool {
        match self.0.lock().entry(lane) {
            Entry::Vacant(vacant) => {
                vacant.insert(1);
                true
            }
            Entry::Occupied(mut occupied) => {
                *occupied.get_mut() += 1;
                false
            }
        }
    }

    /// A run of the lane has ended; whether others wait.
    pub fn leave(&self, lane: &Lane) -> bool {
        let mut lanes = self.0.lock();
        let Some(count) = lanes.get_mut(lane) else { return false };
        *count = count.saturating_sub(1);
        if *count == 0 {
            lanes.remove(lane);
            return false;
        }
        true
    }

    /// Sets the counts of lanes found in the store (at start, or after many runs were made pending again). A lane's
    /// count only grows by this: runs that are being kept just now are not in the store yet.
    pub fn restore(&self, found: impl IntoIterator<Item = (Lane, u64)>) {
        let mut lanes = self.0.lock();
        for (lane, count) in found {
            let known = lanes.entry(lane).or_insert(0);
            *known = (*known).max(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(key: &str) -> Lane {
        Lane { tenant: TenantId::new("t"), trigger: Arc::from("a"), key: key.into() }
    }

    #[test]
    fn only_the_first_of_a_lane_starts_and_each_end_lets_the_next_in() {
        let lanes = Lanes::default();
        assert!(lanes.enter(lane("1")));
        assert!(!lanes.enter(lane("1")));
        assert!(lanes.enter(lane("2")), "another key is another lane");
        assert!(lanes.leave(&lane("1")));
        assert!(!lanes.leave(&lane("1")));
        assert!(lanes.enter(lane("1")), "an empty lane begins anew");
    }
}
