//! Firebase Cloud Messaging, HTTP v1: one request for each device, with an OAuth token (RFC 7523) of a service account.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::token::Token;
use super::{Client, Message, REFUSED, TOKEN_INVALID};
use crate::connections::https::{self, not_now, words};
use crate::connections::unsent::Unsent;
use crate::egress::{Answer, Request};
use crate::resources::{Fcm, Identity, ServiceAccount, Urgency};

const SERVICE: &str = "fcm";
const ATTEMPTED: &str = "Firebase Cloud Messaging";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// The longest that Google lets an assertion last.
const ASSERTION: Duration = Duration::from_secs(3600);
/// The largest message, in bytes.
const MAX_PAYLOAD: usize = 4096;

/// What of an answer is read.
#[derive(Deserialize)]
struct Said {
    name: Option<String>,
    error: Option<Error>,
}

#[derive(Default, Deserialize)]
struct Error {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Value>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u32,
}

pub(super) async fn send(
    client: &Client,
    identity: &Identity,
    fcm: &Fcm,
    device: &str,
    message: &Message,
    now: Timestamp,
) -> Result<String, Unsent> {
    let account = fcm.account().map_err(|detail| invalid("/serviceAccount", &detail))?;
    let body = json!({ "message": payload(device, message) }).to_string();
    if body.len() > MAX_PAYLOAD + device.len() {
        let message = format!("the push message has {} bytes; Firebase takes {MAX_PAYLOAD}", body.len());
        return Err(Unsent::permanent(REFUSED, message));
    }
    let mut url = client.https.guard().check_url(fcm.base_url()).map_err(|e| https::unreachable(&e, ATTEMPTED))?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "projects", &account.project_id, "messages:send"]);
    }
    // A token that was taken back before its end is replaced once.
    for last in [false, true] {
        let make = grant(client, fcm, &account, now);
        let token = client.tokens.get(identity, SERVICE, now, make).await?;
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, bearer(&token)?)]);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request =
            Request { method: Method::POST, url: url.clone(), headers, body: Bytes::copy_from_slice(body.as_bytes()) };
        let answer = client.https.send(fcm.ca.as_deref(), request, ATTEMPTED).await?;
        if answer.status == 401 && !last {
            client.tokens.drop(identity, SERVICE, &token).await;
            continue;
        }
        return settle(&answer, now);
    }
    Err(Unsent::permanent(REFUSED, format!("{ATTEMPTED} takes no token of the service account")))
}

/// The `message` of a request.
fn payload(device: &str, message: &Message) -> Value {
    let mut payload = json!({ "token": device });
    let mut notification = Map::new();
    notification.extend(message.title.clone().map(|title| ("title".to_owned(), title.into())));
    notification.extend(message.body.clone().map(|body| ("body".to_owned(), body.into())));
    if !notification.is_empty() {
        payload["notification"] = notification.into();
    }
    if !message.data.is_empty() {
        // Firebase's data are texts.
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let data = message.data.iter().filter(|(_, value)| !value.is_null());
        payload["data"] =
            data.map(|(key, value)| (key.clone(), Value::from(text(value)))).collect::<Map<_, _>>().into();
    }
    let mut android = Map::new();
    android.extend(message.ttl.map(|ttl| ("ttl".to_owned(), format!("{ttl}s").into())));
    let priority = message.urgency.map(|urgency| if urgency == Urgency::High { "high" } else { "normal" });
    android.extend(priority.map(|priority| ("priority".to_owned(), priority.into())));
    if !android.is_empty() {
        payload["android"] = android.into();
    }
    payload
}

