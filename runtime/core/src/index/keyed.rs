//! Triggers by what one of their keys demands: a trie of the paths' steps, and at each path's end the values.
//!
//! An event's value is followed down the trie: what costs is how much of the event the paths touch, not how many paths there
//! are. Paths that have to lead nowhere, or to `null`, are the exception: each of them is looked up.

use std::sync::Arc;

use rpds::HashTrieMapSync;
use serde_json::{Map, Value};

use super::bucket::Entry;
use super::group::Group;
use crate::condition::{Alternative, IndexValue};
use crate::definition::Trigger;
use crate::event::Event;
use crate::path::{Path, Root, Step};

/// Where a trigger is shown.
pub type See<'s> = &'s mut dyn FnMut(&Arc<Trigger>);

/// Triggers by path and value.
#[derive(Clone, Default, Debug)]
pub struct Keyed {
    roots: HashTrieMapSync<Root, Node>,
    /// Those that demand `null`, which is also what is not there.
    absent: HashTrieMapSync<Path, Group>,
}

/// The paths that have the same steps so far.
#[derive(Clone, Default, Debug)]
struct Node {
    here: HashTrieMapSync<IndexValue, Group>,
    names: HashTrieMapSync<String, Arc<Node>>,
    positions: HashTrieMapSync<usize, Arc<Node>>,
}

impl Keyed {
    /// Adds a trigger under an alternative of its key before the one numbered `depth`.
    pub fn add(&mut self, (path, value): &Alternative, entry: &Entry<'_>, depth: usize) {
        if value.is_null() {
            add(&mut self.absent, path, entry, depth);
            return;
        }
        if !self.roots.contains_key(&path.root) {
            self.roots.insert_mut(path.root, Node::default());
        }
        if let Some(root) = self.roots.get_mut(&path.root) {
            root.change(&path.steps, &mut |values| add(values, value, entry, depth));
        }
    }

    /// Removes it as it was added.
    pub fn remove(&mut self, (path, value): &Alternative, entry: &Entry<'_>, depth: usize) {
        if value.is_null() {
            remove(&mut self.absent, path, entry, depth);
            return;
        }
        let Some(root) = self.roots.get_mut(&path.root) else { return };
        root.change(&path.steps, &mut |values| remove(values, value, entry, depth));
        if root.is_empty() {
            self.roots.remove_mut(&path.root);
        }
    }

    /// Shows `see` the triggers under what the event has. A value that has no canonical form (an array, an object) equals
    /// none that a key can ask for.
    pub fn candidates(&self, event: &Event, see: See<'_>) {
        for (root, node) in self.roots.iter() {
            let mut seek = Seek { event, see };
            match root {
                Root::Record => seek.value(node, &event.record),
                Root::PreviousRecord => seek.value(node, &event.previous_record),
                Root::User => seek.value(node, &event.user),
                Root::Metadata => seek.members(node, &event.metadata),
                Root::Payload => seek.payload(node),
                _ => {
                    let found = Path { root: *root, steps: Vec::new() }.find(event);
                    found.into_iter().for_each(|value| seek.value(node, &value));
                }
            }
        }
        for (path, group) in self.absent.iter() {
            if path.find(event).is_none_or(|found| found.is_null()) {
                group.candidates(event, see);
            }
        }
    }

    /// Shows `see` all of them; one perhaps several times.
    pub fn all(&self, see: See<'_>) {
        self.roots.values().for_each(|node| node.all(see));
        self.absent.values().for_each(|group| group.all(see));
    }
}

