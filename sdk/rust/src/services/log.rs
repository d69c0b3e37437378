//! The attempt's log.

use std::fmt::Display;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::host::{Host, Imports};

/// Writes lines with fields: `cx.log().field("lead", id).info("Scored")`.
///
/// Bounded in count and bytes by the host; what is over is counted and dropped.
#[must_use = "a line is written by `info` and its like"]
pub struct Log<'a> {
    host: &'a Host,
    fields: Map<String, Value>,
}

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// What happened.
    Info,
    /// Something looks wrong.
    Warn,
    /// Something is wrong.
    Error,
}

impl<'a> Log<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host, fields: Map::new() }
    }

    /// One more field. A value that cannot be JSON is left out, and its place says so.
    pub fn field(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_else(|error| Value::String(format!("<{error}>")));
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// Writes a line.
    pub fn write(self, level: Level, message: impl Display) {
        let fields = (!self.fields.is_empty()).then(|| Value::Object(self.fields).to_string());
        self.host.log(level, &message.to_string(), fields.as_deref());
    }

    /// Writes a line of every step.
    pub fn trace(self, message: impl Display) {
        self.write(Level::Trace, message);
    }

    /// Writes a line for whoever looks for a mistake.
    pub fn debug(self, message: impl Display) {
        self.write(Level::Debug, message);
    }

    /// Writes a line of what happened.
    pub fn info(self, message: impl Display) {
        self.write(Level::Info, message);
    }

    /// Writes a line of what looks wrong.
    pub fn warn(self, message: impl Display) {
        self.write(Level::Warn, message);
    }

    /// Writes a line of what is wrong.
    pub fn error(self, message: impl Display) {
        self.write(Level::Error, message);
    }
}
