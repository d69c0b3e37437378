//! `notification.push`: a message to apps and browsers, each once.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::notification::{self, Given, Named, SHOWN, TOLD, all, over};
use super::recipients::Fate;
use super::{Action, Context, Use, recipients, uses};
use crate::connections::push::{Device, Message, REFUSED, Subscription, TOKEN_INVALID};
use crate::connections::unsent::Unsent;
use crate::failed::{Failed, outcome};

/// `notification.push`
pub struct Push;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `TAG:MESSAGE` for a message of the service, or `TAG` with `title` and `body` given here.
    notification: String,
    /// Device tokens (Firebase, Apple) and Web Push subscriptions (`{"endpoint", "keys": {"p256dh", "auth"}}`).
    device_tokens: Value,
    /// Variables of the message's title, or the title itself.
    #[serde(default)]
    title: Value,
    /// Variables of the message's text, or the text itself.
    #[serde(default)]
    body: Value,
    /// What the app gets with it, over the message's own.
    #[serde(default)]
    data: Map<String, Value>,
}

impl Action for Push {
    const KIND: &'static str = "notification.push";
    const READS_EVENT: bool = false;
    type Config = Config;

    fn check(config: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        let written = config.get("device_tokens").filter(|value| !notification::is_templated(value));
        if let Some(written) = written {
            let literal = notification::list(written);
            found.extend(notification::count_mistake("/device_tokens", literal.len()));
            let fits = |token: &Value| token.is_string() || token.get("endpoint").is_some();
            for (index, _) in literal.iter().enumerate().filter(|(_, token)| !fits(token)) {
                let detail = "must be a device token or a Web Push subscription with its `endpoint` and `keys`";
                found.push(Mistake::new(format!("/device_tokens/{index}"), detail));
            }
        }
        let empty = ["title", "body"].iter().all(|field| !config.get(field).is_some_and(Value::is_string));
        if notification::is_bare(config) && empty && config.get("data").is_none() {
            found
                .push(Mistake::new("/body", "a bare tag needs `title`, `body` or `data` here, or write `TAG:MESSAGE`"));
        }
        found
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "notification", "notifications").into_iter().collect()
    }

    fn destination(cx: &Context, config: &Config) -> Option<String> {
        let service = notification::service(cx, &config.notification)?;
        let push = service.settings.push.as_ref()?;
        let first = notification::list(&config.device_tokens).into_iter().next()?;
        match first {
            Value::String(token) => match push.device(&token) {
                Device::Apns(_) => notification::origin(push.apns.as_ref()?.base_url()),
                _ => notification::origin(push.fcm.as_ref()?.base_url()),
            },
            subscription => notification::origin(subscription.get("endpoint")?.as_str()?),
        }
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        outcome(send(&cx, &config).await)
    }
}

/// A device token as it is written, and what it says.
struct Target {
    written: Value,
    device: Option<Device>,
}

async fn send(cx: &Context, config: &Config) -> Result<Value, Failed> {
    let named = Named::find(cx, &config.notification)?;
    let message = message(&named, config)?;
    let push = named.settings().and_then(|settings| settings.push.as_ref());
    let mut targets: Vec<Target> = Vec::new();
    for written in notification::list(&config.device_tokens) {
        if targets.iter().all(|known| known.written != written) {
            targets.push(Target { device: device(&written, push), written });
        }
    }
    if let Some(mistake) = notification::count_mistake("/device_tokens", targets.len()) {
        return Err(all(&[mistake]));
    }
    let names: Vec<String> = targets.iter().map(|target| name(&target.written)).collect();
    let shown: Vec<Value> = names.iter().map(|name| name.as_str().into()).collect();
    cx.excerpt.lock().request = Some(cx.redactor(&[]).value(json!({
        "to": notification::few(&shown, SHOWN), "title": message.title.as_deref().map(notification::brief),
        "body": message.body.as_deref().map(notification::brief),
        "data": notification::brief(&Value::from(message.data.clone()).to_string()),
    })));
    let clients = cx.services.resources.connections();
    let mut is_local = push.is_some();
    for device in targets.iter().filter_map(|target| target.device.as_ref()) {
        is_local = is_local && clients.push.is_local(push.ok_or_else(|| named.lacks("push"))?, device).await;
    }
    let spared = named.spares(push.is_some(), is_local);
    let known =
        |i: usize| targets[i].device.as_ref().ok_or_else(|| Unsent::refused(TOKEN_INVALID, "this is no device token"));
    let fates = if spared {
        let names = &names;
        recipients::send(cx, names, |i| {
            let known = known(i).map(|_| recipients::id(cx, &names[i]).to_string());
            async move { known }
        })
        .await?
    } else {
        let (Some(push), Some(service)) = (push, &named.service) else { return Err(named.lacks("push")) };
        let (message, names) = (&message, &names);
        let one = |i: usize| {
            let device = known(i);
            async move {
                let (id, now) = (recipients::id(cx, &names[i]), cx.services.clock.now());
                clients.push.send(&service.identity, push, device?, message, id, now).await
            }
        };
        recipients::send(cx, names, one).await?
    };
    let output = output(&targets, &names, &fates)?;
    if spared {
        let mut sketch = named.sketch("push", names);
        sketch.subject = message.title.unwrap_or_default();
        sketch.text = message.body;
        sketch.data = Some(message.data.into());
        named.lay_down(sketch).await?;
    } else {
        cx.excerpt.lock().response = Some(cx.redactor(&[]).value(recipients::shown(&output)));
    }
    Ok(output)
}

