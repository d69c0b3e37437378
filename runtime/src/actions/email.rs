//! `notification.email`: a message of a notification service, or one that the action brings along.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::{Action, Context, Use, uses};
use crate::failed::{Failed, outcome};
use crate::mail::{self, Attachment, Composed, Letter, MessageTemplate};
use crate::resources::{Identity, Message, Notification, Resolved};

/// Who development mode's messages are from where no resource says.
const DEVELOPMENT_SENDER: &str = "triggerd@localhost.localdomain";

/// `notification.email`
pub struct Email;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `TAG:MESSAGE` for a message of the service, or `TAG` with `subject` and a body given here.
    notification: String,
    /// An address, or several: `ann@example.com` or `Ann <ann@example.com>`.
    recipients: Value,
    /// Addresses of those who get a copy.
    #[serde(default)]
    cc: Value,
    /// Addresses of those who get a copy that the others do not see.
    #[serde(default)]
    bcc: Value,
    /// Variables of the message's subject, or the subject itself.
    #[serde(default)]
    subject: Value,
    /// Variables of the message's body.
    #[serde(default)]
    template: Map<String, Value>,
    /// The same as `template`.
    #[serde(default)]
    variables: Map<String, Value>,
    /// With a bare `TAG`: the body, as text or as `{"text": ..., "html": ...}`.
    #[serde(default)]
    body: Value,
    /// With a bare `TAG`: the body as plain text.
    text: Option<String>,
    /// With a bare `TAG`: the body as HTML; values put into it are escaped.
    html: Option<String>,
    /// Files: `{"filename", "content" (base64), "contentType"}`.
    #[serde(default)]
    attachments: Vec<Attachment>,
}

impl Action for Email {
    const KIND: &'static str = "notification.email";
    type Config = Config;

    fn check(config: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        for field in ["recipients", "cc", "bcc"] {
            let written = config.get(field).filter(|value| !value.is_null() && !is_templated(value));
            if let Some(value) = written {
                let literal =
                    value.as_array().map_or_else(|| vec![(0, value)], |items| items.iter().enumerate().collect());
                for (index, value) in literal.into_iter().filter(|(_, value)| !is_templated(value)) {
                    mail::parse_addresses(value, &format!("/{field}/{index}"), &mut found);
                }
            }
        }
        if config.get("recipients").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            found.push(Mistake::new("/recipients", "at least one recipient is needed"));
        }
        let bare = config.get("notification").and_then(Value::as_str).is_some_and(|name| !name.contains([':', '{']));
        if bare && ["body", "text", "html"].iter().all(|field| config.get(field).is_none()) {
            found.push(Mistake::new(
                "/notification",
                "a bare tag needs a body: write `TAG:MESSAGE`, or give `subject` and `body`",
            ));
        }
        found
    }

    fn place(_config: &Value, pointer: &str) -> Place {
        match pointer {
            "/html" | "/body/html" => Place::Html,
            "/subject" => Place::Header,
            _ if ["/recipients", "/cc", "/bcc"].iter().any(|list| pointer.starts_with(list)) => Place::Header,
            _ => Place::Plain,
        }
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "notification", "notifications").into_iter().collect()
    }

    fn destination(cx: &Context, config: &Config) -> Option<String> {
        let tag = split(&config.notification).0;
        let resolved =
            cx.services.resources.resolve::<Notification>(cx.tenant(), "notifications", tag, &cx.event.env)?;
        let smtp = resolved.ok()?.settings.smtp?;
        Some(format!("smtp://{}:{}", smtp.host, smtp.port()))
    }

    async fn run(cx: Context, mut config: Config) -> Outcome {
        config.template.extend(std::mem::take(&mut config.variables));
        outcome(send(&cx, config).await)
    }
}

