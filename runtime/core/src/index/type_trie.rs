//! Event type patterns as a trie of their dotted parts.

use std::collections::HashSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::bucket::{Bucket, Entry};
use crate::event_pattern::Part;

/// A node: what is left to fit begins here.
#[derive(Clone, Default, Debug)]
pub struct TypeTrie {
    /// The triggers whose pattern ends here.
    here: Bucket,
    exact: RedBlackTreeMapSync<String, Arc<TypeTrie>>,
    one: Option<Arc<TypeTrie>>,
    /// Below `**`.
    many: Option<Arc<TypeTrie>>,
}

impl TypeTrie {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.exact.is_empty() && self.one.is_none() && self.many.is_none()
    }

    /// Adds a trigger where `pattern` leads to.
    pub fn add(&mut self, pattern: &[Part], entry: &Entry<'_>) {
        self.change(pattern, &mut |bucket| bucket.add(entry, 0));
    }

    /// Removes a trigger from where `pattern` leads to.
    pub fn remove(&mut self, pattern: &[Part], entry: &Entry<'_>) {
        self.change(pattern, &mut |bucket| bucket.remove(entry, 0));
    }

    fn change(&mut self, pattern: &[Part], act: &mut dyn FnMut(&mut Bucket)) {
        let Some((first, rest)) = pattern.split_first() else {
            act(&mut self.here);
            return;
        };
        let child = self.child(first);
        child.change(rest, act);
        if child.is_empty() {
            match first {
                Part::Exact(part) => drop(self.exact.remove_mut(part)),
                Part::One => self.one = None,
                Part::Many => self.many = None,
            }
        }
    }

    /// The node below, this snapshot's own: made where there is none, copied where another snapshot holds it.
    fn child(&mut self, part: &Part) -> &mut Self {
        let child = match part {
            Part::Exact(part) => {
                if !self.exact.contains_key(part) {
                    self.exact.insert_mut(part.clone(), Arc::default());
                }
                self.exact.get_mut(part).expect("it has just been put there where it was not")
            }
            Part::One => self.one.get_or_insert_default(),
            Part::Many => self.many.get_or_insert_default(),
        };
        Arc::make_mut(child)
    }

    /// Shows `see` the bucket of every pattern that fits `event_type`.
    ///
    /// All patterns are followed at once, part by part, and a node is held only once at each part: what `**`
    /// costs is bounded by the number of nodes times the number of parts.
    pub fn fitting<'t>(&'t self, event_type: &str, see: &mut dyn FnMut(&'t Bucket)) {
        if self.is_empty() {
            return;
        }
        let mut held = Held::default();
        held.reach(self, false);
        for part in event_type.split('.') {
            let mut next = Held::default();
            for (node, stays) in held.nodes {
                if stays {
                    next.reach(node, true);
                }
                for child in [node.exact.get(part), node.one.as_ref()].into_iter().flatten() {
                    next.reach(child, false);
                }
            }
            held = next;
        }
        for (node, _) in held.nodes {
            see(&node.here);
        }
    }
}

/// The nodes that the parts so far lead to, each with whether it stands below a `**` that may take more parts.
#[derive(Default)]
struct Held<'t> {
    nodes: Vec<(&'t TypeTrie, bool)>,
    /// Those that stay: only they can be reached twice, by staying and anew.
    staying: HashSet<*const TypeTrie>,
}

impl<'t> Held<'t> {
    fn reach(&mut self, node: &'t TypeTrie, stays: bool) {
        if stays && !self.staying.insert(std::ptr::from_ref(node)) {
            return;
        }
        self.nodes.push((node, stays));
        if let Some(below) = &node.many {
            self.reach(below, true);
        }
    }
}
