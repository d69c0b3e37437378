//! The kind `hooks`: an address that a third party sends to, and how what it sends is checked and named.
//!
//! The address ends in a token that the server makes: whoever knows it may try.

mod template;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::{Mistake, join};

pub use template::Template;

use super::Kind;

/// How old, and how far ahead, what is signed with its time may be.
const TOLERANCE: Duration = Duration::from_secs(300);
/// The widest tolerance that can be set.
const WIDEST: SignedDuration = SignedDuration::from_hours(24);
/// Secrets of one hook.
const MAX_SECRETS: usize = 10;
/// Headers of a request that are kept with its event.
const MAX_HEADERS: usize = 32;
/// The fewest bytes of a Standard Webhooks secret.
const SHORTEST_KEY: usize = 24;

/// A hook's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// How a request is checked.
    pub verify: Verify,
    /// The events' type: a text with `{{header.NAME}}` and `{{payload.PATH}}`. Left out, what the sender of that kind says.
    #[schemars(with = "Option<String>")]
    pub event_type: Option<Template>,
    /// What names a delivery, so that it makes one event however often it comes: written as `event_type` is. Left out, what
    /// the sender of that kind says.
    #[schemars(with = "Option<String>")]
    pub delivery_id: Option<Template>,
    /// The events' source; `hooks/TAG` without.
    pub source: Option<String>,
    /// The events' environment.
    pub env: Option<String>,
    /// The request's headers that events keep, in `metadata.headers`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub headers: Vec<String>,
    /// Whether requests are taken.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The end of the address. Made by the server, and never written.
    #[schemars(skip)]
    pub token: Option<String>,
}

/// How a request is checked.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verify {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature` of <https://www.standardwebhooks.com>.
    StandardWebhooks {
        /// `whsec_` and base64, or the sender's public key, `whpk_` and base64; of several, one has to fit.
        secret: Secret,
        /// How old, and how far ahead, a request may be: `5m`.
        tolerance: Option<String>,
    },
    /// `X-Hub-Signature-256`.
    Github {
        /// The secret; of several, one has to fit.
        secret: Secret,
    },
    /// `Stripe-Signature`.
    Stripe {
        /// The endpoint's secret as Stripe shows it, `whsec_` included; of several, one has to fit.
        secret: Secret,
        /// How old, and how far ahead, a request may be: `5m`.
        tolerance: Option<String>,
    },
    /// `X-Slack-Signature` and `X-Slack-Request-Timestamp`.
    Slack {
        /// The app's signing secret; of several, one has to fit.
        secret: Secret,
        /// How old, and how far ahead, a request may be: `5m`.
        tolerance: Option<String>,
    },
    /// A header that has the secret itself.
    SharedSecret {
        /// The secret; of several, one has to fit.
        secret: Secret,
        /// The header: `X-Webhook-Secret` without. Of `Authorization` what stands behind `Bearer`.
        header: Option<String>,
    },
    /// The address is all that is asked for.
    None {},
}

/// A secret, or several that are taken.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(untagged)]
pub enum Secret {
    /// One.
    One(String),
    /// Several: an old one beside the new one, while senders change over.
    Several(Vec<String>),
}

fn enabled() -> bool {
    true
}

impl Secret {
    /// All that are taken.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl Verify {
    /// How old, and how far ahead, a request may be whose time is signed.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        let written = match self {
            Self::StandardWebhooks { tolerance, .. }
            | Self::Stripe { tolerance, .. }
            | Self::Slack { tolerance, .. } => tolerance.as_deref(),
            Self::Github { .. } | Self::SharedSecret { .. } | Self::None {} => None,
        };
        let read = written.and_then(|text| text.parse::<SignedDuration>().ok()?.try_into().ok());
        read.unwrap_or(TOLERANCE)
    }

    /// The events' type, where the hook does not say.
    fn event_type(&self) -> Option<&'static str> {
        match self {
            Self::StandardWebhooks { .. } => Some("{{payload.type}}"),
            Self::Github { .. } => Some("github.{{header.x-github-event}}"),
            Self::Stripe { .. } => Some("stripe.{{payload.type}}"),
            Self::Slack { .. } => Some("slack.{{payload.event.type}}"),
            Self::SharedSecret { .. } | Self::None {} => None,
        }
    }

    /// What names a delivery, where the hook does not say.
    fn delivery_id(&self) -> Option<&'static str> {
        match self {
            Self::StandardWebhooks { .. } => Some("{{header.webhook-id}}"),
            Self::Github { .. } => Some("{{header.x-github-delivery}}"),
            Self::Stripe { .. } => Some("{{payload.id}}"),
            Self::Slack { .. } => Some("{{payload.event_id}}"),
            Self::SharedSecret { .. } | Self::None {} => None,
        }
    }
}

