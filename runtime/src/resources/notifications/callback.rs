//! Where callbacks go, and what they are signed with.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;

use super::url_mistake;

/// The receiver of callbacks.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Callback {
    /// Where.
    pub url: String,
    /// `POST` (the default), `PUT` or `PATCH`.
    pub method: Option<String>,
    /// Headers of every callback; those of the action come on top.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// Standard Webhooks keys: `whsec_...` (HMAC) or `whsk_...` (ed25519). Of several, all sign: so one is replaced by
    /// another without a gap.
    #[serde(default)]
    pub signing_secret: Value,
    /// The certificate authority of the receiver, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = url_mistake(settings, "url").into_iter().collect();
    if let Some(method) = settings.get("method").and_then(Value::as_str)
        && !["POST", "PUT", "PATCH"].contains(&method)
    {
        found.push(Mistake::new("/method", format!("`{method}` must be one of POST, PUT, PATCH")));
    }
    let secrets = settings.get("signingSecret").unwrap_or(&Value::Null);
    let single = [secrets.clone()];
    let fits = |secret: &Value| {
        secret
            .as_str()
            .is_some_and(|text| text.contains("{{") || text.starts_with("whsec_") || text.starts_with("whsk_"))
    };
    if !secrets.is_null() && !secrets.as_array().map_or(&single[..], Vec::as_slice).iter().all(fits) {
        found.push(Mistake::new("/signingSecret", "must be a `whsec_...` or `whsk_...` key, or a list of those"));
    }
    found
}
