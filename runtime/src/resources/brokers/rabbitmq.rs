//! RabbitMQ.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::{amqp, stream};

/// A RabbitMQ broker, spoken to in AMQP 0-9-1.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rabbitmq {
    /// `amqp://[user:password@]host[:port][/virtual-host]`, or `amqps://` for TLS.
    pub url: String,
    /// Who logs in, where the URL does not say.
    pub username: Option<String>,
    /// With what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub password: Option<String>,
    /// The certificate authority of the broker, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// The exchange that messages are published to. Left out, it is the default one, where the topic names a queue.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub exchange: String,
    /// The routing keys that may be published to, with `*` for any characters. Left out, any.
    pub routing_keys: Option<Vec<String>>,
    /// Whether messages are kept over a restart of the broker, in queues that are.
    #[serde(default = "persistent")]
    pub persistent: bool,
}

fn persistent() -> bool {
    true
}

impl Rabbitmq {
    /// Where it is, and who logs in.
    #[must_use]
    pub fn server(&self) -> amqp::Server {
        let (username, password) = (self.username.clone(), self.password.clone());
        amqp::Server { url: self.url.clone(), ca: self.ca.clone(), username, password }
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    stream::mistakes(settings, amqp::SCHEMES)
}
