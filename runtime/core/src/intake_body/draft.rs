//! A body that is being read: fields are taken out of it, and what is left at the end nobody knows.
//!
//! A field that is `null` counts as absent, except where `null` is a value of its own (records, payloads).

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::event::{DEFAULT_ENV, Event};
use crate::event_pattern::check_type;
use crate::id::{EventId, TenantId};
use crate::mistake::{Mistake, join};
use crate::trace::TraceContext;

/// The fields that every body may have.
pub const COMMON: [&str; 5] = ["source", "env", "user", "metadata", "timestamp"];

/// The longest name of an environment, a source, a database or a schema in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// What acceptance adds to a body.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The id given to the event.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When.
    pub now: Timestamp,
    /// What of the request's trace context is valid.
    pub trace: TraceContext,
}

/// The rest of a body, and the mistakes found in it so far.
pub struct Draft {
    members: Map<String, Value>,
    pointer: &'static str,
    pub mistakes: Vec<Mistake>,
}

impl Draft {
    /// Begins to read `body`, which stands at `pointer` of what the sender sent.
    pub fn of(body: Value, pointer: &'static str) -> Result<Self, Vec<Mistake>> {
        match body {
            Value::Object(members) => Ok(Self { members, pointer, mistakes: Vec::new() }),
            other => Err(vec![Mistake::kind(pointer, "an object", &other)]),
        }
    }

    /// One with nothing in it.
    pub fn empty(pointer: &'static str) -> Self {
        Self { members: Map::new(), pointer, mistakes: Vec::new() }
    }

    /// The pointer of the field `name`.
    pub fn at(&self, name: &str) -> String {
        join(self.pointer, name)
    }

    /// Notes a mistake in the field `name`.
    pub fn mistake(&mut self, name: &str, detail: impl Into<String>) {
        let mistake = Mistake::new(self.at(name), detail);
        self.mistakes.push(mistake);
    }

    /// Whether the field is there, were it `null`.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The field's value, left where it is.
    pub fn peek(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// Takes a field out, whatever it is.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name)
    }

    /// Takes all that is left.
    pub fn take_rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// Takes a text out.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                let mistake = Mistake::kind(self.at(name), "a string", &other);
                self.mistakes.push(mistake);
                None
            }
        }
    }

    /// Takes a name out: a text that is not empty and holds no control characters.
    pub fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.mistake(name, "cannot be empty; leave it out instead");
        } else if text.len() > MAX_NAME_BYTES {
            self.mistake(name, format!("has at most {MAX_NAME_BYTES} bytes, not {}", text.len()));
        } else if text.contains(char::is_control) {
            self.mistake(name, "cannot hold control characters");
        }
        Some(text)
    }

    /// Takes an instant out.
    pub fn timestamp(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let instant = is_rfc3339(&text).then(|| text.parse().ok()).flatten();
        if instant.is_none() {
            self.mistake(name, format!("`{text}` is no RFC 3339 timestamp such as `2026-01-31T09:30:00Z`"));
        }
        instant
    }

    /// Checks an event type that was found in the field `name`.
    pub fn check_type(&mut self, name: &str, event_type: &str) {
        if let Err(detail) = check_type(event_type) {
            self.mistake(name, detail);
        }
    }

    /// Takes the fields that every body may have, and makes an event with them that has no record yet.
    pub fn event(&mut self, event_type: String, acceptance: Acceptance) -> Event {
        let source = self.name("source");
        let env = self.name("env").unwrap_or_else(|| DEFAULT_ENV.to_owned());
        let user = self.take("user").unwrap_or_default();
        let metadata = self.metadata();
        let timestamp = self.timestamp("timestamp").unwrap_or(acceptance.now);
        Event {
            id: acceptance.id,
            tenant: acceptance.tenant,
            event_type,
            source,
            change: None,
            record: Value::Null,
            previous_record: Value::Null,
            env,
            user,
            metadata,
            attributes: Map::new(),
            timestamp,
            accepted_at: acceptance.now,
            traceparent: acceptance.trace.traceparent,
            tracestate: acceptance.trace.tracestate,
            causation: Vec::new(),
            erased_at: None,
        }
    }

    fn metadata(&mut self) -> Map<String, Value> {
        match self.take("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata,
            Some(other) => {
                let mistake = Mistake::kind(self.at("metadata"), "an object", &other);
                self.mistakes.push(mistake);
                Map::new()
            }
        }
    }

    /// Ends reading: what is left is unknown; `known` are the fields there could have been besides [`COMMON`].
    pub fn finish(self, event: Event, known: &[&str]) -> Result<Event, Vec<Mistake>> {
        let mistakes = self.mistakes(known);
        if mistakes.is_empty() { Ok(event) } else { Err(mistakes) }
    }

    /// As [`Draft::finish`], where mistakes left no event.
    pub fn mistakes(mut self, known: &[&str]) -> Vec<Mistake> {
        for name in self.members.keys() {
            let names = known.iter().chain(&COMMON).copied();
            self.mistakes.push(Mistake::unknown(join(self.pointer, name), "field", name, names));
        }
        self.mistakes
    }
}

/// Whether `text` has the shape that RFC 3339 gives: the parser of instants takes more than that.
fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = |shape: &[u8], bytes: &[u8]| {
        shape.len() == bytes.len()
            && shape.iter().zip(bytes).all(|(shape, byte)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte.eq_ignore_ascii_case(shape),
            })
    };
    let Some((seconds, rest)) = bytes.split_at_checked(19) else { return false };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
    };
    shaped(b"0000-00-00T00:00:00", seconds) && (shaped(b"Z", offset) || shaped(b"+00:00", offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_rfc_3339_is_demanded() {
        for good in ["2026-01-31T09:30:00Z", "2026-01-31t09:30:00.123456z", "2026-01-31T09:30:00-05:30"] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31 09:30:00Z",
            "2026-01-31T09:30:00",
            "2026-01-31T09:30Z",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00+05",
            "2026-01-31T09:30:00Z[UTC]",
            "20260131T093000Z",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
