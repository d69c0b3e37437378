//! The kind `subscriptions`: a URL that is told of the events that its owner selects. Made, changed and shown by routes of its
//! own (`api/subscriptions.rs`), in whose words the settings are written.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use super::Kind;
use crate::egress;

/// Seconds of nothing but failures after which a subscription is disabled: five days.
const DISABLE_AFTER: u64 = 5 * 24 * 3600;
/// Attempts where none are set: 2, 4, 8 s and so on, the last of them 24 h after the one before.
const MAX_ATTEMPTS: u32 = 18;

/// A subscription.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Which events.
    pub event_selector: Selector,
    /// Where they are sent: an `https://` or `http://` URL.
    pub webhook_url: String,
    /// What they are signed with: `whsec_` and 24 to 64 bytes as base64, or `whsk_` and an ed25519 key.
    #[serde(rename = "signingSecret")]
    pub signing_secret: String,
    /// The secret before that, which signs as well for a while.
    pub former: Option<Former>,
    /// Several events in a request; one in each without.
    pub batch: Option<Batch>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// How often an event is tried before it becomes a dead letter.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: Option<u32>,
    /// Seconds of nothing but failures after which it is disabled.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub disable_after: Option<u64>,
    /// Why nothing is sent; it is active without.
    pub disabled: Option<Disabled>,
    /// Since when every attempt has failed.
    #[schemars(with = "Option<String>")]
    pub failing_since: Option<Timestamp>,
}

/// Which events.
#[derive(Clone, Deserialize, Serialize, JsonSchema, Debug)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// Those of a type.
    EventType {
        /// The type; `*` stands for one dotted part, `**` for any number.
        value: String,
    },
    /// Those whose payload fulfils an expression.
    Jsonpath {
        /// An RFC 9535 query, or `QUERY OP LITERAL`.
        expression: String,
    },
    /// Those with a field that fulfils a comparison.
    Custom {
        /// The comparison.
        function: Function,
    },
}

/// A comparison.
#[derive(Clone, Deserialize, Serialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The payload's field: a dotted path.
    pub field: String,
    /// An operator of conditions, in any case: `greater_than`.
    pub operator: String,
    /// What it is compared with.
    #[serde(default)]
    pub value: Value,
}

/// Several events in a request.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Batch {
    /// The most events in a request.
    #[serde(default = "max_size")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_size: u32,
    /// How long the first one waits for others, in milliseconds.
    #[serde(default = "max_wait")]
    #[schemars(range(min = 1, max = 60_000))]
    pub max_wait: u64,
}

fn max_size() -> u32 {
    100
}

fn max_wait() -> u64 {
    5_000
}

/// A secret that was replaced.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// The secret.
    #[serde(rename = "signingSecret")]
    pub signing_secret: String,
    /// Until when it signs as well.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// Why nothing is sent.
#[derive(Clone, Deserialize, Serialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Disabled {
    /// Since when.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// `gone`: the URL answered 410; `failing`: nothing but failures for too long; `request`: somebody wished it.
    pub reason: String,
}

impl Subscription {
    /// Whether events are sent.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.disabled.is_none()
    }

    /// What requests are signed with at this time: the secret, and the one before it as long as that is valid.
    #[must_use]
    pub fn secrets(&self, now: Timestamp) -> Vec<Value> {
        let former = self.former.as_ref().filter(|former| now < former.until);
        let former = former.map(|former| former.signing_secret.as_str());
        std::iter::once(self.signing_secret.as_str()).chain(former).map(Value::from).collect()
    }

    /// How often an event is tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.max_attempts.unwrap_or(MAX_ATTEMPTS)
    }

    /// Seconds of nothing but failures after which it is disabled.
    #[must_use]
    pub fn patience(&self) -> u64 {
        self.disable_after.unwrap_or(DISABLE_AFTER)
    }
}

pub(super) const KIND: Kind = Kind {
    name: "subscriptions",
    schema: || schemars::schema_for!(Subscription).to_value(),
    normal: |settings| settings,
    check,
    raw: &["event_selector", "description"],
    hidden: false,
    own_routes: true,
    of_one_env: Some("a subscription is of all environments"),
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            let subscription: Subscription = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            let guard = connections.https.guard();
            guard.check_url(&subscription.webhook_url).map_err(|error| format!("/webhook_url: {error}"))?;
            Ok("the URL may be called; `test` sends an event to it".to_owned())
        })
    },
};

fn check(settings: &Value) -> Vec<Mistake> {
    let url = settings["webhook_url"].as_str().filter(|url| !url.contains("{{"));
    let mistake = url.and_then(|url| egress::url_mistake(url, "requests are signed instead"));
    mistake.map(|detail| Mistake::new("/webhook_url", detail)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_former_secret_signs_until_its_time_is_over() {
        let subscription: Subscription = serde_json::from_value(json!({
            "event_selector": {"type": "event_type", "value": "a"}, "webhook_url": "https://a.example/",
            "signingSecret": "new", "former": {"signingSecret": "old", "until": "2026-01-02T00:00:00Z"},
        }))
        .unwrap();
        let at = |text: &str| subscription.secrets(text.parse().unwrap());
        assert_eq!(at("2026-01-01T23:59:59Z"), ["new", "old"]);
        assert_eq!(at("2026-01-02T00:00:00Z"), ["new"]);
    }

    #[test]
    fn mistakes_are_named_at_their_place() {
        let places = |settings: Value| -> Vec<String> {
            KIND.mistakes(&settings).into_iter().map(|mistake| mistake.pointer).collect()
        };
        let good = json!({
            "event_selector": {"type": "custom", "function": {"field": "amount", "operator": "greater_than", "value": 100}},
            "webhook_url": "https://a.example/x", "signingSecret": "s", "batch": {"maxSize": 10},
        });
        assert!(places(good.clone()).is_empty(), "{:?}", KIND.mistakes(&good));
        let with = |name: &str, value: Value| {
            let mut settings = good.clone();
            settings[name] = value;
            places(settings)
        };
        for url in ["", "a.example", "ftp://a.example", "https://u:p@a.example"] {
            assert_eq!(with("webhook_url", json!(url)), ["/webhook_url"], "{url}");
        }
        assert_eq!(with("batch", json!({"maxSize": 0, "maxWait": 60_001})), ["/batch/maxSize", "/batch/maxWait"]);
        assert_eq!(with("event_selector", json!({"type": "event_type"})), ["/event_selector/value"]);
        assert_eq!(with("disable_after", json!(0)), ["/disable_after"]);
    }
}
