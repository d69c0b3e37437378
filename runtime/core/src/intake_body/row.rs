//! Row changes.

use serde_json::Value;

use super::draft::{Acceptance, Draft};
use crate::event::{Change, Event, Moment, Operation};
use crate::mistake::Mistake;

/// Leaves room for `.created` in an event type.
const MAX_TABLE_BYTES: usize = 248;

/// The fields that a row change has besides the common ones.
pub const FIELDS: [&str; 7] = ["operation", "database", "schema", "table", "record", "previousRecord", "old_record"];

/// `{"operation", "database", "table", "record", "previousRecord", ...}`
pub fn operation(mut draft: Draft, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let given = draft.take("operation");
    let operation = operation_in("operation", given, &mut draft);
    let given_type = draft.text("type");
    let event = change(operation, Moment::After, &mut draft, acceptance);
    if let (Some(given), Some(event)) = (given_type, &event) {
        check_given_type(&given, event, &mut draft);
    }
    end(draft, event)
}

/// Supabase's `{"type": "INSERT", "table", "schema", "record", "old_record"}`
pub fn supabase(mut draft: Draft, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let given = draft.take("type");
    let operation = operation_in("type", given, &mut draft);
    let event = change(operation, Moment::After, &mut draft, acceptance);
    end(draft, event)
}

/// The event of a change whose common fields and records are still in the draft. `None` only where there is a
/// mistake.
pub fn change(
    operation: Option<Operation>,
    moment: Moment,
    draft: &mut Draft,
    acceptance: Acceptance,
) -> Option<Event> {
    let table = table(draft);
    let (database, schema) = (draft.name("database"), draft.name("schema"));
    let record = row("record", draft);
    let previous = if draft.has("previousRecord") && draft.has("old_record") {
        draft.mistake("old_record", "`old_record` and `previousRecord` are the same: give one of them");
        draft.take("old_record");
        row("previousRecord", draft)
    } else if draft.has("old_record") {
        row("old_record", draft)
    } else {
        row("previousRecord", draft)
    };
    if let Some(operation) = operation {
        check_rows(operation, &record, &previous, draft);
    }
    let mut event = draft.event(String::new(), acceptance);
    let (operation, table) = (operation?, table?);
    let change = Change { operation, moment, database, schema, table };
    event.event_type = change.event_type();
    event.change = Some(change);
    event.record = record;
    event.previous_record = previous;
    Some(event)
}

/// Ends reading a row change.
pub fn end(draft: Draft, event: Option<Event>) -> Result<Event, Vec<Mistake>> {
    match event {
        Some(event) => draft.finish(event, &FIELDS),
        None => Err(draft.mistakes(&FIELDS)),
    }
}

/// `insert`, `update` or `delete`, in any case.
pub fn read_operation(text: &str) -> Option<Operation> {
    [Operation::Insert, Operation::Update, Operation::Delete]
        .into_iter()
        .find(|operation| operation.as_str().eq_ignore_ascii_case(text))
}

/// The operation that the field `name` holds.
pub fn operation_in(name: &str, value: Option<Value>, draft: &mut Draft) -> Option<Operation> {
    match value {
        Some(Value::String(text)) => {
            let operation = read_operation(&text);
            if operation.is_none() {
                let known = ["insert", "update", "delete"];
                let mistake = Mistake::unknown(draft.at(name), "operation", &text, known);
                draft.mistakes.push(mistake);
            }
            operation
        }
        None | Some(Value::Null) => {
            draft.mistake(name, format!("`{name}` is required: insert, update or delete"));
            None
        }
        Some(other) => {
            let mistake = Mistake::kind(draft.at(name), "a string", &other);
            draft.mistakes.push(mistake);
            None
        }
    }
}

fn table(draft: &mut Draft) -> Option<String> {
    let before = draft.mistakes.len();
    let table = draft.name("table");
    match &table {
        None if draft.mistakes.len() == before => draft.mistake("table", "`table` is required for a row change"),
        Some(table) if table.len() > MAX_TABLE_BYTES => {
            draft.mistake("table", format!("a table's name has at most {MAX_TABLE_BYTES} bytes"));
        }
        _ => {}
    }
    table
}

fn row(name: &str, draft: &mut Draft) -> Value {
    let row = draft.take(name).unwrap_or_default();
    if !matches!(row, Value::Null | Value::Object(_)) {
        let mistake = Mistake::kind(draft.at(name), "an object or null", &row);
        draft.mistakes.push(mistake);
    }
    row
}

fn check_rows(operation: Operation, record: &Value, previous: &Value, draft: &mut Draft) {
    let name = operation.as_str();
    match operation {
        Operation::Insert | Operation::Update if record.is_null() => {
            draft.mistake("record", format!("`record` is required: the row as the {name} leaves it"));
        }
        Operation::Delete if record.is_null() && previous.is_null() => {
            draft.mistake("record", "`record` or `previousRecord` is required: the row that the delete removes");
        }
        _ => {}
    }
}

/// A row change's type follows from it; a sender that gives one too has to mean the same.
fn check_given_type(given: &str, event: &Event, draft: &mut Draft) {
    let Some(change) = &event.change else { return };
    let same = given == event.event_type || read_operation(given) == Some(change.operation);
    if !same {
        let detail = format!(
            "`{given}` does not go with `operation`: this change's type is `{}`; leave `type` out, or send `type` and `payload` alone",
            event.event_type
        );
        draft.mistake("type", detail);
    }
}
