//! What sends SMS: Twilio, or any gateway that is spoken to over HTTP.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;

use super::message::templates;
use super::url_mistake;

/// What sends SMS.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum Sms {
    /// Twilio, or what speaks its API.
    Twilio(Twilio),
    /// A gateway that takes one HTTP request for each message.
    Http(Gateway),
}

/// Twilio's Programmable Messaging, API version 2010-04-01.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Twilio {
    /// The account: `AC...`.
    pub account_sid: String,
    /// Its token; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub auth_token: String,
    /// The sender: a number in E.164 or an alphanumeric id.
    pub from: Option<String>,
    /// The messaging service that picks the sender: `MG...`.
    pub messaging_service_sid: Option<String>,
    /// Where the API is, where not at `https://api.twilio.com`.
    pub base_url: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

/// A gateway that takes one HTTP request for each message.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Gateway {
    /// Where.
    pub url: String,
    /// `POST` (the default), `PUT` or `GET`.
    pub method: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// Added to the URL's query: templates over `to`, `from`, `body` and `id`.
    #[serde(default)]
    pub query: Map<String, Value>,
    /// The request's body: a text or JSON, templates over `to`, `from`, `body` and `id`. Left out:
    /// `{"to", "from", "body", "id"}`.
    pub body: Option<Value>,
    /// The sender.
    pub from: Option<String>,
    /// Where in a JSON answer the message's id is: `messages[0].id`.
    pub id_path: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

impl Sms {
    /// Its address, as a URL.
    #[must_use]
    pub fn base_url(&self) -> &str {
        match self {
            Self::Twilio(twilio) => twilio.base_url(),
            Self::Http(gateway) => &gateway.url,
        }
    }

    /// The sender, where one is set.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        match self {
            Self::Twilio(twilio) => twilio.from.as_deref().or(twilio.messaging_service_sid.as_deref()),
            Self::Http(gateway) => gateway.from.as_deref(),
        }
    }

    /// What must not be shown.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Twilio(twilio) => vec![twilio.auth_token.clone()],
            Self::Http(gateway) => gateway.secrets(),
        }
    }
}

impl Gateway {
    /// Secrets have been filled in wherever the settings have them: all fixed texts of a request are taken for some.
    fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        let parts = self.headers.values().chain(self.query.values()).chain(&self.body);
        parts.for_each(|part| texts(part, &mut found));
        // Of `Bearer TOKEN` the token alone is one.
        found.extend(found.clone().iter().filter_map(|text| text.split_once(' ')).map(|(_, rest)| rest.to_owned()));
        found.retain(|text| text.len() >= SHORTEST_SECRET);
        found
    }
}

/// Shorter texts are no secrets, and striking them out would tear messages apart.
const SHORTEST_SECRET: usize = 8;

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.contains("{{") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

impl Twilio {
    /// Where the API is.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or("https://api.twilio.com")
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = ["baseUrl", "url"].iter().filter_map(|field| url_mistake(settings, field)).collect();
    let has = |field: &str| settings.get(field).is_some_and(|value| !value.is_null());
    if settings.get("provider").and_then(Value::as_str) == Some("twilio") && has("from") == has("messagingServiceSid") {
        found.push(Mistake::new("/from", "one of `from` and `messagingServiceSid` is needed"));
    }
    if let Some(method) = settings.get("method").and_then(Value::as_str)
        && !["POST", "PUT", "GET"].contains(&method)
    {
        found.push(Mistake::new("/method", format!("`{method}` must be one of POST, PUT, GET")));
    }
    if let Some(path) = settings.get("idPath").and_then(Value::as_str)
        && let Err(detail) = triggerd_core::path::Path::parse_in_record(path)
    {
        found.push(Mistake::new("/idPath", detail));
    }
    for part in ["body", "query"] {
        templates(&without_secrets(settings.get(part)), &format!("/{part}"), &mut found);
    }
    found
}

/// Secrets are filled in before the templates are rendered: each is a text then.
fn without_secrets(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) if text.contains("secrets.") => Value::Null,
        Some(Value::Array(items)) => items.iter().map(|item| without_secrets(Some(item))).collect(),
        Some(Value::Object(members)) => {
            Value::Object(members.iter().map(|(key, member)| (key.clone(), without_secrets(Some(member)))).collect())
        }
        other => other.cloned().unwrap_or_default(),
    }
}