fn settle(answer: &Answer, now: Timestamp) -> Result<String, Unsent> {
    let said = serde_json::from_slice::<Said>(&answer.body).ok();
    if (200..300).contains(&answer.status) {
        return said.and_then(|said| said.name).ok_or_else(|| {
            let message = format!(
                "{ATTEMPTED} answered {} without a message's name; whether it was taken is unknown",
                answer.status
            );
            Unsent::transient("EPROTO", message)
        });
    }
    if let Some(unsent) = not_now(answer, ATTEMPTED, now) {
        return Err(unsent);
    }
    let error = said.and_then(|said| said.error).unwrap_or_default();
    let code = error.details.iter().find_map(|detail| detail.get("errorCode")?.as_str()).unwrap_or(&error.status);
    let message = format!("{ATTEMPTED} answered {} {}: {}", answer.status, words(code), words(&error.message));
    Err(match code {
        "UNREGISTERED" => Unsent::refused(TOKEN_INVALID, message),
        "INVALID_ARGUMENT" if is_of_token(&error) => Unsent::refused(TOKEN_INVALID, message),
        // The token is another project's, or Apple or the browser refuses what Firebase sends in its turn.
        "SENDER_ID_MISMATCH" | "THIRD_PARTY_AUTH_ERROR" => Unsent::refused(REFUSED, message),
        _ => Unsent::permanent(REFUSED, message),
    })
}

/// Whether an `INVALID_ARGUMENT` says that the token is what is invalid.
fn is_of_token(error: &Error) -> bool {
    let violations = error.details.iter().filter_map(|detail| detail.get("fieldViolations")?.as_array()).flatten();
    violations.into_iter().any(|violation| violation.get("field").and_then(Value::as_str) == Some("message.token"))
}

/// An access token, for an assertion that the account's key signs.
async fn grant(client: &Client, fcm: &Fcm, account: &ServiceAccount, now: Timestamp) -> Result<Token, Unsent> {
    const ASKED: &str = "the token service of Firebase";
    let url = fcm.token_url.as_deref().or(account.token_uri.as_deref()).unwrap_or(TOKEN_URL);
    let assertion = assertion(account, url, now)?;
    let mut form = client.https.guard().check_url(url).map_err(|e| https::unreachable(&e, ASKED))?;
    let target = form.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .append_pair("assertion", &assertion);
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let request = Request {
        method: Method::POST,
        url: target,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, kind)]),
        body: Bytes::from(form.query().unwrap_or_default().to_owned()),
    };
    let answer = client.https.send(fcm.ca.as_deref(), request, ASKED).await?;
    if let Some(unsent) = not_now(&answer, ASKED, now) {
        return Err(unsent);
    }
    if !(200..300).contains(&answer.status) {
        let error = serde_json::from_slice::<Value>(&answer.body).ok();
        let code = error.as_ref().and_then(|error| error.get("error")?.as_str()).map(words).unwrap_or_default();
        return Err(Unsent::permanent(REFUSED, format!("{ASKED} answered {} {code}", answer.status)));
    }
    let granted: Granted = serde_json::from_slice(&answer.body)
        .map_err(|_| Unsent::transient("EPROTO", format!("{ASKED} answered without a token")))?;
    let expires = now + Duration::from_secs(granted.expires_in.into());
    Ok(Token { text: granted.access_token.into(), expires })
}

fn assertion(account: &ServiceAccount, audience: &str, now: Timestamp) -> Result<String, Unsent> {
    let key = EncodingKey::from_rsa_pem(account.private_key.as_bytes());
    let key = key.map_err(|_| invalid("/serviceAccount/private_key", "is no RSA key as PEM"))?;
    let header = Header { kid: account.private_key_id.clone(), ..Header::new(Algorithm::RS256) };
    let claims = json!({
        "iss": account.client_email, "scope": SCOPE, "aud": audience,
        "iat": now.as_second(), "exp": (now + ASSERTION).as_second(),
    });
    jsonwebtoken::encode(&header, &claims, &key)
        .map_err(|_| invalid("/serviceAccount/private_key", "is no RSA key that can sign"))
}

fn bearer(token: &Token) -> Result<HeaderValue, Unsent> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.text));
    let mut value = value.map_err(|_| Unsent::transient("EPROTO", "the token service's token cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn invalid(place: &str, detail: &str) -> Unsent {
    Unsent::permanent("RESOURCE_INVALID", format!("/push/fcm{place}: {detail}"))
}

/// A token shows that the account is known; nothing is sent.
pub(super) async fn check(client: &Client, fcm: &Fcm) -> Result<String, String> {
    let account = fcm.account()?;
    match grant(client, fcm, &account, Timestamp::now()).await {
        Ok(_) => Ok("the token service of Firebase knows the account".to_owned()),
        Err(Unsent::Refused(failure)) => Err(failure.message),
        Err(Unsent::Failed(failed)) => Err(failed.failure.message),
    }
}
