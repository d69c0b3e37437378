//! Whether one trigger matches one event, asked of the trigger alone: what the index must agree with.

use std::sync::Arc;

use super::Match;
use crate::definition::Trigger;
use crate::event::Event;

impl Trigger {
    /// Whether it is enabled and its scope (environment, database, tables, events) fits, whatever its condition
    /// says. A trigger with a database or tables is about row changes only.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        self.enabled
            && self.env.as_deref().is_none_or(|env| env == event.env)
            && self.database.as_ref().is_none_or(|wanted| event.database().is_some_and(|name| wanted.matches(name)))
            && (self.database.is_none() || event.change.is_some())
            && (self.tables.is_empty()
                || event.table().is_some_and(|table| self.tables.iter().any(|wanted| wanted.matches(table))))
            && self.events.iter().any(|pattern| pattern.matches(event))
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
