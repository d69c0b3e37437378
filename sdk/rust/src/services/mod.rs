//! The services of the host, as a guest uses them: one file per import.

pub(crate) mod broker;
pub(crate) mod cache;
pub(crate) mod database;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod secrets;
pub(crate) mod state;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ServiceError;

/// Reads what a service gave; `what` names it for people.
fn read<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(json)
        .map_err(|error| ServiceError::permanent("VALUE_INVALID", format!("{what} does not fit: {error}")))
}

/// Writes what a service takes; `what` names it for people.
fn write(what: &str, value: &(impl Serialize + ?Sized)) -> Result<String, ServiceError> {
    serde_json::to_string(value)
        .map_err(|error| ServiceError::permanent("VALUE_INVALID", format!("{what} cannot be written as JSON: {error}")))
}
