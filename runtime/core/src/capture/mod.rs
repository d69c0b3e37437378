//! What a database has to tell of its changes, derived from the triggers that react to them: which operations of a
//! table, which columns, which rows. What no trigger can want need not be written down where the change is made.
//!
//! Everything here errs on the side of telling too much: a change that is told is still matched as any other.

mod clause;
mod columns;
#[cfg(test)]
mod tests;

pub use clause::{Clause, Row, Test, TestKind};
pub use columns::Columns;

use crate::definition::{NamePattern, Trigger};
use crate::event::{Change, Moment, Operation};

/// What is wanted of one table.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Wanted {
    /// Of rows that are added.
    pub insert: Option<Want>,
    /// Of rows that are changed.
    pub update: Option<Want>,
    /// Of rows that are removed.
    pub delete: Option<Want>,
    /// That all rows were removed at once.
    pub truncate: bool,
}

/// What is wanted of one operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Want {
    /// The columns that are looked at.
    pub columns: Columns,
    /// The rows: those for which this is true, or may be.
    pub rows: Clause,
}

impl Wanted {
    /// Whether nothing is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is wanted of one operation other than TRUNCATE.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Option<&Want> {
        match operation {
            Operation::Insert => self.insert.as_ref(),
            Operation::Update => self.update.as_ref(),
            Operation::Delete => self.delete.as_ref(),
            Operation::Truncate => None,
        }
    }

    /// Wants more: every row and column of the operations.
    pub fn want_all(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.add(*operation, Want { columns: Columns::All, rows: Clause::Unknown });
        }
    }

    fn add(&mut self, operation: Operation, want: Want) {
        let place = match operation {
            Operation::Insert => &mut self.insert,
            Operation::Update => &mut self.update,
            Operation::Delete => &mut self.delete,
            Operation::Truncate => {
                self.truncate = true;
                return;
            }
        };
        *place = Some(match place.take() {
            None => want,
            Some(known) => {
                Want { columns: known.columns.union(want.columns), rows: Clause::any(vec![known.rows, want.rows]) }
            }
        });
    }
}

/// What `triggers` want of a table, of a database in an environment. Only triggers that name their database are asked:
/// the others react to what is told for these, but do not make any database tell.
pub fn wanted<'t>(
    triggers: impl IntoIterator<Item = &'t Trigger>,
    database: &str,
    env: &str,
    schema: Option<&str>,
    table: &str,
) -> Wanted {
    let mut wanted = Wanted::default();
    for trigger in triggers {
        if !captures(trigger, database, env) {
            continue;
        }
        for operation in [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate] {
            let change = Change {
                operation,
                moment: Moment::After,
                database: Some(database.to_owned()),
                schema: schema.map(str::to_owned),
                table: table.to_owned(),
            };
            let event_type = change.event_type();
            let reacts = trigger.covers_table(Some(&change))
                && trigger.events.iter().any(|pattern| pattern.reacts_to(Some(&change), &event_type));
            if reacts {
                let rows = trigger.condition.as_ref().map_or(Clause::Unknown, |c| c.clause(operation));
                wanted.add(operation, Want { columns: Columns::of(trigger), rows });
            }
        }
    }
    wanted
}

/// Whether the trigger makes that database tell of changes: it is enabled, names the database, and is of that
/// environment or of any.
#[must_use]
pub fn captures(trigger: &Trigger, database: &str, env: &str) -> bool {
    trigger.enabled
        && trigger.env.as_deref().is_none_or(|wanted| wanted == env)
        && trigger.database.as_ref().is_some_and(|wanted| wanted.matches(database))
        && trigger.events.iter().any(|pattern| !pattern.is_before())
}

/// The names of tables that a trigger is about, as it writes them; `Any` where it names none.
#[must_use]
pub fn tables(trigger: &Trigger) -> Vec<NamePattern> {
    if trigger.tables.is_empty() { vec![NamePattern::Any] } else { trigger.tables.clone() }
}
