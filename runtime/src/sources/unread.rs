//! Rows as databases write them in JSON, where a column may hold JSON that events cannot: equal keys, of which every reader
//! takes another one, or too many levels.
//!
//! Such a value is told as the text that it is, whichever way the row is read: nothing of it is lost or chosen silently, and
//! the rest of the row is what it always is. The event's metadata says which columns and why.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use triggerd_core::json::{self, Error};

/// Where in an event's metadata the columns are named.
const NAMED: &str = "unreadColumns";

/// Columns that are told as texts, each with why.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Unread(Map<String, Value>);

impl Unread {
    /// A column whose JSON was refused.
    pub(super) fn add(&mut self, column: &str, why: &Error) {
        let told = format!(
            "told as a text, since its JSON cannot be read: {why}; write each key once and at most {} levels (in PostgreSQL \
             a column of type `jsonb` sees to the keys)",
            json::MAX_DEPTH
        );
        self.0.insert(column.to_owned(), told.into());
    }

    /// Says so in what is known of the change.
    pub(super) fn note(self, context: &mut Map<String, Value>) {
        if !self.0.is_empty() {
            context.insert(NAMED.to_owned(), Value::Object(self.0));
        }
    }
}

/// Reads a row. Fails only where it is no JSON at all.
pub(super) fn read(text: &str, unread: &mut Unread) -> Result<Value, Error> {
    let error = match json::parse(text.as_bytes()) {
        Ok(row) => return Ok(row),
        Err(error) => error,
    };
    let Ok(Members(members)) = serde_json::from_str(text) else { return Err(error) };
    let mut row = Map::with_capacity(members.len());
    for (name, raw) in members {
        let value = json::parse(raw.get().as_bytes()).unwrap_or_else(|why| {
            unread.add(&name, &why);
            raw.get().into()
        });
        if row.insert(name, value).is_some() {
            // No row has two columns of a name.
            return Err(error);
        }
    }
    Ok(Value::Object(row))
}

/// An object's members, with their values not looked at.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> serde::Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        struct Reads;

        impl<'t> Visitor<'t> for Reads {
            type Value = Members<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Members<'t>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Reads)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_whose_json_cannot_be_read_is_its_text_and_the_others_are_as_ever() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let text = format!(
            r#"{{"id": 1.50, "doc": {{"a": 1, "b": [{{"x": 1, "x":2}}]}}, "deep": {deep}, "odd": "\ud800", "s": "x"}}"#
        );
        let mut unread = Unread::default();
        let row = read(&text, &mut unread).unwrap();
        assert_eq!(row["id"].to_string(), "1.50");
        assert_eq!(row["doc"], json!(r#"{"a": 1, "b": [{"x": 1, "x":2}]}"#));
        assert_eq!((&row["deep"], &row["odd"], &row["s"]), (&json!(deep), &json!(r#""\ud800""#), &json!("x")));
        let mut context = Map::new();
        unread.note(&mut context);
        let named: Vec<&String> = context[NAMED].as_object().unwrap().keys().collect();
        assert_eq!(named, ["doc", "deep", "odd"]);
        let why = context[NAMED]["doc"].as_str().unwrap();
        assert!(why.contains("`x` stands here twice") && why.contains("jsonb"), "{why}");
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for text in ["", "{", r#"{"a":1,"a":2}"#, r#"{"a":1} x"#] {
            assert!(read(text, &mut Unread::default()).is_err(), "{text}");
        }
    }
}
