//! What a guest answers with, read and held to its limit.

use serde_json::Value;

use super::bindings::exports::triggerd::runtime::check::Verdict;
use super::bindings::triggerd::runtime::types::Failure;
use super::failure::CallError;

/// What a guest answered.
#[derive(Clone, PartialEq, Debug)]
pub enum GuestAnswer {
    /// An action's result.
    Json(Value),
    /// A guard's verdict.
    Guard(GuardVerdict),
    /// Whether a condition holds.
    Matches(bool),
    /// A transform's event, or none.
    Transform(Option<Value>),
}

/// What a guard decided.
#[derive(Clone, PartialEq, Debug)]
pub enum GuardVerdict {
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

/// The answer, or what the guest itself called a failure.
pub(super) fn said<T>(answer: Result<T, Failure>) -> Result<T, CallError> {
    answer.map_err(CallError::of_guest)
}

/// A guard's verdict, held to the limit of answers.
pub(super) fn verdict_of(verdict: Verdict, limit: usize) -> Result<GuardVerdict, CallError> {
    Ok(match verdict {
        Verdict::Proceed => GuardVerdict::Proceed,
        Verdict::Change(record) => GuardVerdict::Change(read(&record, limit)?),
        Verdict::Refuse(refusal) => {
            let size = refusal.message.len() + refusal.code.as_ref().map_or(0, String::len);
            if size > limit {
                return Err(too_large(size, limit));
            }
            GuardVerdict::Refuse { code: refusal.code, message: refusal.message }
        }
    })
}

/// An answer's JSON, held to the limit of answers.
pub(super) fn read(text: &str, limit: usize) -> Result<Value, CallError> {
    if text.len() > limit {
        return Err(too_large(text.len(), limit));
    }
    serde_json::from_str(text).map_err(|error| CallError::result(format!("the answer is not JSON: {error}")))
}

fn too_large(size: usize, limit: usize) -> CallError {
    CallError::result(format!("the answer has {size} bytes; its limit is {limit}"))
}
