//! From an invocation to a function's answer and back to JSON: the same on the real host and in tests.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::Host;
use crate::{ActionError, Context, Event, Invocation};

/// Calls `function` with what `invocation` says.
pub(crate) fn call<I, T, E>(
    function: impl FnOnce(Context<I>) -> Result<T, E>,
    invocation: Invocation,
    host: Host,
) -> Result<T, ActionError>
where
    I: DeserializeOwned,
    E: Into<ActionError>,
{
    function(Context::new(invocation, host)?).map_err(Into::into)
}

/// The text of what an action answered.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, ActionError> {
    serde_json::to_string(value).map_err(|error| {
        ActionError::permanent("RESULT_INVALID", format!("the result cannot be written as JSON: {error}"))
    })
}

/// The text of what a transform answered.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) fn event_to_json(event: Option<Event>) -> Result<Option<String>, ActionError> {
    event.map(|event| to_json(&event.into_json())).transpose()
}
