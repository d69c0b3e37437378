//! Whether one trigger matches one event, asked of the trigger alone: what the index must agree with.

use std::sync::Arc;

use super::Match;
use crate::definition::{NamePattern, Trigger};
use crate::event::{Change, Event};

impl Trigger {
    /// Whether it is enabled and its scope (environment, database, tables, events) fits, whatever its condition
    /// says. A trigger with a database or tables is about row changes only.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        let change = event.change.as_ref();
        self.enabled
            && self.env.as_deref().is_none_or(|env| env == event.env)
            && self.covers_database(change)
            && self.covers_table(change)
            && self.events.iter().any(|pattern| pattern.matches(event))
    }

    /// Whether its database fits; `change` is what makes the event a row change. `*` takes changes of sources
    /// that do not name their database, too.
    #[must_use]
    pub fn covers_database(&self, change: Option<&Change>) -> bool {
        match (&self.database, change) {
            (None, _) | (Some(NamePattern::Any), Some(_)) => true,
            (Some(wanted), Some(change)) => change.database.as_deref().is_some_and(|name| wanted.matches(name)),
            (Some(_), None) => false,
        }
    }

    /// Whether one of its tables fits, or it names none.
    #[must_use]
    pub fn covers_table(&self, change: Option<&Change>) -> bool {
        let table = change.map(|change| change.table.as_str());
        self.tables.is_empty() || table.is_some_and(|table| self.tables.iter().any(|wanted| wanted.matches(table)))
    }

    /// The match, where there is one: its scope fits and its condition is true, or waits for a component.
    #[must_use]
    pub fn matched(self: &Arc<Self>, event: &Event) -> Option<Match> {
        if !self.covers(event) {
            return None;
        }
        let verdict = self.condition.as_ref().map_or(Some(true), |condition| condition.evaluate(event, &|_| None));
        match verdict {
            Some(false) => None,
            verdict => Some(Match { trigger: Arc::clone(self), gated: verdict.is_none() }),
        }
    }
}
