//! MQTT 5.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::mqtt::topic;
use crate::connections::{mqtt, stream};

/// An MQTT 5 broker.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mqtt {
    /// `mqtt://[user:password@]host[:port]`, or `mqtts://` for TLS.
    pub url: String,
    /// Who logs in, where the URL does not say.
    pub username: Option<String>,
    /// With what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub password: Option<String>,
    /// The certificate authority of the broker, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// Quality of service: 1 or 2.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 2))]
    pub qos: u8,
    /// Whether the broker keeps a topic's last message for later subscribers.
    #[serde(default)]
    pub retain: bool,
    /// Seconds after which the broker throws a message away that it could not hand on. Left out, never.
    #[schemars(range(min = 1))]
    pub expiry: Option<u32>,
    /// The topics that may be published to, as MQTT filters: `sensors/+/state`, `sensors/#`. Left out, any.
    pub topics: Option<Vec<String>>,
}

fn once() -> u8 {
    1
}

impl Mqtt {
    /// Where it is, and who logs in.
    #[must_use]
    pub fn server(&self) -> mqtt::Server {
        let (username, password) = (self.username.clone(), self.password.clone());
        mqtt::Server { url: self.url.clone(), ca: self.ca.clone(), username, password }
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = stream::mistakes(settings, mqtt::SCHEMES);
    for name in ["username", "password"] {
        if settings.get(name).and_then(Value::as_str).is_some_and(|text| text.len() > mqtt::MAX_TEXT) {
            found.push(Mistake::new(format!("/{name}"), format!("at most {} bytes", mqtt::MAX_TEXT)));
        }
    }
    let filters = settings.get("topics").and_then(Value::as_array).into_iter().flatten().enumerate();
    found.extend(filters.filter_map(|(i, filter)| {
        let detail = topic::filter_mistake(filter.as_str().unwrap_or_default())?;
        Some(Mistake::new(format!("/topics/{i}"), detail))
    }));
    found
}
