//! `notification.email`: a message of a notification service, or one that the action brings along.

use lettre::Address;
use lettre::address::Envelope;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;
use triggerd_core::path::Path;

use super::notification::{self, Named, all, is_templated, over};
use super::recipients::{Fate, Progress};
use super::{Action, Context, Use, uses};
use crate::connections::smtp;
use crate::failed::{Failed, outcome};
use crate::mail::{self, Attachment, Composed, Letter};
use crate::resources::{Identity, Message, Smtp};

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
    /// Files: `{"filename", "contentType"}` with `content` (base64), `text`, or `dataField` (where in the record the base64
    /// is).
    #[serde(default)]
    attachments: Vec<Attachment>,
}

impl Action for Email {
    const KIND: &'static str = "notification.email";
    const READS_EVENT: bool = false;
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
        if notification::is_bare(config) && ["body", "text", "html"].iter().all(|field| config.get(field).is_none()) {
            found.push(Mistake::new(
                "/notification",
                "a bare tag needs a body: write `TAG:MESSAGE`, or give `subject` and `body`",
            ));
        }
        found.extend(attachment_mistakes(config));
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
        let service = notification::service(cx, &config.notification)?;
        let smtp = service.settings.smtp.as_ref()?;
        Some(format!("smtp://{}:{}", smtp.host, smtp.port()))
    }

    async fn run(cx: Context, mut config: Config) -> Outcome {
        config.template.extend(std::mem::take(&mut config.variables));
        outcome(send(&cx, config).await)
    }
}

/// Mistakes in attachments that are written out.
fn attachment_mistakes(config: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (index, one) in config.get("attachments").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let at = format!("/attachments/{index}");
        let sources = ["content", "text", "dataField"].iter().filter(|field| one.get(**field).is_some()).count();
        if sources != 1 {
            found.push(Mistake::new(&at, "one of `content`, `text` and `dataField` is needed"));
        }
        let path = one.get("dataField").and_then(Value::as_str).filter(|path| !path.contains("{{"));
        if let Some(Err(detail)) = path.map(Path::parse_in_record) {
            found.push(Mistake::new(format!("{at}/dataField"), detail));
        }
    }
    found
}

async fn send(cx: &Context, config: Config) -> Result<Value, Failed> {
    let named = Named::find(cx, &config.notification)?;
    let letter = letter(cx, &config, &named)?;
    let composed = mail::compose(&letter).map_err(|mistakes| all(&mistakes))?;
    let names = |list: &[lettre::message::Mailbox]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let shown = json!({
        "from": letter.from.to_string(), "to": names(&letter.to), "cc": names(&letter.cc),
        "subject": letter.subject, "messageId": composed.message_id, "bytes": composed.bytes.len(),
    });
    let redactor = cx.redactor(&[]);
    cx.excerpt.lock().request = Some(redactor.value(shown));
    let mut output = json!({ "messageId": composed.message_id });
    match server(cx, &named).await {
        Some((identity, smtp)) => {
            let refused = hand_over(cx, identity, smtp, &composed).await?;
            if !refused.is_empty() {
                output["refused"] = redactor.value(refused.into());
            }
        }
        None => {
            let put = cx.services.mailbox.put(cx.tenant(), &config.notification, &letter, composed).await;
            put.map_err(|error| Failed::transient("STORE_UNAVAILABLE", format!("the mailbox: {error}")))?;
            cx.excerpt.lock().response = Some(json!({ "via": "mailbox", "answer": "kept in the mailbox" }));
        }
    }
    Ok(output)
}

/// The mail server that is to be used. In development a server elsewhere is spared, unless `mailbox` is `false`:
/// nobody wants to write to real customers by accident.
async fn server<'n>(cx: &Context, named: &'n Named<'_>) -> Option<(&'n Identity, &'n Smtp)> {
    let service = named.service.as_ref()?;
    let smtp = service.settings.smtp.as_ref()?;
    let is_local = cx.services.resources.connections().smtp.is_local(smtp).await;
    (!named.spares(true, is_local)).then_some((&service.identity, smtp))
}

