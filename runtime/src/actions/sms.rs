//! `notification.sms`: a text to telephone numbers, each once.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::notification::{self, Given, Named, SHOWN, TOLD, all};
use super::{Action, Context, Use, recipients, uses};
use crate::connections::sms::{Text, phone_number};
use crate::connections::unsent::Unsent;
use crate::failed::{Failed, outcome};

/// The code of a number that no message can be sent to.
const RECIPIENT_INVALID: &str = "SMS_RECIPIENT_INVALID";
/// The longest text: ten parts of what is sent as one.
const MAX_TEXT: usize = 1600;

/// `notification.sms`
pub struct Sms;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `TAG:MESSAGE` for a message of the service, or `TAG` with the text in `body`.
    notification: String,
    /// A number in E.164 (`+14155550123`), or several.
    recipients: Value,
    /// Variables of the message's text, or the text itself.
    #[serde(default)]
    body: Value,
}

impl Action for Sms {
    const KIND: &'static str = "notification.sms";
    const READS_EVENT: bool = false;
    type Config = Config;

    fn check(config: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        let written = config.get("recipients").filter(|value| !notification::is_templated(value));
        if let Some(written) = written {
            let literal = notification::list(written);
            found.extend(notification::count_mistake("/recipients", literal.len()));
            for (index, number) in literal.iter().enumerate().filter(|(_, number)| !notification::is_templated(number))
            {
                let mistake = number.as_str().map_or(Some("a number is a text".to_owned()), |n| phone_number(n).err());
                found.extend(mistake.map(|detail| Mistake::new(format!("/recipients/{index}"), detail)));
            }
        }
        if notification::is_bare(config) && !config.get("body").is_some_and(Value::is_string) {
            found.push(Mistake::new("/body", "a bare tag needs the text here: write `TAG:MESSAGE`, or give `body`"));
        }
        found
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "notification", "notifications").into_iter().collect()
    }

    fn destination(cx: &Context, config: &Config) -> Option<String> {
        notification::origin(notification::service(cx, &config.notification)?.settings.sms.as_ref()?.base_url())
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        outcome(send(&cx, &config).await)
    }
}

async fn send(cx: &Context, config: &Config) -> Result<Value, Failed> {
    let named = Named::find(cx, &config.notification)?;
    let body = text(&named, &config.body)?;
    let mut numbers: Vec<String> = Vec::new();
    for recipient in notification::list(&config.recipients) {
        let text = recipient.as_str().map_or_else(|| recipient.to_string(), str::to_owned);
        // A number that is none stays as it is written: it is told among those that failed.
        let number = phone_number(&text).unwrap_or(text);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    if let Some(mistake) = notification::count_mistake("/recipients", numbers.len()) {
        return Err(all(&[mistake]));
    }
    let sms = named.settings().and_then(|settings| settings.sms.as_ref());
    let redactor = cx.redactor(&sms.map(crate::resources::Sms::secrets).unwrap_or_default());
    let shown: Vec<Value> = numbers.iter().map(|number| number.as_str().into()).collect();
    let shown = json!({ "to": notification::few(&shown, SHOWN), "body": notification::brief(&body) });
    cx.excerpt.lock().request = Some(redactor.value(shown));
    let clients = cx.services.resources.connections();
    let is_local = match sms {
        Some(sms) => clients.sms.is_local(sms).await,
        None => false,
    };
    let spared = named.spares(sms.is_some(), is_local);
    let fates = if spared {
        recipients::send(cx, &numbers, |i| ready(cx, &numbers[i])).await?
    } else {
        let sms = sms.ok_or_else(|| named.lacks("sms"))?;
        let one = |i: usize| {
            let (number, body) = (&numbers[i], &body);
            async move {
                let id = ready(cx, number).await?;
                clients.sms.send(sms, Text { to: number, body, id: &id }, cx.services.clock.now()).await
            }
        };
        recipients::send(cx, &numbers, one).await.map_err(|failed| struck(failed, &redactor))?
    };
    let failed: Vec<Value> = recipients::refused(&numbers, &fates).into_iter().map(|one| redactor.value(one)).collect();
    let ids = recipients::ids(&fates);
    if ids.is_empty() {
        let told = format!("no recipient can get it: {}", notification::few(&failed, TOLD));
        return Err(Failed::permanent(RECIPIENT_INVALID, told));
    }
    let output = json!({ "ids": ids, "failed": failed });
    if spared {
        let mut sketch = named.sketch("sms", numbers.clone());
        sketch.from = sms.and_then(crate::resources::Sms::from).unwrap_or_default().to_owned();
        sketch.text = Some(body);
        named.lay_down(sketch).await?;
    } else {
        cx.excerpt.lock().response = Some(recipients::shown(&output));
    }
    Ok(output)
}

fn struck(failed: Failed, redactor: &crate::redact::Redactor) -> Failed {
    let mut failed = failed;
    failed.failure.message = redactor.text(&failed.failure.message);
    failed
}

/// The recipient's own delivery id, where the number is one.
async fn ready(cx: &Context, number: &str) -> Result<String, Unsent> {
    phone_number(number).map_err(|detail| Unsent::refused(RECIPIENT_INVALID, detail))?;
    Ok(recipients::id(cx, number).to_string())
}

/// The text: of the named message with its variables, or the one that the action brings.
fn text(named: &Named<'_>, body: &Value) -> Result<String, Failed> {
    let text = match (Given::read(body, "/body")?, named.stored()?) {
        (Given::Text(text), _) => text,
        (Given::Variables(_), None) => return Err(all(&[Mistake::new("/body", "a bare tag needs the text here")])),
        (Given::Variables(variables), Some(message)) => {
            named.render("sms/body", &named.part(message.sms.as_ref(), "sms")?.body, &variables)?
        }
    };
    match text.chars().count() {
        0 => Err(all(&[Mistake::new("/body", "the text is empty")])),
        1..=MAX_TEXT => Ok(text),
        more => Err(all(&[Mistake::new("/body", format!("the text has {more} characters; at most {MAX_TEXT}"))])),
    }
}
