//! Dotted paths into an event (`record.items[0].sku`, `record["odd.key"]`), parsed once.
//!
//! ```text
//! path = root *step
//! step = "." name / "[" digits "]" / "[" quoted "]"
//! ```
//!
//! A name is any text without white space, quotes, dots and brackets; other keys are quoted, in double quotes
//! as JSON strings are, or in single quotes. On an array a name of digits counts as an index (`items.0`).

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::event::Event;
use crate::mistake::nearest;

mod parser;

/// A parsed path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// The first name.
    pub root: Root,
    /// The steps below it.
    pub steps: Vec<Step>,
}

/// What a path may begin with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Root {
    Record,
    PreviousRecord,
    Event,
    Table,
    Database,
    Env,
    Operation,
    Timestamp,
    User,
    Source,
    Type,
    Metadata,
    Payload,
}

impl Root {
    /// Every root.
    pub const ALL: [Self; 13] = [
        Self::Record,
        Self::PreviousRecord,
        Self::Event,
        Self::Table,
        Self::Database,
        Self::Env,
        Self::Operation,
        Self::Timestamp,
        Self::User,
        Self::Source,
        Self::Type,
        Self::Metadata,
        Self::Payload,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::PreviousRecord => "previousRecord",
            Self::Event => "event",
            Self::Table => "table",
            Self::Database => "database",
            Self::Env => "env",
            Self::Operation => "operation",
            Self::Timestamp => "timestamp",
            Self::User => "user",
            Self::Source => "source",
            Self::Type => "type",
            Self::Metadata => "metadata",
            Self::Payload => "payload",
        }
    }

    /// Whether there can be anything below it.
    fn has_steps(self) -> bool {
        matches!(self, Self::Record | Self::PreviousRecord | Self::User | Self::Metadata | Self::Payload)
    }
}

/// One step of a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// `.name` or `["name"]`
    Key(String),
    /// `[0]`
    Index(usize),
}

impl Path {
    /// Parses a path; the error says what is wrong at which column, with the nearest root for unknown ones.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, steps) = parser::parse(text)?;
        let Some(root) = Root::ALL.into_iter().find(|root| root.as_str() == name) else {
            return Err(unknown_root(text, &name));
        };
        if !steps.is_empty() && !root.has_steps() {
            return Err(format!("`{name}` is a text: there is nothing below it"));
        }
        Ok(Self { root, steps })
    }

    /// Parses a path below the record, whose leading `record.` may be left out.
    pub fn parse_in_record(text: &str) -> Result<Self, String> {
        let (name, mut steps) = parser::parse(text)?;
        match name.as_str() {
            "record" | "" => {}
            "previousRecord" => {
                return Err("`record` is compared with `previousRecord` here: name the field alone".to_owned());
            }
            _ => steps.insert(0, Step::Key(name)),
        }
        Ok(Self { root: Root::Record, steps })
    }

    /// The value found in `event`; `None` where there is none. Borrowed wherever the event holds it as JSON:
    /// always below `record`, `previousRecord`, `user` and `metadata`.
    #[must_use]
    pub fn find<'e>(&self, event: &'e Event) -> Option<Cow<'e, Value>> {
        let below = |value: &'e Value| walk(value, &self.steps).map(Cow::Borrowed);
        match self.root {
            Root::Record => present(&event.record).and_then(below),
            Root::PreviousRecord => present(&event.previous_record).and_then(below),
            Root::User => present(&event.user).and_then(below),
            Root::Metadata => find_in_metadata(&event.metadata, &self.steps),
            Root::Payload => find_in_payload(event, &self.steps),
            Root::Event => text(event.event_name()),
            Root::Type => text(&event.event_type),
            Root::Env => text(&event.env),
            Root::Table => event.table().and_then(text),
            Root::Database => event.database().and_then(text),
            Root::Source => event.source.as_deref().and_then(text),
            Root::Operation => event.change.as_ref().and_then(|change| text(change.operation.as_str())),
            Root::Timestamp => text(&format!("{:.3}", event.timestamp)),
        }
    }
}

/// The value below `value` at `steps`.
#[must_use]
pub fn walk<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match (value, step) {
        (Value::Object(members), Step::Key(key)) => members.get(key),
        (Value::Array(items), Step::Index(index)) => items.get(*index),
        (Value::Array(items), Step::Key(key)) => items.get(as_index(key)?),
        _ => None,
    })
}

/// A name of digits without leading zeros, as an array's index.
pub(crate) fn as_index(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    plain.then(|| name.parse().ok()).flatten()
}

/// The parts of an event that it may lack are `Null` where they are missing.
fn present(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

// The Option fits the arms above.
#[allow(clippy::unnecessary_wraps)]
fn text<'e>(text: &str) -> Option<Cow<'e, Value>> {
    Some(Cow::Owned(Value::String(text.to_owned())))
}

fn find_in_metadata<'e>(metadata: &'e Map<String, Value>, steps: &[Step]) -> Option<Cow<'e, Value>> {
    match steps.split_first() {
        None => Some(Cow::Owned(Value::Object(metadata.clone()))),
        Some((Step::Key(key), rest)) => walk(metadata.get(key)?, rest).map(Cow::Borrowed),
        Some((Step::Index(_), _)) => None,
    }
}

/// Below the payload of a row change the two records are borrowed: the object that `Event::payload` makes would
/// hold a copy of both.
fn find_in_payload<'e>(event: &'e Event, steps: &[Step]) -> Option<Cow<'e, Value>> {
    if event.change.is_none() {
        return walk(present(&event.record)?, steps).map(Cow::Borrowed);
    }
    match steps.split_first() {
        None => Some(Cow::Owned(event.payload())),
        Some((Step::Key(key), rest)) if key == "record" => walk(&event.record, rest).map(Cow::Borrowed),
        Some((Step::Key(key), rest)) if key == "previousRecord" => {
            walk(&event.previous_record, rest).map(Cow::Borrowed)
        }
        Some(_) => walk(&event.payload(), steps).cloned().map(Cow::Owned),
    }
}

fn unknown_root(text: &str, name: &str) -> String {
    let roots = Root::ALL.map(Root::as_str);
    match nearest(name, roots) {
        Some(near) => format!("a path cannot begin with `{name}`, did you mean `{near}`?"),
        None => format!(
            "a path cannot begin with `{name}`; write `record.{text}` for a field, or begin with one of {}",
            roots.join(", ")
        ),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())?;
        for step in &self.steps {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if parser::is_name(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{}]", Value::from(key.as_str()))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
