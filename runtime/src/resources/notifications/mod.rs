//! The kind `notifications`: a mail server (or the mailbox), a sender, and the messages that triggers name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::{Mistake, join};

use super::Kind;
use crate::mail;

/// A notification service's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Notification {
    /// The mail server. Without one, messages go to the mailbox.
    pub smtp: Option<Smtp>,
    /// `true`: messages go to the mailbox, whatever `smtp` says. `false`: to the mail server, in development too.
    pub mailbox: Option<bool>,
    /// The sender: `orders@example.com` or `Orders <orders@example.com>`.
    pub from: Option<String>,
    /// Where answers go, where not to the sender.
    pub reply_to: Option<String>,
    /// What can be sent, by name: what follows the colon in `TAG:MESSAGE`.
    #[serde(default)]
    pub messages: BTreeMap<String, Message>,
}

/// A mail server.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port; by default 465 with `tls`, 587 with `starttls`, 25 with `none`.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// `tls` from the first byte, `starttls`, or `none`.
    #[serde(default)]
    pub tls: Tls,
    /// Who logs in; left out, nobody does.
    pub username: Option<String>,
    /// With what; `{"secret": "NAME"}` or `{{secrets.NAME}}` keeps it out of the settings.
    pub password: Option<String>,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
}

/// How the connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all.
    None,
    /// By STARTTLS, which the server must offer.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

/// A message with templates over the variables that the action brings.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The subject.
    #[serde(default)]
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML; values put into it are escaped.
    pub html: Option<String>,
}

impl Smtp {
    /// The port, or the one that goes with the protection.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        })
    }
}

pub(super) const KIND: Kind = Kind {
    name: "notifications",
    schema: || schemars::schema_for!(Notification).to_value(),
    normal: |settings| settings,
    check,
    raw: &["messages"],
    hidden: false,
    connect: |connections, settings| {
        Box::pin(async move {
            let settings: Notification = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            match &settings.smtp {
                Some(smtp) if settings.mailbox != Some(true) => connections.smtp.check(smtp).await,
                _ => Ok("messages go to the mailbox".to_owned()),
            }
        })
    },
};

fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for field in ["from", "replyTo"] {
        if let Some(text) = settings.get(field).and_then(Value::as_str).filter(|text| !text.contains("{{"))
            && let Err(detail) = mail::parse_address(text)
        {
            found.push(Mistake::new(format!("/{field}"), detail));
        }
    }
    let smtp = settings.get("smtp").filter(|smtp| smtp.is_object());
    if smtp.is_some() && settings.get("from").is_none() {
        found.push(Mistake::new("/from", "`from` is required with `smtp`: the sender's address"));
    }
    for (name, message) in settings.get("messages").and_then(Value::as_object).into_iter().flatten() {
        let at = join("/messages", name);
        for (field, is_html) in [("subject", false), ("text", false), ("html", true)] {
            if let Some(source) = message.get(field).and_then(Value::as_str)
                && let Err(detail) = mail::MessageTemplate::compile(source, is_html)
            {
                found.push(Mistake::new(join(&at, field), detail));
            }
        }
        if message.get("text").is_none() && message.get("html").is_none() {
            found.push(Mistake::new(at, "a message needs `text`, `html` or both"));
        }
    }
    found
}
