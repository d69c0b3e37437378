//! Entries of an outbox, read as changes. An entry that makes no sense becomes an event that says so: it holds nobody up, and
//! nothing of it is lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::event::Operation;
use triggerd_core::event_pattern::check_type;
use triggerd_core::json;

use super::names::Names;
use crate::connections::sql::{Arg, Engine};
use crate::sources::unread::{self, Unread};
use crate::sources::{Captured, Change};

/// The type of the event that an entry without a meaning becomes.
const UNREADABLE: &str = "triggerd.outbox.unreadable";

/// An entry, with what names it in its outbox.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// What it says.
    pub captured: Captured,
}

/// The first `limit` entries, oldest first. The order is that of the table's numbers, not of the texts they are shown as.
#[must_use]
pub fn select(engine: Engine, names: &Names, limit: usize) -> String {
    format!("{} ORDER BY o.id LIMIT {limit}", columns(engine, names))
}

/// The entries with these numbers, oldest first.
#[must_use]
pub fn select_those(engine: Engine, names: &Names, ids: &[i64]) -> String {
    // Numbers alone: nothing that anybody wrote.
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    format!("{} WHERE o.id IN ({list}) ORDER BY o.id", columns(engine, names))
}

fn columns(engine: Engine, names: &Names) -> String {
    let outbox = names.outbox();
    match engine {
        Engine::Postgres => format!(
            "SELECT id::text, operation, schema_name, table_name, old_row::text, new_row::text, type, payload::text, user_info, \
             context, origin, session_user_name, transaction::text, \
             (floor(extract(epoch FROM created_at) * 1000000))::bigint::text FROM {outbox} AS o"
        ),
        Engine::Mysql => format!(
            "SELECT CAST(id AS CHAR), operation, schema_name, table_name, old_row, new_row, type, payload, user_info, context, \
             origin, session_user_name, transaction, \
             CAST(CAST(UNIX_TIMESTAMP(created_at) * 1000000 AS UNSIGNED) AS CHAR) FROM {outbox} AS o"
        ),
        Engine::Sqlite => format!(
            "SELECT CAST(id AS TEXT), operation, schema_name, table_name, old_row, new_row, type, payload, user_info, context, \
             origin, session_user_name, \"transaction\", CAST(created_at * 1000 AS TEXT) FROM {outbox} AS o"
        ),
    }
}

/// Removes entries by their numbers: how, and with which values.
#[must_use]
pub fn delete(engine: Engine, names: &Names, ids: &[i64]) -> (String, Vec<Arg>) {
    let outbox = names.outbox();
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    match engine {
        Engine::Postgres => {
            (format!("DELETE FROM {outbox} WHERE id = ANY ($1::bigint[])"), vec![Arg::Text(format!("{{{list}}}"))])
        }
        // Numbers alone: nothing that anybody wrote.
        Engine::Mysql | Engine::Sqlite => (format!("DELETE FROM {outbox} WHERE id IN ({list})"), Vec::new()),
    }
}

/// Reads a row of [`select`].
#[must_use]
pub fn read(row: &[Arg]) -> Option<Entry> {
    let cell = |i: usize| row.get(i).and_then(text);
    let id: i64 = cell(0)?.parse().ok()?;
    let micros: i64 = cell(13).and_then(|text| text.parse().ok()).unwrap_or(0);
    let at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    let transaction = cell(12);
    // A number may come again after a restore; a number of the same instant and transaction does not.
    let key = format!("outbox/{id}/{micros}/{}", transaction.as_deref().unwrap_or_default());
    let mut unread = Unread::default();
    let change = change(&cell, &mut unread).unwrap_or_else(|problem| Change::Event {
        event_type: UNREADABLE.to_owned(),
        payload: json!({
            "problem": problem, "id": id, "operation": cell(1), "table": cell(3), "old_row": cell(4), "new_row": cell(5),
            "type": cell(6), "payload": cell(7),
        }),
    });
    let user = match said(cell(8)) {
        Value::Null => cell(11).map_or(Value::Null, |role| json!({ "role": role })),
        user @ Value::Object(_) => user,
        other => json!({ "id": other }),
    };
    let mut context = match said(cell(9)) {
        Value::Null => Map::new(),
        Value::Object(members) => members,
        other => Map::from_iter([("context".to_owned(), other)]),
    };
    unread.note(&mut context);
    let origin = cell(10).filter(|origin| !origin.is_empty());
    Some(Entry { id, captured: Captured { key, change, at, transaction, user, context, origin } })
}

