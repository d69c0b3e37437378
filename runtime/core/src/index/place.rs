//! The places where a trigger stands in its tenant's index.

use std::sync::Arc;

use crate::definition::{NamePattern, Trigger};
use crate::event_pattern::{ChangePattern, EventPattern};

/// What a trigger on row changes is looked up by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// `None` where the trigger takes any database, or those with a prefix.
    pub database: Option<Arc<str>>,
    pub table: TableKey,
    pub change: ChangePattern,
}

/// Which tables.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TableKey {
    Any,
    Prefix(Arc<str>),
    Exact(Arc<str>),
}

impl TableKey {
    fn of(pattern: &NamePattern) -> Self {
        match pattern {
            NamePattern::Any => Self::Any,
            NamePattern::Prefix(prefix) => Self::Prefix(Arc::from(prefix.as_str())),
            NamePattern::Exact(name) => Self::Exact(Arc::from(name.as_str())),
        }
    }
}

/// Every place of `trigger`: one for each of its tables and change events.
pub fn places(trigger: &Trigger) -> Vec<Place> {
    let database = match &trigger.database {
        Some(NamePattern::Exact(name)) => Some(Arc::from(name.as_str())),
        _ => None,
    };
    let tables = match trigger.tables.as_slice() {
        [] => vec![TableKey::Any],
        tables => tables.iter().map(TableKey::of).collect(),
    };
    let changes = trigger.events.iter().filter_map(|pattern| match pattern {
        EventPattern::Change(change) => Some(*change),
        EventPattern::Type(_) => None,
    });
    let mut out = Vec::new();
    for change in changes {
        for table in &tables {
            let place = Place { database: database.clone(), table: table.clone(), change };
            // A definition may name a table or an event twice.
            if !out.contains(&place) {
                out.push(place);
            }
        }
    }
    out
}
