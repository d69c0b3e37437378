//! One tenant's triggers.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use super::bucket::{Bucket, Entry};
use super::place::{Place, TableKey, places};
use super::type_trie::TypeTrie;
use crate::definition::Trigger;
use crate::event::{Change, Event, Moment, Operation};
use crate::event_pattern::{ChangePattern, EventPattern, Part};

/// One tenant's triggers. Disabled ones are known by their tag and stand nowhere else.
#[derive(Clone, Default, Debug)]
pub struct Tenant {
    by_tag: RedBlackTreeMapSync<Arc<str>, Arc<Trigger>>,
    changes: HashTrieMapSync<Place, Bucket>,
    /// How many places each prefix of a table's name stands in.
    prefixes: RedBlackTreeMapSync<Arc<str>, usize>,
    types: TypeTrie,
}

impl Tenant {
    pub fn is_empty(&self) -> bool {
        self.by_tag.is_empty()
    }

    pub fn get(&self, tag: &str) -> Option<&Arc<Trigger>> {
        self.by_tag.get(tag)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Trigger>> {
        self.by_tag.values()
    }

    pub fn len(&self) -> usize {
        self.by_tag.size()
    }

    /// Adds `trigger`, in the place of the one with its tag where there is one.
    pub fn put(&mut self, trigger: Arc<Trigger>) {
        self.remove(&trigger.tag);
        if trigger.enabled {
            let entry = Entry::of(&trigger);
            for place in places(&trigger) {
                self.add_at(place, &entry);
            }
            for pattern in type_patterns(&trigger) {
                self.types.add(pattern, &entry);
            }
        }
        self.by_tag.insert_mut(Arc::clone(&trigger.tag), trigger);
    }

    pub fn remove(&mut self, tag: &str) {
        let Some(trigger) = self.by_tag.get(tag).cloned() else { return };
        self.by_tag.remove_mut(tag);
        if !trigger.enabled {
            return;
        }
        let entry = Entry::of(&trigger);
        for place in places(&trigger) {
            self.remove_at(&place, &entry);
        }
        for pattern in type_patterns(&trigger) {
            self.types.remove(pattern, &entry);
        }
    }

    fn add_at(&mut self, place: Place, entry: &Entry<'_>) {
        if let Some(bucket) = self.changes.get_mut(&place) {
            bucket.add(entry, 0);
            return;
        }
        self.count_prefix(&place, 1);
        let mut bucket = Bucket::default();
        bucket.add(entry, 0);
        self.changes.insert_mut(place, bucket);
    }

    fn remove_at(&mut self, place: &Place, entry: &Entry<'_>) {
        let Some(bucket) = self.changes.get_mut(place) else { return };
        bucket.remove(entry, 0);
        if bucket.is_empty() {
            self.changes.remove_mut(place);
            self.count_prefix(place, -1);
        }
    }

    fn count_prefix(&mut self, place: &Place, by: isize) {
        let TableKey::Prefix(prefix) = &place.table else { return };
        let count = self.prefixes.get(prefix).copied().unwrap_or(0).saturating_add_signed(by);
        if count == 0 {
            self.prefixes.remove_mut(prefix);
        } else {
            self.prefixes.insert_mut(Arc::clone(prefix), count);
        }
    }

    /// Shows `see` the triggers that may match; one may be shown several times.
    pub fn candidates(&self, event: &Event, see: &mut dyn FnMut(&Arc<Trigger>)) {
        self.buckets(event, &mut |bucket| bucket.candidates(event, see));
    }

    /// Shows `see` the triggers whose places fit, whatever their conditions demand.
    pub fn placed(&self, event: &Event, see: &mut dyn FnMut(&Arc<Trigger>)) {
        self.buckets(event, &mut |bucket| bucket.all(see));
    }

    fn buckets(&self, event: &Event, see: &mut dyn FnMut(&Bucket)) {
        if let Some(change) = &event.change {
            self.change_buckets(change, see);
            if change.moment == Moment::Before {
                return;
            }
        }
        self.types.fitting(&event.event_type, &mut |bucket| see(bucket));
    }

    fn change_buckets(&self, change: &Change, see: &mut dyn FnMut(&Bucket)) {
        if self.changes.is_empty() || change.operation == Operation::Truncate {
            return;
        }
        let tables = self.table_keys(&change.table);
        let databases = [None, change.database.as_deref().map(Arc::<str>::from)];
        let named = if databases[1].is_some() { 2 } else { 1 };
        for database in &databases[..named] {
            for table in &tables {
                for operation in [None, Some(change.operation)] {
                    let change = ChangePattern { moment: change.moment, operation };
                    let place = Place { database: database.clone(), table: table.clone(), change };
                    if let Some(bucket) = self.changes.get(&place) {
                        see(bucket);
                    }
                }
            }
        }
    }

    /// The keys under which triggers on `table` stand: its name, any, and its prefixes that are in use.
    fn table_keys(&self, table: &str) -> Vec<TableKey> {
        let mut keys = vec![TableKey::Any, TableKey::Exact(Arc::from(table))];
        if !self.prefixes.is_empty() {
            let ends = table.char_indices().map(|(at, _)| at).chain([table.len()]);
            let prefixes = ends.filter_map(|end| self.prefixes.get_key_value(&table[..end]));
            keys.extend(prefixes.map(|(prefix, _)| TableKey::Prefix(Arc::clone(prefix))));
        }
        keys
    }
}

/// The trigger's event types, each once.
fn type_patterns(trigger: &Trigger) -> impl Iterator<Item = &[Part]> {
    trigger.events.iter().enumerate().filter_map(|(at, pattern)| match pattern {
        EventPattern::Type(parts) if !trigger.events[..at].contains(pattern) => Some(parts.as_slice()),
        _ => None,
    })
}