fn change(cell: &dyn Fn(usize) -> Option<String>, unread: &mut Unread) -> Result<Change, String> {
    let operation = match cell(1).as_deref() {
        None | Some("") => {
            let event_type = cell(6).filter(|name| !name.is_empty());
            let event_type = event_type.ok_or("an entry has an `operation` or a `type`")?;
            check_type(&event_type).map_err(|why| format!("type: {why}"))?;
            let payload = cell(7).map_or(Ok(Value::Null), |text| json::parse(text.as_bytes()));
            let payload =
                payload.map_err(|error| format!("payload: {error}; write it again, with JSON that can be read"))?;
            return Ok(Change::Event { event_type, payload });
        }
        Some("insert") => Operation::Insert,
        Some("update") => Operation::Update,
        Some("delete") => Operation::Delete,
        Some("truncate") => Operation::Truncate,
        Some(other) => return Err(format!("there is no operation `{other}`")),
    };
    let table = cell(3).filter(|name| !name.is_empty()).ok_or("a changed row has a `table_name`")?;
    let mut row = |i: usize, what: &str| match cell(i) {
        None => Ok(Value::Null),
        Some(text) => unread::read(&text, unread).map(with_bytes).map_err(|error| format!("{what}: {error}")),
    };
    let (previous, record) = (row(4, "old_row")?, row(5, "new_row")?);
    Ok(Change::Row { operation, schema: cell(2), table, record, previous })
}

/// SQLite's bytes as base64.
#[must_use]
pub fn with_bytes(row: Value) -> Value {
    let Value::Object(mut members) = row else { return row };
    for value in members.values_mut() {
        let hex = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("$hex"));
        if let Some(bytes) = hex.and_then(Value::as_str).and_then(|text| hex::decode(text).ok()) {
            *value = STANDARD.encode(bytes).into();
        }
    }
    Value::Object(members)
}

/// What the application said: JSON, or a text.
fn said(text: Option<String>) -> Value {
    match text {
        None => Value::Null,
        Some(text) if text.is_empty() => Value::Null,
        Some(text) => json::parse(text.as_bytes()).unwrap_or(Value::String(text)),
    }
}

fn text(arg: &Arg) -> Option<String> {
    match arg {
        Arg::Null => None,
        Arg::Text(text) => Some(text.clone()),
        Arg::Int(number) => Some(number.to_string()),
        Arg::Real(number) => Some(number.to_string()),
        Arg::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(cells: &[(usize, &str)]) -> Captured {
        let mut row = vec![Arg::Null; 14];
        row[0] = Arg::Text("7".into());
        row[13] = Arg::Text("1700000000000001".into());
        for (i, text) in cells {
            row[*i] = Arg::Text((*text).into());
        }
        read(&row).unwrap().captured
    }

    #[test]
    fn rows_and_events_are_read_with_what_was_said_of_them() {
        let row = entry(&[
            (1, "update"),
            (3, "orders"),
            (4, r#"{"a":1.10}"#),
            (5, r#"{"a":2,"b":{"$hex":"6869"}}"#),
            (8, "u-1"),
            (9, r#"{"request":"r"}"#),
        ]);
        let Change::Row { operation, table, record, previous, .. } = row.change else { panic!() };
        assert_eq!((operation, table.as_str()), (Operation::Update, "orders"));
        assert_eq!(
            (record.to_string(), previous.to_string()),
            (r#"{"a":2,"b":"aGk="}"#.into(), r#"{"a":1.10}"#.into())
        );
        assert_eq!((row.user, row.context["request"].clone()), (json!({"id": "u-1"}), json!("r")));
        let odd = entry(&[(1, "insert"), (3, "t"), (5, r#"{"id":1,"doc":{"a":1,"a":2}}"#)]);
        let Change::Row { record, .. } = odd.change else { panic!() };
        assert_eq!(record, json!({"id": 1, "doc": r#"{"a":1,"a":2}"#}));
        assert!(odd.context["unreadColumns"]["doc"].is_string());
        let event = entry(&[(6, "order.created"), (7, r#"{"id":5}"#), (11, "app")]);
        assert_eq!(event.change, Change::Event { event_type: "order.created".into(), payload: json!({"id": 5}) });
        assert_eq!(event.user, json!({"role": "app"}));
    }

    #[test]
    fn what_makes_no_sense_is_told_whole() {
        for bad in [
            vec![],
            vec![(1, "merge")],
            vec![(1, "insert")],
            vec![(6, "a b")],
            vec![(6, "a.b"), (7, "{")],
            vec![(1, "insert"), (3, "t"), (5, r#"{"a":1,"a":2}"#)],
        ] {
            let Change::Event { event_type, payload } = entry(&bad).change else { panic!("{bad:?}") };
            assert_eq!(event_type, UNREADABLE);
            assert!(payload["problem"].is_string() && payload["id"] == json!(7), "{payload}");
        }
    }
}
