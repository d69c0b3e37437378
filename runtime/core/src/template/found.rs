//! A value while rendering: borrowed from the event wherever possible.

use std::borrow::Cow;
use std::io;

use serde_json::{Number, Value};

/// A JSON null to borrow.
pub(super) static NULL: Value = Value::Null;

/// What a placeholder or a helper gave.
#[derive(Clone, Debug)]
pub(super) enum Found<'v> {
    /// There is nothing of that name.
    Missing,
    /// A value of the event, an output, or a literal.
    Json(&'v Value),
    /// A text that is no JSON value of its own, such as the event's type.
    Text(&'v str),
    /// A value made on the way.
    Made(Value),
}

impl<'v> Found<'v> {
    /// A text made on the way.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Made(Value::String(text.into()))
    }

    /// The JSON value, if it is one; missing is null.
    pub fn json(&self) -> Option<&Value> {
        match self {
            Self::Missing => Some(&NULL),
            Self::Json(value) => Some(value),
            Self::Made(value) => Some(value),
            Self::Text(_) => None,
        }
    }

    /// Missing or null.
    pub fn is_absent(&self) -> bool {
        self.json().is_some_and(Value::is_null)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            other => other.json().and_then(Value::as_str),
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        self.json().and_then(Value::as_number)
    }

    /// The value on its own; missing is null.
    pub fn into_value(self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Json(value) => value.clone(),
            Self::Text(text) => Value::String(text.to_owned()),
            Self::Made(value) => value,
        }
    }

    /// The value borrowed for `'v`; `hold` keeps it where it must be made.
    pub fn hold<'h>(self, hold: &'h mut Value) -> &'h Value
    where
        'v: 'h,
    {
        match self {
            Self::Json(value) => value,
            other => {
                *hold = other.into_value();
                hold
            }
        }
    }

    /// The value as it stands in text: strings bare, missing and null empty, arrays and objects as JSON.
    /// `None` where that takes more than `limit` bytes.
    pub fn to_text(&self, limit: usize) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(*text)),
            other => value_text(other.json().unwrap_or(&NULL), limit),
        }
    }

    /// What kind of value it is, for messages: messages never show the value itself, which may be a secret.
    pub fn kind(&self) -> &'static str {
        match self.json() {
            None | Some(Value::String(_)) => "a string",
            Some(Value::Null) => "nothing",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::Array(_)) => "an array",
            Some(Value::Object(_)) => "an object",
        }
    }

    /// How many bytes [`Self::is_truthy`] may read: a number is true by its digits, and may have very many.
    pub fn digits(&self) -> usize {
        self.as_number().map_or(0, |number| number.as_str().len())
    }

    /// Whether a block's condition holds. `zero` counts as true where `include_zero` is set.
    pub fn is_truthy(&self, include_zero: bool) -> bool {
        let Some(value) = self.json() else {
            return self.as_str().is_some_and(|text| !text.is_empty());
        };
        match value {
            Value::Null => false,
            Value::Bool(bool) => *bool,
            // By its digits, because a number may be too large or too small for a float.
            Value::Number(number) => {
                let digits = number.as_str().split(['e', 'E']).next().unwrap_or_default();
                include_zero || digits.bytes().any(|b| (b'1'..=b'9').contains(&b))
            }
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
        }
    }
}

/// `value` as it stands in text, or `None` where that takes more than `limit` bytes.
pub(super) fn value_text(value: &Value, limit: usize) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Number(number) => Cow::Borrowed(number.as_str()),
        Value::Array(_) | Value::Object(_) => Cow::Owned(json_text(value, limit, false)?),
    })
}

/// `value` as JSON, or `None` where that takes more than `limit` bytes.
pub(super) fn json_text(value: &Value, limit: usize, pretty: bool) -> Option<String> {
    let mut bounded = Bounded { text: Vec::new(), limit };
    let written = if pretty {
        serde_json::to_writer_pretty(&mut bounded, value)
    } else {
        serde_json::to_writer(&mut bounded, value)
    };
    written.ok()?;
    String::from_utf8(bounded.text).ok()
}

/// About how many bytes `value` takes as JSON; stops counting above `limit`.
pub(super) fn weight(value: &Value, limit: usize) -> usize {
    let mut sum = 1;
    match value {
        Value::Null | Value::Bool(_) => sum += 4,
        Value::Number(number) => sum += number.as_str().len(),
        Value::String(text) => sum += text.len() + 2,
        Value::Array(items) => {
            for item in items {
                if sum > limit {
                    break;
                }
                sum += weight(item, limit - sum);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                if sum > limit {
                    break;
                }
                sum += key.len() + 3;
                sum += weight(member, limit.saturating_sub(sum));
            }
        }
    }
    sum
}

/// A writer that fails once it holds `limit` bytes.
struct Bounded {
    text: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
