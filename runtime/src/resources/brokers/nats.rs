//! NATS and JetStream.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::nats::{SCHEMES, Server, credentials_mistake, subject};
use crate::connections::stream::{self, Address};

/// A NATS server.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Nats {
    /// `nats://[user:password@]host[:port]`, or `tls://` where TLS is a must.
    pub url: String,
    /// Who logs in, where the URL does not say.
    pub username: Option<String>,
    /// With what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub password: Option<String>,
    /// A token, where the server wants one.
    pub token: Option<String>,
    /// The text of a credentials file (`.creds`), or an nkey seed.
    pub credentials: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// `true`: a message is done once a stream has stored it. `false`: once the server has taken it, whoever listens.
    #[serde(default)]
    pub jetstream: bool,
    /// The subjects that may be published to, as NATS writes them: `orders.*`, `orders.>`. Left out, any.
    pub subjects: Option<Vec<String>>,
    /// Put in front of every topic.
    #[serde(default)]
    pub prefix: String,
}

impl Nats {
    /// Where it is, and who logs in.
    #[must_use]
    pub fn server(&self) -> Server {
        Server {
            url: self.url.clone(),
            ca: self.ca.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            token: self.token.clone(),
            credentials: self.credentials.clone(),
            jetstream: self.jetstream,
        }
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = stream::mistakes(settings, SCHEMES);
    let text = |name: &str| settings.get(name).and_then(Value::as_str).filter(|text| !text.contains("{{"));
    if text("url")
        .and_then(|url| Address::parse(url, SCHEMES).ok())
        .is_some_and(|a| a.username.is_some() && a.password.is_none())
    {
        // It would be shown: what is sealed of a URL is a password.
        found.push(Mistake::new("/url", "a token stands in `token`; a user's name, with `password`, in `username`"));
    }
    found.extend(text("credentials").and_then(credentials_mistake).map(|detail| Mistake::new("/credentials", detail)));
    let patterns = settings.get("subjects").and_then(Value::as_array).into_iter().flatten().enumerate();
    found.extend(patterns.filter_map(|(i, pattern)| {
        let detail = subject::pattern_mistake(pattern.as_str().unwrap_or_default())?;
        Some(Mistake::new(format!("/subjects/{i}"), detail))
    }));
    found
}
