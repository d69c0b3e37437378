//! The kind `notifications`: what carries e-mail, SMS, push messages and callbacks, one file each, and the messages
//! that triggers name.

mod callback;
mod message;
mod preview;
mod push;
mod sms;
mod smtp;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::{Mistake, join};

pub use callback::Callback;
pub use message::{CallbackPart, Message, PushPart, SmsPart};
pub use push::{Apns, Fcm, Push, ServiceAccount, Urgency, WebPush};
pub use sms::{Gateway, Sms, Twilio};
pub use smtp::{Smtp, Tls};

use super::Kind;
use crate::connections::Connections;
use crate::mail;

/// The longest that trying the services may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A notification service's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Notification {
    /// The mail server. Without one, messages go to the mailbox.
    pub smtp: Option<Smtp>,
    /// What sends SMS. Without one they go to the mailbox in development, and nowhere else.
    pub sms: Option<Sms>,
    /// What delivers push messages. Without one they go to the mailbox in development, and nowhere else.
    pub push: Option<Push>,
    /// Where callbacks go.
    pub callback: Option<Callback>,
    /// `true`: messages go to the mailbox, whatever else is set. `false`: to the services, in development too.
    /// Callbacks are always sent.
    pub mailbox: Option<bool>,
    /// The sender: `orders@example.com` or `Orders <orders@example.com>`.
    pub from: Option<String>,
    /// Where answers go, where not to the sender.
    pub reply_to: Option<String>,
    /// What can be sent, by name: what follows the colon in `TAG:MESSAGE`.
    #[serde(default)]
    pub messages: BTreeMap<String, Message>,
}

pub(super) const KIND: Kind = Kind {
    name: "notifications",
    schema: || schemars::schema_for!(Notification).to_value(),
    normal: push::normal,
    check,
    raw: &["messages", "sms/body", "sms/query"],
    hidden: false,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            let settings: Notification = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            let tried = tokio::time::timeout(CHECK_TIMEOUT, connect(&connections, &settings)).await;
            tried.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())))
        })
    },
};

/// Tries every service that is set; the first that does not work is told.
async fn connect(connections: &Connections, settings: &Notification) -> Result<String, String> {
    let mut found = Vec::new();
    let mailbox = settings.mailbox == Some(true);
    match &settings.smtp {
        Some(smtp) if !mailbox => found.push(connections.smtp.check(smtp).await?),
        None if settings.sms.is_some() || settings.push.is_some() || settings.callback.is_some() => {}
        _ => found.push("messages go to the mailbox".to_owned()),
    }
    if let Some(sms) = settings.sms.as_ref().filter(|_| !mailbox) {
        found.push(connections.sms.check(sms).await.map_err(|detail| format!("sms: {detail}"))?);
    }
    if let Some(push) = settings.push.as_ref().filter(|_| !mailbox) {
        found.push(connections.push.check(push).await.map_err(|detail| format!("push: {detail}"))?);
    }
    if let Some(callback) = &settings.callback {
        let url = connections.egress.check_url(&callback.url).map_err(|error| format!("/callback/url: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let opened = connections.egress.connect_tcp(host, url.port_or_known_default().unwrap_or(443)).await;
        opened.map_err(|error| format!("callback: {error}"))?;
        found.push("the receiver of callbacks accepts connections".to_owned());
    }
    Ok(found.join("; "))
}

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
    for (field, check) in [("sms", sms::check as fn(&Value) -> _), ("push", push::check), ("callback", callback::check)]
    {
        let mistakes: Vec<Mistake> = settings.get(field).filter(|own| own.is_object()).map(check).unwrap_or_default();
        found.extend(mistakes.into_iter().map(|m| m.under(&join("", field))));
    }
    for (name, message) in settings.get("messages").and_then(Value::as_object).into_iter().flatten() {
        found.extend(message::check(message).into_iter().map(|m| m.under(&join("/messages", name))));
    }
    found
}

/// What can be seen of a URL in settings; one with a placeholder is seen when it is used.
fn url_mistake(settings: &Value, field: &str) -> Option<Mistake> {
    let text = settings.get(field)?.as_str().filter(|text| !text.contains("{{"))?;
    let fits = reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    (!fits).then(|| Mistake::new(format!("/{field}"), format!("`{text}` is not a URL like `https://host/path`")))
}
