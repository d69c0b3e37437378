//! Scalars in a form that can be hashed: what the trigger index looks conditions up by.

use serde_json::Value;

use super::number::Canonical;

/// A scalar such that two JSON values satisfy `EQUALS` exactly where these are equal: `1`, `1.0` and `10e-1` are
/// one, and something missing is `null`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IndexValue(Scalar);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Scalar {
    Null,
    Bool(bool),
    Number(Canonical),
    String(Box<str>),
}

impl IndexValue {
    /// The form of a value found, or of its absence. `None` for arrays, objects, and numbers with an exponent of
    /// more than 30 digits, none of which equals a value that has a form.
    #[must_use]
    pub fn of(value: Option<&Value>) -> Option<Self> {
        let scalar = match value {
            None | Some(Value::Null) => Scalar::Null,
            Some(Value::Bool(value)) => Scalar::Bool(*value),
            Some(Value::Number(number)) => Scalar::Number(Canonical::of(number)?),
            Some(Value::String(text)) => Scalar::String(text.as_str().into()),
            Some(Value::Array(_) | Value::Object(_)) => return None,
        };
        Some(Self(scalar))
    }
    /// Whether it is that of `null`, and of what is missing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0 == Scalar::Null
    }
}
