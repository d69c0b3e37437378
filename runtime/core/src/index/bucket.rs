//! The triggers of one place, told apart by the equality or `IN` that their conditions demand.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::condition::IndexValue;
use crate::definition::Trigger;
use crate::event::Event;
use crate::path::Path;

type Triggers = RedBlackTreeMapSync<Arc<str>, Arc<Trigger>>;
type ByValue = HashTrieMapSync<IndexValue, Triggers>;

/// The triggers of one place.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    keyed: HashTrieMapSync<Path, ByValue>,
    rest: Triggers,
}

impl Bucket {
    pub fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.rest.is_empty()
    }

    /// Adds `trigger`, which is not in it.
    pub fn add(&mut self, trigger: &Arc<Trigger>) {
        let Some((path, values)) = key(trigger) else {
            self.rest.insert_mut(Arc::clone(&trigger.tag), Arc::clone(trigger));
            return;
        };
        let mut by_value = self.keyed.get(path).cloned().unwrap_or_default();
        for value in values {
            let mut triggers = by_value.get(&value).cloned().unwrap_or_default();
            triggers.insert_mut(Arc::clone(&trigger.tag), Arc::clone(trigger));
            by_value.insert_mut(value, triggers);
        }
        self.keyed.insert_mut(path.clone(), by_value);
    }

    /// Removes `trigger` as it was added.
    pub fn remove(&mut self, trigger: &Trigger) {
        let Some((path, values)) = key(trigger) else {
            self.rest.remove_mut(&trigger.tag);
            return;
        };
        let Some(mut by_value) = self.keyed.get(path).cloned() else { return };
        for value in values {
            let Some(mut triggers) = by_value.get(&value).cloned() else { continue };
            triggers.remove_mut(&trigger.tag);
            if triggers.is_empty() {
                by_value.remove_mut(&value);
            } else {
                by_value.insert_mut(value, triggers);
            }
        }
        if by_value.is_empty() {
            self.keyed.remove_mut(path);
        } else {
            self.keyed.insert_mut(path.clone(), by_value);
        }
    }

    /// Shows `see` the triggers whose predicate holds, and those that have none. A value that has no canonical
    /// form (an array, an object) equals none that a predicate can ask for.
    pub fn candidates(&self, event: &Event, see: &mut dyn FnMut(&Arc<Trigger>)) {
        for (path, by_value) in self.keyed.iter() {
            let found = IndexValue::of(path.find(event).as_deref());
            if let Some(triggers) = found.and_then(|value| by_value.get(&value)) {
                triggers.values().for_each(&mut *see);
            }
        }
        self.rest.values().for_each(see);
    }

    /// Shows `see` all of them; one with an `IN` several times.
    pub fn all(&self, see: &mut dyn FnMut(&Arc<Trigger>)) {
        for triggers in self.keyed.values().flat_map(|by_value| by_value.values()) {
            triggers.values().for_each(&mut *see);
        }
        self.rest.values().for_each(see);
    }
}

/// What the trigger's condition demands of the event: at this path, one of these values.
fn key(trigger: &Trigger) -> Option<(&Path, Vec<IndexValue>)> {
    let (path, values) = trigger.condition.as_ref()?.key()?;
    let values: Option<Vec<_>> = values.iter().map(|value| IndexValue::of(Some(value))).collect();
    values.map(|values| (path, values))
}
