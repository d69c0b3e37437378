//! What delivers push messages: Firebase Cloud Messaging, Web Push, and Apple's service.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;

use super::url_mistake;

/// The services by the devices that they reach; each may be left out.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Push {
    /// Firebase Cloud Messaging, HTTP v1.
    pub fcm: Option<Fcm>,
    /// Browsers, by RFC 8030, 8291 and 8292.
    pub webpush: Option<WebPush>,
    /// Apple's devices.
    pub apns: Option<Apns>,
}

/// Firebase Cloud Messaging, HTTP v1.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fcm {
    /// The service account's key file: the JSON as an object, or as a text (`{"secret": "NAME"}`).
    pub service_account: Value,
    /// Where messages are sent, where not to `https://fcm.googleapis.com`.
    pub base_url: Option<String>,
    /// Where tokens are had, where not at the account's `token_uri`.
    pub token_url: Option<String>,
    /// The certificate authority of both, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

/// What is used of a service account's key file.
#[derive(Clone, Deserialize)]
pub struct ServiceAccount {
    /// The Firebase project.
    pub project_id: String,
    /// Who asks.
    pub client_email: String,
    /// An RSA key as PEM.
    pub private_key: String,
    /// Which key of the account it is.
    pub private_key_id: Option<String>,
    /// Where tokens are had.
    pub token_uri: Option<String>,
}

/// Browsers.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebPush {
    /// The VAPID key: 32 bytes as base64url, the one that the browsers subscribed with.
    pub private_key: String,
    /// Whom push services can turn to: `mailto:ops@example.com` or an `https` URL.
    pub subject: String,
    /// How many seconds a push service tries to deliver a message that does not say. Default four weeks.
    #[schemars(range(max = 2_419_200))]
    pub ttl: Option<u32>,
    /// How soon messages must be there that do not say.
    pub urgency: Option<Urgency>,
    /// The certificate authority of the push services, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

/// How soon a message must be there (RFC 8030, 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// On power and on a network that costs nothing.
    VeryLow,
    /// On power or on a network that costs nothing.
    Low,
    /// Whenever the device is awake anyway.
    Normal,
    /// At once.
    High,
}

/// Apple's devices, with a token for authentication.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Apns {
    /// The developer team: ten characters.
    pub team_id: String,
    /// The key's id: ten characters.
    pub key_id: String,
    /// The key: the `.p8` file's text.
    pub private_key: String,
    /// The app's bundle id.
    pub topic: String,
    /// Where the service is, where not at `https://api.push.apple.com`.
    pub base_url: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

impl Urgency {
    /// As the `Urgency` header has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl Fcm {
    /// Where messages are sent.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or("https://fcm.googleapis.com")
    }

    /// The account, where what is set is one.
    pub fn account(&self) -> Result<ServiceAccount, String> {
        let read = match &self.service_account {
            Value::String(text) => serde_json::from_str(text),
            other => serde_json::from_value(other.clone()),
        };
        // The error's words could hold the key.
        read.map_err(|_| ACCOUNT.to_owned())
    }
}

impl Apns {
    /// Where the service is.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or("https://api.push.apple.com")
    }
}

const ACCOUNT: &str = "must be a service account's key file: JSON with `project_id`, `client_email` and `private_key`";

/// `{"provider": "fcm", ...}` means `{"fcm": {...}}`.
pub(super) fn normal(mut settings: Value) -> Value {
    let push = settings.get_mut("push").and_then(Value::as_object_mut);
    if let Some(push) = push
        && let Some(Value::String(provider)) = push.get("provider").cloned()
        && ["fcm", "webpush", "apns"].contains(&provider.as_str())
    {
        let mut own = std::mem::take(push);
        own.shift_remove("provider");
        *push = Map::from_iter([(provider, Value::Object(own))]);
    }
    settings
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    let own = |name: &str| settings.get(name).filter(|own| own.is_object());
    if ["fcm", "webpush", "apns"].iter().all(|name| own(name).is_none()) {
        found.push(Mistake::new("", "one of `fcm`, `webpush` and `apns` is needed"));
    }
    for (name, fields) in [("fcm", &["baseUrl", "tokenUrl"][..]), ("apns", &["baseUrl"])] {
        let mistakes = own(name).into_iter().flat_map(|own| fields.iter().filter_map(|field| url_mistake(own, field)));
        found.extend(mistakes.map(|m| m.under(&format!("/{name}"))));
    }
    if let Some(account) = own("fcm").and_then(|fcm| fcm.get("serviceAccount")) {
        let fields = ["project_id", "client_email", "private_key"];
        let whole = fields.iter().all(|field| account.get(field).is_some_and(Value::is_string));
        let text = account.as_str().is_some_and(|text| text.contains("{{") || text.trim_start().starts_with('{'));
        if !whole && !text {
            found.push(Mistake::new("/fcm/serviceAccount", ACCOUNT));
        }
    }
    if let Some(subject) = own("webpush").and_then(|webpush| webpush.get("subject")).and_then(Value::as_str)
        && !["mailto:", "https://", "{{"].iter().any(|start| subject.starts_with(start))
    {
        found.push(Mistake::new("/webpush/subject", "must begin with `mailto:` or `https://`"));
    }
    found
}
