//! One row's write, while before-triggers still may change or refuse it.

use serde_json::{Map, Value};
use triggerd_core::event::{Moment, Operation};
use triggerd_core::mistake::join;

use super::{Error, Write};
use crate::databases::{Assignment, Operator, Step};
use crate::execute;
use crate::execute::Rejection;

/// A row to be written.
pub(super) struct Candidate {
    operation: Operation,
    pointer: String,
    /// The row as it is to be; empty for a delete.
    record: Map<String, Value>,
    /// The row as it is; empty for an insert.
    previous: Map<String, Value>,
    /// The columns that are written also where they are what they were.
    given: Vec<String>,
}

impl Candidate {
    pub(super) fn insert(pointer: &str, record: Map<String, Value>) -> Self {
        let (pointer, previous) = (pointer.to_owned(), Map::new());
        Self { operation: Operation::Insert, pointer, record, previous, given: Vec::new() }
    }

    pub(super) fn update(pointer: &str, previous: Map<String, Value>, given: Map<String, Value>) -> Self {
        let names = given.keys().cloned().collect();
        let mut record = previous.clone();
        record.extend(given);
        Self { operation: Operation::Update, pointer: pointer.to_owned(), record, previous, given: names }
    }

    pub(super) fn delete(previous: Map<String, Value>) -> Self {
        let record = Map::new();
        Self { operation: Operation::Delete, pointer: String::new(), record, previous, given: Vec::new() }
    }

    /// Lets the before-triggers see it. They leave the record as it is to be written.
    pub(super) async fn ask(&mut self, write: &Write<'_>) -> Result<(), Error> {
        let row = |row: &Map<String, Value>, absent: bool| {
            if absent { Value::Null } else { Value::Object(row.clone()) }
        };
        let record = row(&self.record, self.operation == Operation::Delete);
        let previous = row(&self.previous, self.operation == Operation::Insert);
        let event = write.event(self.operation, Moment::Before, record, previous);
        let verdict = execute::before(write.app, event).await;
        if let Some(rejection) = verdict.rejection {
            return Err(Error::Rejected { rejection, pointer: self.pointer.clone() });
        }
        match verdict.record {
            _ if self.operation == Operation::Delete => {}
            Value::Object(record) => self.record = record,
            _ => {
                let trigger = verdict.runs.last().map(|run| run.trigger.clone()).unwrap_or_default();
                let message = "the trigger left a record that is no object of columns and values".to_owned();
                let rejection = Rejection { trigger, code: "RECORD_INVALID".to_owned(), message };
                return Err(Error::Rejected { rejection, pointer: self.pointer.clone() });
            }
        }
        Ok(())
    }

    /// The step that writes it: of a row that is there, what was given or has changed.
    pub(super) fn into_step(self) -> Step {
        let Self { operation, pointer, record, previous, given } = self;
        let set = |(column, value): (String, Value)| Assignment {
            pointer: join(&pointer, &column),
            column,
            operator: Operator::Set(value),
        };
        match operation {
            Operation::Insert => Step::Insert(record.into_iter().map(set).collect()),
            Operation::Delete | Operation::Truncate => Step::Delete(previous),
            Operation::Update => {
                let changed = record
                    .into_iter()
                    .filter(|(name, value)| given.contains(name) || previous.get(name) != Some(value));
                let values = changed.map(set).collect();
                Step::Update(previous, values)
            }
        }
    }
}
