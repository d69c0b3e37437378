//! How one attempt of an action ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How one attempt ended. A failure that another try cannot mend is [`Outcome::Dead`], never `Done`.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The effect took place; the value is what later actions read as `actions.NAME.output`.
    Done(Value),
    /// It did not, and another try may help; `after` is what the other side asked for (`Retry-After`).
    Retry {
        /// What went wrong.
        failure: Failure,
        /// The wait the destination asked for.
        after: Option<Duration>,
    },
    /// It did not, and no other try will help.
    Dead(Failure),
}

impl Outcome {
    /// A failure that another try may mend.
    pub fn retry(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retry { failure: Failure::new(code, message), after: None }
    }

    /// A failure for good.
    pub fn dead(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Dead(Failure::new(code, message))
    }
}

/// Why an attempt failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code of docs/errors.md (`ECONNREFUSED`, `HTTP_503`, `WASM_TRAP`, ...): what `retryOn` names.
    pub code: String,
    /// For people: what failed, for which input, what to do. Never a secret.
    pub message: String,
}

impl Failure {
    /// A failure with a stable code and a sentence for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}
