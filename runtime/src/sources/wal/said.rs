//! What applications say in messages of their own (`pg_logical_emit_message`).

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use triggerd_core::json;

/// What an application says of what follows in its transaction.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Said {
    pub(super) user: Value,
    pub(super) context: Map<String, Value>,
    pub(super) origin: Option<String>,
    pub(super) suppress: bool,
}

/// An event of the application's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    #[serde(rename = "type")]
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) payload: Value,
}

/// Reads a message's content; why it cannot be.
pub(super) fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    let value = json::parse(content).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}
