//! The triggers under one alternative: as they are while they are few, told apart further once they are many.

use std::sync::Arc;

use super::bucket::{Bucket, Entry};
use super::keyed::See;
use crate::definition::Trigger;
use crate::event::Event;

/// So many are evaluated one by one: about what a further look-up costs.
const FEW: usize = 8;

/// At least one trigger.
#[derive(Clone, Debug)]
pub enum Group {
    /// The usual case, without an allocation of its own.
    One(Arc<Trigger>),
    /// Two to [`FEW`], by tag.
    Few(Arc<[Arc<Trigger>]>),
    /// More.
    Many(Arc<Bucket>),
}

impl Group {
    /// Those of a list by tag; `None` of an empty one. `depth` counts the keys that they have in common.
    fn of(triggers: Vec<Arc<Trigger>>, depth: usize) -> Option<Self> {
        Some(match triggers.len() {
            0 => return None,
            1 => Self::One(triggers.into_iter().next()?),
            2..=FEW => Self::Few(triggers.into()),
            _ => {
                let mut bucket = Bucket::default();
                triggers.iter().for_each(|trigger| bucket.add(&Entry::of(trigger), depth));
                Self::Many(Arc::new(bucket))
            }
        })
    }

    /// Adds a trigger that is not in it.
    pub fn add(&mut self, entry: &Entry<'_>, depth: usize) {
        if let Self::Many(bucket) = self {
            Arc::make_mut(bucket).add(entry, depth);
            return;
        }
        let mut triggers = self.listed().to_vec();
        let at = triggers.partition_point(|known| known.tag < entry.trigger.tag);
        triggers.insert(at, Arc::clone(entry.trigger));
        self.become_those(triggers, depth);
    }

    /// Removes a trigger; answers whether none is left.
    pub fn remove(&mut self, entry: &Entry<'_>, depth: usize) -> bool {
        let triggers = if let Self::Many(bucket) = self {
            let bucket = Arc::make_mut(bucket);
            bucket.remove(entry, depth);
            if bucket.len() > FEW {
                return false;
            }
            bucket.each()
        } else {
            self.listed().iter().filter(|known| known.tag != entry.trigger.tag).cloned().collect()
        };
        !self.become_those(triggers, depth)
    }

    /// Answers whether there are any.
    fn become_those(&mut self, triggers: Vec<Arc<Trigger>>, depth: usize) -> bool {
        Self::of(triggers, depth).map(|group| *self = group).is_some()
    }

    /// One or a few; none where they are many.
    fn listed(&self) -> &[Arc<Trigger>] {
        match self {
            Self::One(trigger) => std::slice::from_ref(trigger),
            Self::Few(triggers) => triggers,
            Self::Many(_) => &[],
        }
    }

    /// Shows `see` those that may match.
    pub fn candidates(&self, event: &Event, see: See<'_>) {
        match self {
            Self::Many(bucket) => bucket.candidates(event, see),
            listed => listed.listed().iter().for_each(see),
        }
    }

    /// Shows `see` all of them.
    pub fn all(&self, see: See<'_>) {
        match self {
            Self::Many(bucket) => bucket.all(see),
            listed => listed.listed().iter().for_each(see),
        }
    }
}
