//! Topics in triggerd's own store.

use schemars::JsonSchema;
use serde::Deserialize;

/// Nothing is to be set.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Embedded {}
