//! Reading the fields of a JSON object: every fault becomes a mistake, and reading goes on.
//!
//! A field that is `null` counts as absent, as many serialisers write it so.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::mistake::{Mistake, join};

/// An object of the definition and where it stands.
pub struct Fields<'v> {
    members: &'v Map<String, Value>,
    pointer: String,
}

impl<'v> Fields<'v> {
    /// The fields of `value`; `None`, with a mistake, where it is no object. Fields that are not among
    /// `known` are mistakes.
    pub fn of(value: &'v Value, pointer: &str, known: &[&str], mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let fields = Self::open(value, pointer, mistakes)?;
        for name in fields.unknown(known) {
            mistakes.push(Mistake::unknown(fields.at(name), "field", name, known.iter().copied()));
        }
        Some(fields)
    }

    /// As [`Fields::of`], but unknown fields are left to the caller.
    pub fn open(value: &'v Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let Value::Object(members) = value else {
            mistakes.push(Mistake::kind(pointer, "an object", value));
            return None;
        };
        Some(Self { members, pointer: pointer.to_owned() })
    }

    /// The fields that are not among `known`.
    pub fn unknown(&self, known: &[&str]) -> impl Iterator<Item = &'v str> {
        self.members.keys().map(String::as_str).filter(|name| !known.contains(name))
    }

    /// Where the object stands.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The pointer of the field `name`.
    pub fn at(&self, name: &str) -> String {
        join(&self.pointer, name)
    }

    /// The field's value, whatever it is.
    pub fn value(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// The field's value, which has to be there.
    pub fn required(&self, name: &str, mistakes: &mut Vec<Mistake>) -> Option<&'v Value> {
        let value = self.value(name);
        if value.is_none() {
            mistakes.push(Mistake::new(self.at(name), format!("`{name}` is required")));
        }
        value
    }

    /// A field that is a text.
    pub fn text(&self, name: &str, mistakes: &mut Vec<Mistake>) -> Option<&'v str> {
        self.value(name).and_then(|value| text(value, &self.at(name), mistakes))
    }

    /// A field that is `true` or `false`; `default` where it is neither.
    pub fn flag(&self, name: &str, default: bool, mistakes: &mut Vec<Mistake>) -> bool {
        match self.value(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                mistakes.push(Mistake::kind(self.at(name), "true or false", other));
                default
            }
        }
    }

    /// A field that is a whole number within `range`.
    pub fn whole(&self, name: &str, range: RangeInclusive<u64>, mistakes: &mut Vec<Mistake>) -> Option<u64> {
        let value = self.value(name)?;
        let found = value.as_u64().filter(|number| range.contains(number));
        if found.is_none() {
            let wanted = match (*range.start(), *range.end()) {
                (start, u64::MAX) => format!("must be a whole number of at least {start}"),
                (start, end) => format!("must be a whole number from {start} to {end}"),
            };
            mistakes.push(Mistake::new(self.at(name), format!("{wanted}, not {}", shown(value))));
        }
        found
    }

    /// A field that is a number which `fits`; `wanted` says in words what fits.
    pub fn number(
        &self,
        name: &str,
        wanted: &str,
        fits: impl Fn(f64) -> bool,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<f64> {
        let value = self.value(name)?;
        let found = value.as_f64().filter(|number| number.is_finite() && fits(*number));
        if found.is_none() {
            mistakes.push(Mistake::new(self.at(name), format!("must be {wanted}, not {}", shown(value))));
        }
        found
    }

    /// A field that is an array, with the pointer of each of its members; empty where there is none.
    pub fn list(&self, name: &str, mistakes: &mut Vec<Mistake>) -> Vec<(String, &'v Value)> {
        let pointer = self.at(name);
        match self.value(name) {
            None => Vec::new(),
            Some(Value::Array(members)) => {
                members.iter().enumerate().map(|(i, member)| (format!("{pointer}/{i}"), member)).collect()
            }
            Some(other) => {
                mistakes.push(Mistake::kind(pointer, "an array", other));
                Vec::new()
            }
        }
    }
}

/// A text, or a mistake at `pointer`.
pub fn text<'v>(value: &'v Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<&'v str> {
    if let Value::String(text) = value {
        return Some(text);
    }
    mistakes.push(Mistake::kind(pointer, "a string", value));
    None
}

/// Numbers as they are written, anything else by its kind: a mistake is no place for whole documents.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => crate::mistake::kind(other).to_owned(),
    }
}