impl Hook {
    /// The events' type.
    #[must_use]
    pub fn event_type(&self) -> Option<Template> {
        self.event_type.clone().or_else(|| Template::parse(self.verify.event_type()?).ok())
    }

    /// What names a delivery.
    #[must_use]
    pub fn delivery_id(&self) -> Option<Template> {
        self.delivery_id.clone().or_else(|| Template::parse(self.verify.delivery_id()?).ok())
    }
}

pub(super) const KIND: Kind = Kind {
    name: "hooks",
    schema: || schemars::schema_for!(Hook).to_value(),
    normal: |settings| settings,
    check,
    raw: &["event_type", "delivery_id"],
    hidden: false,
    own_routes: false,
    of_one_env: Some("a hook is of one environment, which `env` names"),
    made: Some("token"),
    connect: |_, settings| {
        Box::pin(async move {
            let found = check(&settings);
            match found.first() {
                Some(mistake) => Err(mistake.to_string()),
                None => Ok("its secrets can be read and are of the right form".to_owned()),
            }
        })
    },
};

fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for name in ["event_type", "delivery_id"] {
        let mistake = settings[name].as_str().and_then(|text| Template::parse(text).err());
        found.extend(mistake.map(|detail| Mistake::new(join("", name), detail)));
    }
    for name in ["source", "env"] {
        if let Some(text) = settings[name].as_str()
            && (text.is_empty() || text.len() > 1024 || text.contains(char::is_control))
        {
            found.push(Mistake::new(join("", name), "must have 1 to 1024 bytes and no control characters"));
        }
    }
    let headers = settings["headers"].as_array().map_or(&[][..], Vec::as_slice);
    if headers.len() > MAX_HEADERS {
        found.push(Mistake::new("/headers", format!("at most {MAX_HEADERS} headers are kept")));
    }
    let names = headers.iter().enumerate().map(|(i, name)| (format!("/headers/{i}"), name));
    for (at, name) in names.chain([("/verify/header".to_owned(), &settings["verify"]["header"])]) {
        if let Some(name) = name.as_str()
            && HeaderName::try_from(name).is_err()
        {
            found.push(Mistake::new(at, format!("`{name}` is no header's name")));
        }
    }
    if let Some(text) = settings["verify"]["tolerance"].as_str() {
        let fits = text
            .parse::<SignedDuration>()
            .is_ok_and(|tolerance| (SignedDuration::from_secs(1)..=WIDEST).contains(&tolerance));
        if !fits {
            found.push(Mistake::new("/verify/tolerance", "must be a duration of 1 s to 24 h, such as `5m`"));
        }
    }
    found.extend(secret_mistakes(&settings["verify"]));
    found
}

fn secret_mistakes(verify: &Value) -> Vec<Mistake> {
    const AT: &str = "/verify/secret";
    let secret = &verify["secret"];
    let several = secret.as_array().map(Vec::as_slice);
    if several.is_some_and(|several| several.is_empty() || several.len() > MAX_SECRETS) {
        return vec![Mistake::new(AT, format!("1 to {MAX_SECRETS} secrets are taken"))];
    }
    let is_standard = verify["type"] == "standard_webhooks";
    let mut found = Vec::new();
    for (i, text) in several.unwrap_or(std::slice::from_ref(secret)).iter().enumerate() {
        let Some(text) = text.as_str().filter(|text| !text.contains("{{")) else { continue };
        let detail = if text.trim().is_empty() {
            "cannot be empty"
        } else if is_standard && key_of(text).is_none() {
            "must be `whsec_` and at least 24 bytes as base64, or `whpk_` and an ed25519 key of 32 bytes as base64"
        } else {
            continue;
        };
        found.push(Mistake::new(if several.is_some() { format!("{AT}/{i}") } else { AT.to_owned() }, detail));
    }
    found
}

