//! Compiling `{"field", "operator", "value"}`: each part is checked whatever is wrong with the others.

use serde_json::{Map, Value};

use super::compile::Draft;
use super::matches::Pattern;
use super::{Field, OPERATORS, Operator, Test};
use crate::mistake::{Mistake, join, kind};
use crate::path::Path;

/// Compiles the condition on a field at `pointer`.
pub fn field(members: &Map<String, Value>, pointer: &str, draft: &mut Draft<'_>) -> Option<Field> {
    let operator = operator(members.get("operator"), &join(pointer, "operator"), draft);
    let in_record = operator.is_some_and(|operator| operator.test.is_change());
    let path = path(members.get("field"), in_record, &join(pointer, "field"), draft);
    let operator = operator?;
    let value = value(members.get("value"), operator, &join(pointer, "value"), draft);
    let ((written, path), (value, pattern)) = (path?, value?);
    Some(Field { written, path, operator, value, pattern })
}

fn operator(source: Option<&Value>, pointer: &str, draft: &mut Draft<'_>) -> Option<&'static Operator> {
    let name = match source {
        Some(Value::String(name)) => name,
        Some(other) => {
            draft.mistake(pointer, format!("this is an operator's name, not {}", kind(other)));
            return None;
        }
        None => {
            draft.mistake(pointer, "a condition on a field needs an `operator`");
            return None;
        }
    };
    let found = OPERATORS.iter().find(|operator| bare(operator.name) == bare(name));
    if found.is_none() {
        draft.mistakes.push(Mistake::unknown(
            pointer,
            "operator",
            name,
            OPERATORS.iter().map(|operator| operator.name),
        ));
    }
    found
}

/// A name without what its spelling may vary in: `changedTo`, `CHANGED_TO` and `changed-to` are one.
fn bare(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

fn path(source: Option<&Value>, in_record: bool, pointer: &str, draft: &mut Draft<'_>) -> Option<(String, Path)> {
    let text = match source {
        Some(Value::String(text)) => text,
        Some(other) => {
            draft.mistake(pointer, format!("this is a path such as `record.status`, not {}", kind(other)));
            return None;
        }
        None => {
            draft.mistake(pointer, "a condition with an operator needs a `field`");
            return None;
        }
    };
    match if in_record { Path::parse_in_record(text) } else { Path::parse(text) } {
        Ok(path) => Some((text.clone(), path)),
        Err(detail) => {
            draft.mistake(pointer, format!("`{text}`: {detail}"));
            None
        }
    }
}

/// The operator's value, checked, with the regular expression where it is one.
fn value(
    source: Option<&Value>,
    operator: &Operator,
    pointer: &str,
    draft: &mut Draft<'_>,
) -> Option<(Value, Option<Pattern>)> {
    match checked(source, operator) {
        Ok(value) => Some(value),
        Err(detail) => {
            draft.mistake(pointer, detail);
            None
        }
    }
}

fn checked(source: Option<&Value>, operator: &Operator) -> Result<(Value, Option<Pattern>), String> {
    let name = operator.name;
    let value = match (wants(operator.test), source) {
        (None, None | Some(Value::Null)) => return Ok((Value::Null, None)),
        (None, Some(_)) => return Err(format!("{name} takes no value")),
        (Some(_), None) => return Err(format!("{name} needs a `value`")),
        (Some(wanted), Some(value)) if !(wanted.fits)(value) => {
            return Err(format!("{name} needs {}, not {}", wanted.words, kind(value)));
        }
        (Some(_), Some(value)) => value,
    };
    let pattern = match (operator.test, value) {
        (Test::Matches, Value::String(pattern)) => Some(Pattern::compile(pattern)?),
        _ => None,
    };
    Ok((value.clone(), pattern))
}

/// The kind of value that a test takes.
struct Wanted {
    words: &'static str,
    fits: fn(&Value) -> bool,
}

/// `None` where it takes none.
fn wants(test: Test) -> Option<Wanted> {
    let (words, fits): (_, fn(&Value) -> bool) = match test {
        Test::Null | Test::Empty | Test::Changed => return None,
        Test::Equals | Test::Contains | Test::ChangedTo | Test::ChangedFrom => ("a value", |_| true),
        Test::In => ("an array", Value::is_array),
        Test::StartsWith | Test::EndsWith | Test::Matches => ("a string", Value::is_string),
        Test::Order(_) => ("a number or a string", |value| value.is_number() || value.is_string()),
    };
    Some(Wanted { words, fits })
}
