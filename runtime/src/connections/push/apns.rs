//! Apple's push service: HTTP/2, with a token that the team's key signs.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::token::Token;
use super::{Client, Message, REFUSED, TOKEN_INVALID};
use crate::connections::https::{self, not_now, words};
use crate::connections::unsent::Unsent;
use crate::egress::{Answer, Request};
use crate::resources::{Apns, Identity, Urgency};

const SERVICE: &str = "apns";
const ATTEMPTED: &str = "Apple's push service";
/// Apple takes tokens of up to an hour, and wants no new one within 20 minutes.
const LASTS: Duration = Duration::from_secs(50 * 60);
/// The largest payload, in bytes.
const MAX_PAYLOAD: usize = 4096;

/// Which device, and the message's id.
#[derive(Clone, Copy)]
pub(super) struct To<'t> {
    pub token: &'t str,
    pub id: Uuid,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    reason: String,
}

pub(super) async fn send(
    client: &Client,
    identity: &Identity,
    apns: &Apns,
    to: To<'_>,
    message: &Message,
    now: Timestamp,
) -> Result<String, Unsent> {
    if to.token.is_empty() || !to.token.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Unsent::refused(TOKEN_INVALID, "this is no device token of Apple's"));
    }
    let body = payload(message)?.to_string();
    if body.len() > MAX_PAYLOAD {
        let message = format!("the push message has {} bytes; Apple takes {MAX_PAYLOAD}", body.len());
        return Err(Unsent::permanent(REFUSED, message));
    }
    let mut url = client.https.guard().check_url(apns.base_url()).map_err(|e| https::unreachable(&e, ATTEMPTED))?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["3", "device", to.token]);
    }
    // A token that Apple thinks has expired is replaced once: clocks differ.
    for last in [false, true] {
        let token = client.tokens.get(identity, SERVICE, now, async { sign(apns, now) }).await?;
        let headers = headers(apns, to.id, message, &token, now)?;
        let request =
            Request { method: Method::POST, url: url.clone(), headers, body: Bytes::copy_from_slice(body.as_bytes()) };
        let answer = client.https.send(apns.ca.as_deref(), request, ATTEMPTED).await?;
        let reason = serde_json::from_slice::<Said>(&answer.body).unwrap_or_default().reason;
        if reason == "ExpiredProviderToken" && !last {
            client.tokens.drop(identity, SERVICE, &token).await;
            continue;
        }
        return settle(&answer, &reason, to.id, now);
    }
    Err(Unsent::permanent(REFUSED, format!("{ATTEMPTED} takes no token of this key")))
}

/// The JSON of a message: `aps`, and the data beside it.
fn payload(message: &Message) -> Result<Value, Unsent> {
    let mut payload = message.data.clone();
    if payload.contains_key("aps") {
        return Err(Unsent::permanent("CONFIG_INVALID", "/data/aps: is Apple's own; name it otherwise"));
    }
    let aps = match (&message.title, &message.body) {
        (None, None) => json!({ "content-available": 1 }),
        (Some(title), None) => json!({ "alert": { "title": title } }),
        (None, Some(body)) => json!({ "alert": { "body": body } }),
        (Some(title), Some(body)) => json!({ "alert": { "title": title, "body": body } }),
    };
    payload.insert("aps".to_owned(), aps);
    Ok(Value::Object(payload))
}

fn headers(apns: &Apns, id: Uuid, message: &Message, token: &Token, now: Timestamp) -> Result<HeaderMap, Unsent> {
    let silent = message.title.is_none() && message.body.is_none();
    // 10: at once; 5: with the battery in mind, which is all that is allowed without anything to show.
    let at_once = !silent && matches!(message.urgency, None | Some(Urgency::High));
    let id = id.hyphenated().to_string();
    let mut written = vec![
        ("apns-topic", apns.topic.clone()),
        ("apns-push-type", if silent { "background" } else { "alert" }.to_owned()),
        ("apns-priority", if at_once { "10" } else { "5" }.to_owned()),
        ("apns-id", id.clone()),
        // What is sent twice is shown once.
        ("apns-collapse-id", id),
    ];
    if let Some(ttl) = message.ttl {
        let until = now + Duration::from_secs(ttl.into());
        written.push(("apns-expiration", if ttl == 0 { "0".to_owned() } else { until.as_second().to_string() }));
    }
    let mut headers = HeaderMap::new();
    for (name, text) in written {
        let value = HeaderValue::from_str(&text).map_err(|_| invalid("/topic", "cannot stand in a header"))?;
        headers.insert(name, value);
    }
    let mut value = HeaderValue::from_str(&format!("bearer {}", token.text))
        .map_err(|_| invalid("/keyId", "cannot stand in a header"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

fn settle(answer: &Answer, reason: &str, id: Uuid, now: Timestamp) -> Result<String, Unsent> {
    if answer.status == 200 {
        let given = answer.headers.get("apns-id").and_then(|value| value.to_str().ok());
        return Ok(given.map_or_else(|| id.hyphenated().to_string(), str::to_owned));
    }
    if let Some(unsent) = not_now(answer, ATTEMPTED, now) {
        return Err(unsent);
    }
    let message = format!("{ATTEMPTED} answered {} {}", answer.status, words(reason));
    let gone = answer.status == 410 || matches!(reason, "BadDeviceToken" | "DeviceTokenNotForTopic" | "Unregistered");
    Err(if gone { Unsent::refused(TOKEN_INVALID, message) } else { Unsent::permanent(REFUSED, message) })
}

fn sign(apns: &Apns, now: Timestamp) -> Result<Token, Unsent> {
    let key = EncodingKey::from_ec_pem(apns.private_key.as_bytes());
    let key = key.map_err(|_| invalid("/privateKey", "is no `.p8` key as PEM"))?;
    let header = Header { kid: Some(apns.key_id.clone()), ..Header::new(Algorithm::ES256) };
    let claims = json!({ "iss": apns.team_id, "iat": now.as_second() });
    let text = jsonwebtoken::encode(&header, &claims, &key)
        .map_err(|_| invalid("/privateKey", "is no P-256 key that can sign"))?;
    Ok(Token { text: text.into(), expires: now + LASTS })
}

fn invalid(place: &str, detail: &str) -> Unsent {
    Unsent::permanent("RESOURCE_INVALID", format!("/push/apns{place}: {detail}"))
}

/// Apple answers nothing without a device: whether the key can sign and something listens is all that can be seen.
pub(super) async fn check(client: &Client, apns: &Apns) -> Result<String, String> {
    if let Err(Unsent::Failed(failed)) = sign(apns, Timestamp::now()) {
        return Err(failed.failure.message);
    }
    let guard = client.https.guard();
    let url = guard.check_url(apns.base_url()).map_err(|error| format!("/baseUrl: {error}"))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let opened = guard.connect_tcp(url.host_str().unwrap_or_default(), port).await;
    opened.map(|_| format!("{ATTEMPTED} accepts connections, and the key can sign")).map_err(|error| error.to_string())
}