/// A Standard Webhooks key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// Of HMAC.
    Shared(Vec<u8>),
    /// The public one of an ed25519 pair.
    Public(Vec<u8>),
}

/// What a Standard Webhooks secret says.
#[must_use]
pub fn key_of(text: &str) -> Option<Key> {
    match text.strip_prefix("whpk_") {
        Some(public) => STANDARD.decode(public).ok().filter(|key| key.len() == 32).map(Key::Public),
        None => {
            let shared = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
            (shared.len() >= SHORTEST_KEY).then_some(Key::Shared(shared))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(settings: Value) -> Vec<String> {
        KIND.mistakes(&settings).into_iter().map(|mistake| mistake.pointer).collect()
    }

    #[test]
    fn every_kind_of_check_is_written_in_its_own_way() {
        for verify in [
            json!({"type": "standard_webhooks", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "tolerance": "90s"}),
            json!({"type": "standard_webhooks", "secret": ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", {"secret": "OTHER"}]}),
            json!({"type": "github", "secret": {"secret": "GITHUB"}}),
            json!({"type": "stripe", "secret": ["whsec_1", "{{secrets.OLD}}"], "tolerance": "1h"}),
            json!({"type": "slack", "secret": {"sealed": "x"}}),
            json!({"type": "shared_secret", "secret": "s", "header": "Authorization"}),
            json!({"type": "none"}),
        ] {
            let settings =
                json!({"verify": verify, "event_type": "a.{{payload.b.0}}", "source": "s", "headers": ["X-A"]});
            assert!(places(settings.clone()).is_empty(), "{:?}", KIND.mistakes(&settings));
        }
    }

    #[test]
    fn mistakes_are_named_at_their_place() {
        let with = |verify: Value| places(json!({ "verify": verify }));
        assert_eq!(places(json!({})), ["/verify"]);
        assert_eq!(with(json!({"type": "github", "secret": ""})), ["/verify/secret"]);
        assert_eq!(with(json!({"type": "github", "secret": []})), ["/verify/secret"]);
        assert_eq!(with(json!({"type": "github", "secret": ["a", ""]})), ["/verify/secret/1"]);
        assert_eq!(with(json!({"type": "standard_webhooks", "secret": "whsec_AAAA"})), ["/verify/secret"]);
        for tolerance in ["", "5", "0s", "25h", "-5m"] {
            let verify = json!({"type": "slack", "secret": "s", "tolerance": tolerance});
            assert_eq!(with(verify), ["/verify/tolerance"], "{tolerance}");
        }
        let verify = json!({"type": "shared_secret", "secret": "s", "header": "a b"});
        assert_eq!(with(verify), ["/verify/header"]);
        let settings = json!({"verify": {"type": "none"}, "event_type": "{{record.x}}", "source": "", "headers": [""]});
        assert_eq!(places(settings), ["/event_type", "/source", "/headers/0"]);
        assert_eq!(places(json!({"verify": {"type": "none"}, "envs": {"prd": {}}})), ["/envs"]);
        assert!(!places(json!({"verify": {"type": "none"}, "token": "mine"})).is_empty());
    }

    #[test]
    fn a_tolerance_is_five_minutes_unless_it_is_said() {
        let verify = |settings: Value| serde_json::from_value::<Verify>(settings).unwrap().tolerance().as_secs();
        assert_eq!(verify(json!({"type": "slack", "secret": "s"})), 300);
        assert_eq!(verify(json!({"type": "slack", "secret": "s", "tolerance": "1h 30m"})), 5400);
    }
}
