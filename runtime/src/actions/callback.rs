//! `notification.callback`: a signed request to a notification's receiver, as `http.*` sends it.

use ::http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::catalog::Place;
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::notification::{self, Named};
use super::{Action, Context, Use, http, uses};
use crate::failed::Failed;

/// `notification.callback`
pub struct Callback;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `TAG` or `TAG:MESSAGE`.
    notification: String,
    /// What is sent.
    #[serde(default)]
    callback: Content,
}

/// What is sent.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Variables of the message's `callback.body`; the body itself, where the message has none.
    #[serde(default)]
    body: Value,
    /// Headers, over those of the service.
    #[serde(default)]
    headers: Map<String, Value>,
    /// Added to the URL's query. An array repeats its name; null is left out.
    #[serde(default)]
    query: Map<String, Value>,
}

impl Action for Callback {
    const KIND: &'static str = "notification.callback";
    const READS_EVENT: bool = false;
    type Config = Config;

    fn check(config: &Value) -> Vec<Mistake> {
        let headers = config.pointer("/callback/headers").and_then(Value::as_object);
        let mistakes =
            headers.into_iter().flat_map(|headers| headers.keys().filter_map(|name| http::header_mistake(name)));
        mistakes.map(|mistake| mistake.under("/callback")).collect()
    }

    fn place(_config: &Value, pointer: &str) -> Place {
        if pointer.starts_with("/callback/headers/") { Place::Header } else { Place::Plain }
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "notification", "notifications").into_iter().collect()
    }

    fn destination(cx: &Context, config: &Config) -> Option<String> {
        let service = notification::service(cx, &config.notification)?;
        let url = &service.settings.callback.as_ref()?.url;
        http::endpoint(&crate::egress::Url::parse(url).ok()?)
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        let (method, request, ca) = match request(&cx, config) {
            Ok(request) => request,
            Err(failed) => return failed.into(),
        };
        match http::deliver(cx, method, request, ca.as_deref()).await {
            Outcome::Done(output) => Outcome::Done(json!({ "status": output["status"] })),
            failed => failed,
        }
    }
}

/// The request, its method, and the authority that the receiver's certificate is of.
fn request(cx: &Context, config: Config) -> Result<(Method, http::Config, Option<String>), Failed> {
    let named = Named::find(cx, &config.notification)?;
    let receiver =
        named.settings().and_then(|settings| settings.callback.clone()).ok_or_else(|| named.lacks("callback"))?;
    let method = receiver.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Failed::permanent("RESOURCE_INVALID", format!("/callback/method: `{method}` is none")))?;
    let body = body(&named, config.callback.body)?;
    let mut headers = receiver.headers;
    for (name, value) in config.callback.headers {
        headers.retain(|known, _| !known.eq_ignore_ascii_case(&name));
        headers.insert(name, value);
    }
    let request = http::Config::of(receiver.url, headers, config.callback.query, body, receiver.signing_secret);
    Ok((method, request, receiver.ca))
}

/// The message's body with its variables. A message that is not stored, or has none, leaves it to the action: a callback's
/// body is most often all its own.
fn body(named: &Named<'_>, given: Value) -> Result<Value, Failed> {
    let messages = named.settings().map(|settings| &settings.messages);
    let stored = named.message.and_then(|name| messages?.get(name)?.callback.as_ref());
    match (stored, given) {
        (Some(part), Value::Null) => named.render_json("callback/body", &part.body, &Map::new()),
        (Some(part), Value::Object(variables)) => named.render_json("callback/body", &part.body, &variables),
        (_, given) => Ok(given),
    }
}
