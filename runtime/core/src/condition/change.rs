//! `CHANGED`, `NOT_CHANGED`, `CHANGED_TO`, `CHANGED_FROM`: the record beside the previous one.
//!
//! - update: changed where the two values differ; missing equals `null`.
//! - insert: there is no old value; a field that is present, were it `null`, counts as changed.
//! - delete: there is no new value; a field present in the old row counts as changed. The old row is the
//!   previous record, or the record where the source sent only that.
//! - no row change: as an update where the event brings a previous record, else nothing has changed.

use serde_json::Value;

use super::equality::{equal, equals};
use crate::event::{Event, Operation};
use crate::path::{Path, walk};

/// A field before and after.
#[derive(Clone, Copy, Debug)]
pub struct Change<'e> {
    /// The value as it was.
    pub old: Option<&'e Value>,
    /// The value as it is.
    pub new: Option<&'e Value>,
    /// Whether that counts as changed.
    pub changed: bool,
}

impl<'e> Change<'e> {
    /// What happened to the field at `path`, whose root is the record.
    pub fn of(path: &Path, event: &'e Event) -> Self {
        let at = |row: &'e Value| walk(row, &path.steps);
        match event.change.as_ref().map(|change| change.operation) {
            Some(Operation::Insert) => {
                let new = present(&event.record).and_then(at);
                Self { old: None, new, changed: new.is_some() }
            }
            Some(Operation::Delete) => {
                let old = present(&event.previous_record).or_else(|| present(&event.record)).and_then(at);
                Self { old, new: None, changed: old.is_some() }
            }
            operation => {
                let (old, new) = (at(&event.previous_record), at(&event.record));
                let compared = operation.is_some() || present(&event.previous_record).is_some();
                Self { old, new, changed: compared && !equal(or_null(old), or_null(new)) }
            }
        }
    }

    /// `CHANGED_TO`: changed, and the new value equals `wanted`.
    pub fn is_to(&self, wanted: &Value) -> bool {
        self.changed && equals(self.new, wanted)
    }

    /// `CHANGED_FROM`: changed, and the old value equals `wanted`.
    pub fn is_from(&self, wanted: &Value) -> bool {
        self.changed && equals(self.old, wanted)
    }
}

fn or_null(value: Option<&Value>) -> &Value {
    value.unwrap_or(&Value::Null)
}

fn present(row: &Value) -> Option<&Value> {
    (!row.is_null()).then_some(row)
}
