//! What the `notification.*` actions share: the service and message that are named, variables, and where messages go
//! in development.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use triggerd_core::mistake::Mistake;

use super::Context;
use crate::failed::Failed;
use crate::mail::{MessageTemplate, Stored};
use crate::resources::{Message, Notification, Resolved};

/// How many recipients are shown of an attempt, and how many in a failure's words.
pub(super) const SHOWN: usize = 20;
pub(super) const TOLD: usize = 5;
/// The most recipients of one action.
pub(super) const MAX_RECIPIENTS: usize = 500;

/// The service that an action names, and the message.
pub(super) struct Named<'c> {
    cx: &'c Context,
    /// The service's tag.
    pub tag: &'c str,
    /// The message's name, where one is named.
    pub message: Option<&'c str>,
    /// The service; `None` for a sketch on a developer's machine.
    pub service: Option<Arc<Resolved<Notification>>>,
}

/// The tag, and the message where one is named.
pub(super) fn split(notification: &str) -> (&str, Option<&str>) {
    notification.split_once(':').map_or((notification, None), |(tag, message)| (tag, Some(message)))
}

/// The service's settings, where they can be had.
pub(super) fn service(cx: &Context, notification: &str) -> Option<Arc<Resolved<Notification>>> {
    let tag = split(notification).0;
    let resolved = cx.services.resources.resolve::<Notification>(cx.tenant(), "notifications", tag, &cx.event.env)?;
    resolved.ok()
}

/// What attempts in flight to the URL are counted for.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = crate::egress::Url::parse(url).ok()?;
    Some(format!("{}://{}:{}", url.scheme(), url.host_str()?, url.port_or_known_default()?))
}

pub(super) fn is_templated(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{"))
}

/// Whether the settings name a service alone, so that the message has to stand in them.
pub(super) fn is_bare(config: &Value) -> bool {
    config.get("notification").and_then(Value::as_str).is_some_and(|name| !name.contains([':', '{']))
}

/// A list, or one value that stands for a list of it; null is none.
pub(super) fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.clone(),
        single => vec![single.clone()],
    }
}

/// What is wrong with the number of recipients.
pub(super) fn count_mistake(pointer: &str, count: usize) -> Option<Mistake> {
    match count {
        0 => Some(Mistake::new(pointer, "at least one recipient is needed")),
        1..=MAX_RECIPIENTS => None,
        more => Some(Mistake::new(pointer, format!("at most {MAX_RECIPIENTS} recipients, not {more}"))),
    }
}

/// The first of many, for what is kept and told.
pub(super) fn few(items: &[Value], most: usize) -> Value {
    let mut shown: Vec<Value> = items.iter().take(most).cloned().collect();
    if items.len() > most {
        shown.push(format!("and {} more", items.len() - most).into());
    }
    shown.into()
}

/// A text, at most 2048 characters of it, for what is kept.
pub(super) fn brief(text: &str) -> String {
    text.chars().take(2048).collect()
}

pub(super) fn all(mistakes: &[Mistake]) -> Failed {
    let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Failed::permanent("CONFIG_INVALID", text.join("; "))
}