fn is_templated(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{"))
}

/// The tag, and the message where one is named.
fn split(notification: &str) -> (&str, Option<&str>) {
    notification.split_once(':').map_or((notification, None), |(tag, message)| (tag, Some(message)))
}

async fn send(cx: &Context, config: Config) -> Result<Value, Failed> {
    let (tag, message) = split(&config.notification);
    let found = cx.services.resources.resolve::<Notification>(cx.tenant(), "notifications", tag, &cx.event.env);
    let service = match found {
        Some(resolved) => Some(resolved?),
        // A sketch on a developer's machine needs no service; the mailbox shows it.
        None if cx.services.development && message.is_none() => None,
        None => return Err(Failed::no_resource("notifications", tag)),
    };
    let letter = letter(cx, &config, service.as_ref().map(|s| &s.settings))?;
    let composed = mail::compose(&letter).map_err(|mistakes| all(&mistakes))?;
    let names = |list: &[lettre::message::Mailbox]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let shown = json!({
        "from": letter.from.to_string(), "to": names(&letter.to), "cc": names(&letter.cc),
        "subject": letter.subject, "messageId": composed.message_id, "bytes": composed.bytes.len(),
    });
    let redactor = cx.redactor(&[]);
    cx.excerpt.lock().request = Some(redactor.value(shown));
    let message_id = composed.message_id.clone();
    let (said, via) = match server(cx, service).await {
        Some((identity, smtp)) => (hand_over(cx, &identity, &smtp, &composed).await?, "smtp"),
        None => (lay_down(cx, &config.notification, &letter, composed).await?, "mailbox"),
    };
    cx.excerpt.lock().response = Some(json!({ "via": via, "answer": redactor.text(&said) }));
    Ok(json!({ "messageId": message_id }))
}

/// The mail server that is to be used. In development a server elsewhere is spared, unless `mailbox` is `false`:
/// nobody wants to write to real customers by accident.
async fn server(cx: &Context, service: Option<Resolved<Notification>>) -> Option<(Identity, crate::resources::Smtp)> {
    let Resolved { settings, identity } = service?;
    let smtp = settings.smtp?;
    let real = match settings.mailbox {
        Some(mailbox) => !mailbox,
        None => !cx.services.development || cx.services.resources.connections().smtp.is_local(&smtp).await,
    };
    real.then_some((identity, smtp))
}

async fn hand_over(
    cx: &Context,
    identity: &Identity,
    smtp: &crate::resources::Smtp,
    composed: &Composed,
) -> Result<String, Failed> {
    let sent = cx.services.resources.connections().smtp.send(identity, smtp, &composed.envelope, &composed.bytes).await;
    sent.map_err(|error| {
        let secrets: Vec<String> = smtp.password.clone().into_iter().collect();
        let message = cx.redactor(&secrets).text(&format!("mail server of `{}`: {error}", identity.tag));
        if error.is_permanent() {
            Failed::permanent(error.code(), message)
        } else {
            Failed::transient(error.code(), message)
        }
    })
}

async fn lay_down(cx: &Context, notification: &str, letter: &Letter, composed: Composed) -> Result<String, Failed> {
    let put = cx.services.mailbox.put(cx.tenant(), notification, letter, composed).await;
    put.map(|()| "kept in the mailbox".to_owned())
        .map_err(|error| Failed::transient("STORE_UNAVAILABLE", format!("the mailbox: {error}")))
}

fn all(mistakes: &[Mistake]) -> Failed {
    let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failed::permanent("CONFIG_INVALID", text.join("; "))
}

fn letter(cx: &Context, config: &Config, service: Option<&Notification>) -> Result<Letter, Failed> {
    let mut mistakes = Vec::new();
    let mut list = |value: &Value, pointer: &str| match value {
        Value::Null => Vec::new(),
        value => mail::parse_addresses(value, pointer, &mut mistakes),
    };
    let (to, cc, bcc) = (list(&config.recipients, "/recipients"), list(&config.cc, "/cc"), list(&config.bcc, "/bcc"));
    if to.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::new("/recipients", "at least one recipient is needed"));
    }
    let tag = split(&config.notification).0;
    let sender = |field: &str, text: &str| {
        mail::parse_address(text).map_err(|detail| {
            Failed::permanent("RESOURCE_INVALID", format!("notification `{tag}`: /{field}: {detail}"))
        })
    };
    let from = sender("from", service.and_then(|s| s.from.as_deref()).unwrap_or(DEVELOPMENT_SENDER))?;
    let reply_to = service.and_then(|s| s.reply_to.as_deref()).map(|text| sender("replyTo", text)).transpose()?;
    let content = content(cx, config, service)?;
    if !mistakes.is_empty() {
        return Err(all(&mistakes));
    }
    Ok(Letter {
        from,
        reply_to,
        to,
        cc,
        bcc,
        subject: content.subject,
        text: content.text,
        html: content.html,
        attachments: config.attachments.clone(),
        id: cx.delivery_id.to_string(),
        date: cx.services.clock.now(),
    })
}

/// Subject and body: of the named message with its variables, or those that the action brings.
fn content(cx: &Context, config: &Config, service: Option<&Notification>) -> Result<Message, Failed> {
    let subject = match &config.subject {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (tag, Some(name)) = split(&config.notification) else {
        return inline(config, subject.unwrap_or_default());
    };
    let known = service.and_then(|s| s.messages.get(name)).ok_or_else(|| {
        Failed::permanent(
            "NOT_FOUND",
            format!("notification `{tag}` has no message `{name}`; PATCH /api/v1/notifications/{tag} adds it"),
        )
    })?;
    let own = config.subject.as_object().cloned().unwrap_or_default();
    // Each template sees its own variables first, and the other's behind them.
    let over = |base: &Map<String, Value>, top: &Map<String, Value>| {
        base.iter().chain(top).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<String, Value>>()
    };
    let (of_subject, of_body) = (over(&config.template, &own), over(&own, &config.template));
    let render = |field: &str, source: &str, variables: &Map<String, Value>| {
        let is_html = field == "html";
        let rendered = MessageTemplate::compile(source, is_html)
            .and_then(|template| template.render(variables, cx.services.clock.now()));
        rendered.map_err(|detail| Failed::permanent("TEMPLATE", format!("message `{tag}:{name}`: /{field}: {detail}")))
    };
    Ok(Message {
        subject: subject.map_or_else(|| render("subject", &known.subject, &of_subject), Ok)?,
        text: known.text.as_deref().map(|source| render("text", source, &of_body)).transpose()?,
        html: known.html.as_deref().map(|source| render("html", source, &of_body)).transpose()?,
    })
}

fn inline(config: &Config, subject: String) -> Result<Message, Failed> {
    let (mut text, mut html) = (config.text.clone(), config.html.clone());
    match &config.body {
        Value::Null => {}
        Value::String(body) => text = Some(body.clone()),
        Value::Object(parts) => {
            for (name, part) in parts {
                let target = match name.as_str() {
                    "text" => &mut text,
                    "html" => &mut html,
                    other => return Err(all(&[Mistake::unknown("/body", "field", other, ["text", "html"])])),
                };
                *target = part.as_str().map(str::to_owned);
            }
        }
        other => text = Some(other.to_string()),
    }
    Ok(Message { subject, text, html })
}