/// Hands the message to the server for those who have not got it from an earlier attempt; answers with those that the
/// server refused for good.
async fn hand_over(cx: &Context, identity: &Identity, smtp: &Smtp, composed: &Composed) -> Result<Vec<Value>, Failed> {
    let everybody = composed.envelope.to();
    let mut progress = Progress::load(cx, everybody.len()).await?;
    let remaining: Vec<Address> = everybody.iter().filter(|to| progress.fate(to.as_ref()).is_none()).cloned().collect();
    let mut later = None;
    if !remaining.is_empty() {
        let envelope = Envelope::new(composed.envelope.from().cloned(), remaining.clone());
        let envelope = envelope.map_err(|error| Failed::permanent("INTERNAL", error.to_string()))?;
        let smtps = &cx.services.resources.connections().smtp;
        let delivered = smtps.send(identity, smtp, &envelope, &composed.bytes).await;
        let delivered = delivered.map_err(|error| failed(cx, identity, smtp, &error))?;
        for to in &remaining {
            match delivered.refused.iter().find(|(refused, _)| refused == to) {
                None => progress.note(to.as_ref(), Fate::Taken(composed.message_id.clone())),
                Some((_, error)) => {
                    let failed = failed(cx, identity, smtp, error);
                    if failed.retryable {
                        later = Some(failed);
                    } else {
                        progress.note(to.as_ref(), Fate::Refused(failed.failure));
                    }
                }
            }
        }
        let said = cx.redactor(&[]).text(&delivered.answer);
        cx.excerpt.lock().response = Some(json!({ "via": "smtp", "answer": said }));
    }
    if let Some(mut failed) = later {
        progress.write().await?;
        failed.failure.message += "; the other recipients have the message and do not get it again";
        return Err(failed);
    }
    progress.forget().await?;
    let of = |to: &Address| match progress.fate(to.as_ref()) {
        Some(Fate::Refused(failure)) => {
            Some(json!({ "recipient": to.to_string(), "code": failure.code, "message": failure.message }))
        }
        _ => None,
    };
    Ok(everybody.iter().filter_map(of).collect())
}

fn failed(cx: &Context, identity: &Identity, smtp: &Smtp, error: &smtp::Error) -> Failed {
    let secrets: Vec<String> = smtp.password.clone().into_iter().collect();
    let message = cx.redactor(&secrets).text(&format!("mail server of `{}`: {error}", identity.tag));
    if error.is_permanent() {
        Failed::permanent(error.code(), message)
    } else {
        Failed::transient(error.code(), message)
    }
}

fn letter(cx: &Context, config: &Config, named: &Named<'_>) -> Result<Letter, Failed> {
    let service = named.settings();
    let mut mistakes = Vec::new();
    let mut list = |value: &Value, pointer: &str| match value {
        Value::Null => Vec::new(),
        value => mail::parse_addresses(value, pointer, &mut mistakes),
    };
    let (to, cc, bcc) = (list(&config.recipients, "/recipients"), list(&config.cc, "/cc"), list(&config.bcc, "/bcc"));
    if to.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::new("/recipients", "at least one recipient is needed"));
    }
    let tag = named.tag;
    let sender = |field: &str, text: &str| {
        mail::parse_address(text).map_err(|detail| {
            Failed::permanent("RESOURCE_INVALID", format!("notification `{tag}`: /{field}: {detail}"))
        })
    };
    let from = sender("from", service.and_then(|s| s.from.as_deref()).unwrap_or(DEVELOPMENT_SENDER))?;
    let reply_to = service.and_then(|s| s.reply_to.as_deref()).map(|text| sender("replyTo", text)).transpose()?;
    let content = content(config, named)?;
    let attachments = attachments(cx, &config.attachments, &mut mistakes);
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
        attachments,
        id: cx.delivery_id.to_string(),
        date: cx.services.clock.now(),
    })
}

/// The attachments with what the record brings of them.
fn attachments(cx: &Context, written: &[Attachment], mistakes: &mut Vec<Mistake>) -> Vec<Attachment> {
    let mut attachments = written.to_vec();
    for (index, attachment) in attachments.iter_mut().enumerate() {
        let Some(field) = attachment.data_field.take() else { continue };
        let found =
            Path::parse_in_record(&field).map(|path| path.find(&cx.event).and_then(|v| v.as_str().map(str::to_owned)));
        match found {
            Ok(Some(content)) if attachment.content.is_none() => attachment.content = Some(content),
            Ok(_) => mistakes.push(Mistake::new(
                format!("/attachments/{index}/dataField"),
                format!("the record has no text at `{field}`, or `content` is given too"),
            )),
            Err(detail) => mistakes.push(Mistake::new(format!("/attachments/{index}/dataField"), detail)),
        }
    }
    attachments
}

/// Subject and body: of the named message with its variables, or those that the action brings.
fn content(config: &Config, named: &Named<'_>) -> Result<Message, Failed> {
    let subject = match &config.subject {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let Some(known) = named.stored()? else { return inline(config, subject.unwrap_or_default()) };
    let own = config.subject.as_object().cloned().unwrap_or_default();
    // Each template sees its own variables first, and the other's behind them.
    let (of_subject, of_body) = (over(&config.template, &own), over(&own, &config.template));
    let render = |field: &str, source: &str| named.render(field, source, &of_body);
    Ok(Message {
        subject: subject.map_or_else(|| named.render("subject", &known.subject, &of_subject), Ok)?,
        text: known.text.as_deref().map(|source| render("text", source)).transpose()?,
        html: known.html.as_deref().map(|source| render("html", source)).transpose()?,
        ..Message::default()
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
    Ok(Message { subject, text, html, ..Message::default() })
}
