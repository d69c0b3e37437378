//! Which columns of a row a trigger looks at.

use std::collections::BTreeSet;

use crate::definition::{Action, Trigger};

/// A set of columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Columns {
    /// All that there are.
    All,
    /// Those.
    Named(BTreeSet<String>),
}

impl Default for Columns {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Columns {
    /// What the trigger's conditions, ordering key and actions look at.
    #[must_use]
    pub fn of(trigger: &Trigger) -> Self {
        let mut columns = Self::default();
        trigger.condition.iter().for_each(|condition| condition.columns(&mut columns));
        trigger.ordering_key.iter().for_each(|key| key.columns(&mut columns));
        trigger.actions.iter().for_each(|action| of_action(action, &mut columns));
        columns
    }

    /// Those of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Named(mut these), Self::Named(those)) => {
                these.extend(those);
                Self::Named(these)
            }
            _ => Self::All,
        }
    }

    /// Whether the column is one of them.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(column),
        }
    }

    /// One more; `None` is the whole row.
    pub(crate) fn add(&mut self, column: Option<&str>) {
        match (&mut *self, column) {
            (Self::Named(names), Some(column)) => {
                names.insert(column.to_owned());
            }
            (_, None) => *self = Self::All,
            (Self::All, Some(_)) => {}
        }
    }
}

fn of_action(action: &Action, columns: &mut Columns) {
    if action.reads_event {
        columns.add(None);
    }
    action.condition.iter().for_each(|condition| condition.columns(columns));
    action.quota.iter().for_each(|quota| quota.key.columns(columns));
    action.config.columns(columns);
    action.fallback.iter().for_each(|stand_in| of_action(stand_in, columns));
}