/// Variables: those of `top` hide those of `base`.
pub(super) fn over(base: &Map<String, Value>, top: &Map<String, Value>) -> Map<String, Value> {
    base.iter().chain(top).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A setting that holds a template's variables, or the text itself.
pub(super) enum Given {
    Variables(Map<String, Value>),
    Text(String),
}

impl Given {
    pub fn read(value: &Value, pointer: &str) -> Result<Self, Failed> {
        match value {
            Value::Null => Ok(Self::Variables(Map::new())),
            Value::Object(variables) => Ok(Self::Variables(variables.clone())),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Number(number) => Ok(Self::Text(number.to_string())),
            _ => Err(all(&[Mistake::new(pointer, "must be a text, or an object of variables")])),
        }
    }

    /// The variables; a text has none.
    pub fn variables(&self) -> Map<String, Value> {
        match self {
            Self::Variables(variables) => variables.clone(),
            Self::Text(_) => Map::new(),
        }
    }
}

impl<'c> Named<'c> {
    /// The service and the message of `TAG:MESSAGE` or `TAG`.
    pub fn find(cx: &'c Context, notification: &'c str) -> Result<Self, Failed> {
        let (tag, message) = split(notification);
        let found = cx.services.resources.resolve::<Notification>(cx.tenant(), "notifications", tag, &cx.event.env);
        let service = match found {
            Some(resolved) => Some(resolved?),
            // A sketch on a developer's machine needs no service; the mailbox shows it.
            None if cx.services.development && message.is_none() => None,
            None => return Err(Failed::no_resource("notifications", tag)),
        };
        Ok(Self { cx, tag, message, service })
    }

    /// The service's settings.
    pub fn settings(&self) -> Option<&Notification> {
        self.service.as_ref().map(|service| &service.settings)
    }

    /// The message that is named; `None` for a bare tag.
    pub fn stored(&self) -> Result<Option<&Message>, Failed> {
        let (tag, Some(name)) = (self.tag, self.message) else { return Ok(None) };
        let known = self.settings().and_then(|service| service.messages.get(name));
        known.map(Some).ok_or_else(|| {
            let remedy = format!("PATCH /api/v1/notifications/{tag} adds it");
            Failed::permanent("NOT_FOUND", format!("notification `{tag}` has no message `{name}`; {remedy}"))
        })
    }

    /// A named message's part for one kind of service.
    pub fn part<'m, P>(&self, part: Option<&'m P>, kind: &str) -> Result<&'m P, Failed> {
        part.ok_or_else(|| {
            let (tag, name) = (self.tag, self.message.unwrap_or_default());
            let remedy = format!("PATCH /api/v1/notifications/{tag} adds it");
            Failed::permanent("NOT_FOUND", format!("message `{tag}:{name}` has no `{kind}`; {remedy}"))
        })
    }

    /// A template of the message.
    pub fn render(&self, field: &str, source: &str, variables: &Map<String, Value>) -> Result<String, Failed> {
        let rendered = MessageTemplate::compile(source, field == "html")
            .and_then(|template| template.render(variables, self.cx.services.clock.now()));
        rendered.map_err(|detail| self.unrendered(field, &detail))
    }

    /// A JSON template of the message.
    pub fn render_json(&self, field: &str, source: &Value, variables: &Map<String, Value>) -> Result<Value, Failed> {
        let rendered = MessageTemplate::render_json(source, variables, self.cx.services.clock.now());
        rendered.map_err(|detail| self.unrendered(field, &detail))
    }

    fn unrendered(&self, field: &str, detail: &str) -> Failed {
        let name = self.message.unwrap_or_default();
        Failed::permanent("TEMPLATE", format!("message `{}:{name}`: /{field}: {detail}", self.tag))
    }

    /// What the service lacks for this kind of message.
    pub fn lacks(&self, kind: &str) -> Failed {
        let tag = self.tag;
        let message = format!("notification `{tag}` has no `{kind}`; PATCH /api/v1/notifications/{tag} adds it");
        Failed::permanent("RESOURCE_INVALID", message)
    }

    /// Whether messages of a service that is not set, or that is elsewhere, go to the mailbox. In development nobody
    /// wants to write to real customers by accident; `"mailbox": false` says that it is no accident.
    pub fn spares(&self, is_set: bool, is_local: bool) -> bool {
        match self.settings().and_then(|service| service.mailbox) {
            Some(mailbox) => mailbox,
            None => self.cx.services.development && !(is_set && is_local),
        }
    }

    /// Lays a message that is no e-mail into the mailbox.
    pub async fn lay_down(&self, message: Stored) -> Result<(), Failed> {
        let put = self.cx.services.mailbox.put_stored(self.cx.tenant(), message).await;
        put.map_err(|error| Failed::transient("STORE_UNAVAILABLE", format!("the mailbox: {error}")))?;
        self.cx.excerpt.lock().response = Some(json!({ "via": "mailbox", "answer": "kept in the mailbox" }));
        Ok(())
    }

    /// A message for the mailbox.
    pub fn sketch(&self, kind: &str, to: Vec<String>) -> Stored {
        Stored {
            kind: kind.to_owned(),
            id: self.cx.delivery_id.to_string(),
            notification: self.message.map_or_else(|| self.tag.to_owned(), |name| format!("{}:{name}", self.tag)),
            to,
            at: self.cx.services.clock.now(),
            ..Stored::default()
        }
    }
}
