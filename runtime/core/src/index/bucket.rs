//! The triggers of one place, told apart by what their conditions demand.
//!
//! A trigger with keys stands under each alternative of its first key. Where more than a few stand under one alternative they
//! are told apart by their second key, and so on: what is left has no further key, and is evaluated. Triggers that share
//! `status EQUALS "paid"` and differ in `customer_id EQUALS` are found by two look-ups, whichever of them is written first.
//! (Discrimination by one attribute after another is that of the matching trees of Aguilera et al., "Matching events in a
//! content-based subscription system", PODC 1999; each level is a hash here.)
//!
//! What a bucket looks like depends on what is in it alone, not on how it came to be.

use std::collections::HashSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::keyed::{Keyed, See};
use crate::condition::{Condition, Key};
use crate::definition::Trigger;
use crate::event::Event;

/// A trigger with the keys of its condition, which adding and removing go by.
pub struct Entry<'t> {
    pub trigger: &'t Arc<Trigger>,
    keys: Vec<Key>,
}

impl<'t> Entry<'t> {
    pub fn of(trigger: &'t Arc<Trigger>) -> Self {
        Self { trigger, keys: trigger.condition.as_ref().map(Condition::keys).unwrap_or_default() }
    }
}

/// The triggers of one place, or those under one alternative.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    /// How many triggers there are; one that stands under several alternatives counts once.
    len: usize,
    keyed: Keyed,
    /// Those without a further key.
    rest: RedBlackTreeMapSync<Arc<str>, Arc<Trigger>>,
}

impl Bucket {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a trigger that is not in it, by its keys from the one numbered `depth` on.
    pub fn add(&mut self, entry: &Entry<'_>, depth: usize) {
        self.len += 1;
        let Some(key) = entry.keys.get(depth) else {
            self.rest.insert_mut(Arc::clone(&entry.trigger.tag), Arc::clone(entry.trigger));
            return;
        };
        key.iter().for_each(|alternative| self.keyed.add(alternative, entry, depth + 1));
    }

    /// Removes a trigger as it was added.
    pub fn remove(&mut self, entry: &Entry<'_>, depth: usize) {
        self.len = self.len.saturating_sub(1);
        let Some(key) = entry.keys.get(depth) else {
            self.rest.remove_mut(&entry.trigger.tag);
            return;
        };
        key.iter().for_each(|alternative| self.keyed.remove(alternative, entry, depth + 1));
    }

    /// Shows `see` the triggers whose keys the event has, and those that have none; one perhaps several times.
    pub fn candidates(&self, event: &Event, see: See<'_>) {
        self.keyed.candidates(event, see);
        self.rest.values().for_each(see);
    }

    /// Shows `see` all of them; one perhaps several times.
    pub fn all(&self, see: See<'_>) {
        self.keyed.all(see);
        self.rest.values().for_each(see);
    }

    /// All of them, each once, by tag.
    pub fn each(&self) -> Vec<Arc<Trigger>> {
        let (mut seen, mut each) = (HashSet::new(), Vec::with_capacity(self.len));
        self.all(&mut |trigger| {
            if seen.insert(Arc::as_ptr(trigger)) {
                each.push(Arc::clone(trigger));
            }
        });
        each.sort_by(|a, b| a.tag.cmp(&b.tag));
        each
    }
}
