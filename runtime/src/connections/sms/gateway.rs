//! Any gateway that takes one HTTP request for each message, described by the settings.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::path;

use super::Text;
use crate::connections::https::{self, not_now, words};
use crate::connections::unsent::Unsent;
use crate::egress::Request;
use crate::failed::Failed;
use crate::mail::MessageTemplate;
use crate::resources::Gateway;

const ATTEMPTED: &str = "the SMS gateway";

pub(super) async fn send(
    https: &https::Pool,
    gateway: &Gateway,
    text: Text<'_>,
    now: Timestamp,
) -> Result<String, Unsent> {
    let request = request(https, gateway, text, now)?;
    let answer = https.send(gateway.ca.as_deref(), request, ATTEMPTED).await?;
    let said = serde_json::from_slice::<Value>(&answer.body).ok();
    if (200..300).contains(&answer.status) {
        return id(gateway, said.as_ref(), text.id);
    }
    if let Some(unsent) = not_now(&answer, ATTEMPTED, now) {
        return Err(unsent);
    }
    let reason = words(&String::from_utf8_lossy(&answer.body));
    let message = format!("{ATTEMPTED} answered {}: {reason}", answer.status);
    Err(match answer.status {
        // What is wrong with one message's fields is most often the number.
        400 | 422 => Unsent::refused(format!("HTTP_{}", answer.status), message),
        _ => Unsent::permanent("SMS_REFUSED", message),
    })
}

/// The message's id: where the settings say it is, or else ours.
fn id(gateway: &Gateway, said: Option<&Value>, own: &str) -> Result<String, Unsent> {
    let Some(written) = &gateway.id_path else { return Ok(own.to_owned()) };
    let invalid = |detail| Unsent::permanent("RESOURCE_INVALID", format!("/sms/idPath: {detail}"));
    let path = path::Path::parse_in_record(written).map_err(invalid)?;
    match said.and_then(|said| path::walk(said, &path.steps)) {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        _ => {
            let message =
                format!("{ATTEMPTED} answered without an id at `{written}`; whether the message was taken is unknown");
            Err(Unsent::transient("EPROTO", message))
        }
    }
}

fn request(https: &https::Pool, gateway: &Gateway, text: Text<'_>, now: Timestamp) -> Result<Request, Failed> {
    let invalid = |place: &str, detail: String| Failed::permanent("RESOURCE_INVALID", format!("/sms{place}: {detail}"));
    let written = json!({"to": text.to, "from": gateway.from, "body": text.body, "id": text.id});
    let variables = written.as_object().cloned().unwrap_or_default();
    let render = |place: &str, source: &Value| {
        MessageTemplate::render_json(source, &variables, now).map_err(|detail| invalid(place, detail))
    };
    let mut url = https.guard().check_url(&gateway.url).map_err(|error| https::unreachable(&error, ATTEMPTED))?;
    for (name, source) in &gateway.query {
        match render("/query", source)? {
            Value::Null => {}
            Value::String(value) => {
                url.query_pairs_mut().append_pair(name, &value);
            }
            other => {
                url.query_pairs_mut().append_pair(name, &other.to_string());
            }
        }
    }
    let method = gateway.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| invalid("/method", e.to_string()))?;
    let mut headers = headers(&gateway.headers).map_err(|detail| invalid("/headers", detail))?;
    let key = HeaderValue::from_str(text.id).map_err(|e| invalid("/id", e.to_string()))?;
    headers.entry("idempotency-key").or_insert(key);
    let body = match (&gateway.body, &method) {
        (None, &Method::GET) => Bytes::new(),
        (None, _) => json_body(&mut headers, &written),
        (Some(source), _) => match render("/body", source)? {
            Value::String(body) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
                body.into()
            }
            Value::Object(fields) if is_form(&headers) => form(&fields).into(),
            other => json_body(&mut headers, &other),
        },
    };
    Ok(Request { method, url, headers, body })
}

fn headers(written: &Map<String, Value>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header's name"))?;
        let value = HeaderValue::from_str(&text).map_err(|_| format!("the value of `{name}` cannot be sent"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn json_body(headers: &mut HeaderMap, body: &Value) -> Bytes {
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    body.to_string().into()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}

fn form(fields: &Map<String, Value>) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pair = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}={}", encode(name), encode(&text))
    };
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// There is no message that costs nothing: whether something listens is all that can be seen.
pub(super) async fn check(https: &https::Pool, gateway: &Gateway) -> Result<String, String> {
    let url = https.guard().check_url(&gateway.url).map_err(|error| format!("/url: {error}"))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let opened = https.guard().connect_tcp(url.host_str().unwrap_or_default(), port).await;
    opened.map(|_| "the SMS gateway accepts connections".to_owned()).map_err(|error| error.to_string())
}