/// `{ids, invalid, failed}`; a failure where nobody has it.
fn output(targets: &[Target], names: &[String], fates: &[Fate]) -> Result<Value, Failed> {
    let is_invalid = |fate: &Fate| matches!(fate, Fate::Refused(failure) if failure.code == TOKEN_INVALID);
    let invalid: Vec<&Value> =
        targets.iter().zip(fates).filter(|(_, fate)| is_invalid(fate)).map(|(target, _)| &target.written).collect();
    let ids = recipients::ids(fates);
    let mut failed = recipients::refused(names, fates);
    if ids.is_empty() {
        let code = if invalid.len() == fates.len() { TOKEN_INVALID } else { REFUSED };
        return Err(Failed::permanent(code, format!("no device can get it: {}", notification::few(&failed, TOLD))));
    }
    failed.retain(|one| one["code"] != TOKEN_INVALID);
    Ok(json!({ "ids": ids, "invalid": invalid, "failed": failed }))
}

/// What a device token says; `None` where it is none.
fn device(written: &Value, push: Option<&crate::resources::Push>) -> Option<Device> {
    match written {
        Value::String(token) if token.trim().is_empty() => None,
        Value::String(token) => Some(push.map_or_else(|| Device::Fcm(token.clone()), |push| push.device(token))),
        other => serde_json::from_value::<Subscription>(other.clone()).ok().map(Device::WebPush),
    }
}

/// What a device is called: its token, or where its subscription leads.
fn name(written: &Value) -> String {
    let endpoint = written.get("endpoint").unwrap_or(written);
    endpoint.as_str().map_or_else(|| written.to_string(), str::to_owned)
}

/// Title, text and data: of the named message with its variables, or those that the action brings.
fn message(named: &Named<'_>, config: &Config) -> Result<Message, Failed> {
    let (title, body) = (Given::read(&config.title, "/title")?, Given::read(&config.body, "/body")?);
    let (of_title, of_body) = (title.variables(), body.variables());
    let part = match named.stored()? {
        Some(message) => Some(named.part(message.push.as_ref(), "push")?),
        None => None,
    };
    let text = |given, field: &str, source: Option<&String>, variables: &Map<String, Value>| match (given, source) {
        (Given::Text(text), _) => Ok(Some(text)),
        (Given::Variables(_), Some(source)) => named.render(field, source, variables).map(Some),
        (Given::Variables(_), None) => Ok(None),
    };
    let mut data = match part {
        Some(part) => match named.render_json("push/data", &part.data.clone().into(), &over(&of_title, &of_body))? {
            Value::Object(data) => data,
            _ => Map::new(),
        },
        None => Map::new(),
    };
    data.extend(config.data.clone());
    let message = Message {
        title: text(title, "push/title", part.and_then(|part| part.title.as_ref()), &over(&of_body, &of_title))?,
        body: text(body, "push/body", part.and_then(|part| part.body.as_ref()), &over(&of_title, &of_body))?,
        data,
        ttl: part.and_then(|part| part.ttl),
        urgency: part.and_then(|part| part.urgency),
    };
    if message.title.is_none() && message.body.is_none() && message.data.is_empty() {
        return Err(all(&[Mistake::new("/body", "a push message needs `title`, `body` or `data`")]));
    }
    Ok(message)
}
