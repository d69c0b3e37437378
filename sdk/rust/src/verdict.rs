//! What a guard decides.

use serde::Serialize;
use serde_json::Value;

use crate::ActionError;

/// What a guard decides about a write that is still to come.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// The write goes on as it is.
    Proceed,
    /// The write goes on with this record.
    Change(Value),
    /// The write is refused.
    Refuse {
        /// A stable name for programs.
        code: Option<String>,
        /// For the person who wrote.
        message: String,
    },
}

impl Verdict {
    /// The write goes on with `record`.
    pub fn change(record: impl Serialize) -> Result<Self, ActionError> {
        serde_json::to_value(record).map(Self::Change).map_err(|error| {
            ActionError::permanent("RESULT_INVALID", format!("the changed record is no JSON: {error}"))
        })
    }

    /// The write is refused, with a stable name for programs and a message for the person who wrote.
    pub fn refuse(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refuse { code: Some(code.into()), message: message.into() }
    }
}