fn add<K>(groups: &mut HashTrieMapSync<K, Group>, key: &K, entry: &Entry<'_>, depth: usize)
where
    K: Clone + Eq + std::hash::Hash,
{
    // Parts that other snapshots hold are copied on the way, and nothing else.
    match groups.get_mut(key) {
        Some(group) => group.add(entry, depth),
        None => groups.insert_mut(key.clone(), Group::One(Arc::clone(entry.trigger))),
    }
}

fn remove<K>(groups: &mut HashTrieMapSync<K, Group>, key: &K, entry: &Entry<'_>, depth: usize)
where
    K: Clone + Eq + std::hash::Hash,
{
    if groups.get_mut(key).is_some_and(|group| group.remove(entry, depth)) {
        groups.remove_mut(key);
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.names.is_empty() && self.positions.is_empty()
    }

    /// Changes what is at the end of `steps`. What is empty afterwards is gone.
    fn change(&mut self, steps: &[Step], act: &mut dyn FnMut(&mut HashTrieMapSync<IndexValue, Group>)) {
        match steps.split_first() {
            None => act(&mut self.here),
            Some((Step::Key(name), rest)) => below(&mut self.names, name, rest, act),
            Some((Step::Index(position), rest)) => below(&mut self.positions, position, rest, act),
        }
    }

    fn all(&self, see: See<'_>) {
        self.here.values().for_each(|group| group.all(see));
        self.names.values().chain(self.positions.values()).for_each(|node| node.all(see));
    }
}

fn below<K>(
    children: &mut HashTrieMapSync<K, Arc<Node>>,
    key: &K,
    rest: &[Step],
    act: &mut dyn FnMut(&mut HashTrieMapSync<IndexValue, Group>),
) where
    K: Clone + Eq + std::hash::Hash,
{
    if !children.contains_key(key) {
        children.insert_mut(key.clone(), Arc::default());
    }
    let Some(child) = children.get_mut(key) else { return };
    let child = Arc::make_mut(child);
    child.change(rest, act);
    if child.is_empty() {
        children.remove_mut(key);
    }
}

/// Follows an event's values down the trie. Of a value's members and a node's children the fewer are gone through.
struct Seek<'s> {
    event: &'s Event,
    see: See<'s>,
}

impl Seek<'_> {
    fn value(&mut self, node: &Node, value: &Value) {
        match value {
            Value::Object(members) => self.members(node, members),
            Value::Array(items) => self.items(node, items),
            scalar if !node.here.is_empty() => {
                let group = IndexValue::of(Some(scalar)).and_then(|value| node.here.get(&value));
                group.into_iter().for_each(|group| group.candidates(self.event, self.see));
            }
            _ => {}
        }
    }

    fn members(&mut self, node: &Node, members: &Map<String, Value>) {
        if node.names.size() <= members.len() {
            for (name, child) in node.names.iter() {
                members.get(name).into_iter().for_each(|value| self.value(child, value));
            }
        } else {
            for (name, value) in members {
                node.names.get(name).into_iter().for_each(|child| self.value(child, value));
            }
        }
    }

    /// A name of digits is a position, too.
    fn items(&mut self, node: &Node, items: &[Value]) {
        if node.names.size() + node.positions.size() <= items.len() {
            for (name, child) in node.names.iter() {
                let item = crate::path::as_index(name).and_then(|at| items.get(at));
                item.into_iter().for_each(|value| self.value(child, value));
            }
            for (at, child) in node.positions.iter() {
                items.get(*at).into_iter().for_each(|value| self.value(child, value));
            }
        } else {
            for (at, value) in items.iter().enumerate() {
                let named = node.names.get(&at.to_string());
                for child in [named, node.positions.get(&at)].into_iter().flatten() {
                    self.value(child, value);
                }
            }
        }
    }

    /// The payload of a row change is made only where more of it is asked for than the two rows.
    fn payload(&mut self, node: &Node) {
        let event = self.event;
        if event.change.is_none() {
            self.value(node, &event.record);
            return;
        }
        let rows = [("record", &event.record), ("previousRecord", &event.previous_record)];
        let mut asked = 0;
        for (name, row) in rows {
            let Some(child) = node.names.get(name) else { continue };
            asked += 1;
            self.value(child, row);
        }
        if node.names.size() > asked {
            let Value::Object(members) = event.payload() else { return };
            for (name, value) in members.iter().filter(|(name, _)| rows.iter().all(|(row, _)| row != name)) {
                node.names.get(name).into_iter().for_each(|child| self.value(child, value));
            }
        }
    }
}
