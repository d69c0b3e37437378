//! The tenant's message brokers.

use serde::Serialize;
use serde_json::Value;

use crate::host::{Answer, Host, Imports};

/// Publishes messages.
pub struct Broker<'a> {
    host: &'a Host,
}

/// A message to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl<'a> Broker<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// Publishes to `TAG:TOPIC`; returns once the broker has confirmed, with what it said (offset, sequence or id).
    pub fn publish(&self, topic: &str, message: Message) -> Answer<Value> {
        let answer = self.host.publish(topic, message)?;
        super::read("the broker's answer", answer.as_bytes())
    }
}

impl Message {
    /// A message with this body.
    pub fn new(body: impl Serialize) -> Answer<Self> {
        Ok(Self { key: None, headers: Vec::new(), body: super::write("the message", &body)? })
    }

    /// Kafka's key, and what orders messages elsewhere.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
