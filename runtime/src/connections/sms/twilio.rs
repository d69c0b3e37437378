//! Twilio's Programmable Messaging, API version 2010-04-01.
//!
//! It has no idempotency key: a message whose answer got lost is sent again, and may arrive twice.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde::Deserialize;

use super::Text;
use crate::connections::https::{self, not_now, words};
use crate::connections::unsent::Unsent;
use crate::egress::Request;
use crate::failed::Failed;
use crate::resources::Twilio;

/// Error codes that are the recipient's: no such number (21211, 21214, 21217), a short code (21265), a country that is
/// switched off (21408), unsubscribed (21610), not reachable from the sender (21612), no mobile (21614, 21635).
const OF_THE_RECIPIENT: &[u32] = &[21211, 21214, 21217, 21265, 21408, 21610, 21612, 21614, 21635];
/// The sender's queue is full: later there is room.
const QUEUE_FULL: u32 = 21611;
const ATTEMPTED: &str = "the SMS service";

/// What of an answer is read.
#[derive(Deserialize)]
struct Said {
    sid: Option<String>,
    code: Option<u32>,
    message: Option<String>,
}

pub(super) async fn send(
    https: &https::Pool,
    twilio: &Twilio,
    text: Text<'_>,
    now: Timestamp,
) -> Result<String, Unsent> {
    let mut form = https.guard().check_url("http://form.invalid/").map_err(|e| https::unreachable(&e, ATTEMPTED))?;
    form.query_pairs_mut().append_pair("To", text.to).append_pair("Body", text.body);
    match (&twilio.messaging_service_sid, &twilio.from) {
        (Some(service), _) => form.query_pairs_mut().append_pair("MessagingServiceSid", service),
        (None, from) => form.query_pairs_mut().append_pair("From", from.as_deref().unwrap_or_default()),
    };
    let mut request = request(https, twilio, Method::POST, "Messages.json")?;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    request.body = Bytes::from(form.query().unwrap_or_default().to_owned());
    let answer = https.send(twilio.ca.as_deref(), request, ATTEMPTED).await?;
    let said = serde_json::from_slice::<Said>(&answer.body).ok();
    let code = said.as_ref().and_then(|said| said.code);
    let reason = said.as_ref().and_then(|said| said.message.as_deref()).map(words).unwrap_or_default();
    if (200..300).contains(&answer.status) {
        return said.and_then(|said| said.sid).ok_or_else(|| {
            let message = format!(
                "{ATTEMPTED} answered {} without a message's id; whether it was taken is unknown",
                answer.status
            );
            Unsent::transient("EPROTO", message)
        });
    }
    if let Some(unsent) = not_now(&answer, ATTEMPTED, now) {
        return Err(unsent);
    }
    Err(match code {
        Some(code) if OF_THE_RECIPIENT.contains(&code) => Unsent::refused(format!("TWILIO_{code}"), reason),
        Some(QUEUE_FULL) => Unsent::transient("HTTP_429", format!("{ATTEMPTED} answered {QUEUE_FULL}: {reason}")),
        Some(code) => {
            Unsent::permanent("SMS_REFUSED", format!("{ATTEMPTED} answered {} ({code}): {reason}", answer.status))
        }
        None => Unsent::permanent("SMS_REFUSED", format!("{ATTEMPTED} answered {}", answer.status)),
    })
}

pub(super) async fn check(https: &https::Pool, twilio: &Twilio) -> Result<String, String> {
    let told = |failed: Failed| failed.failure.message;
    let request = account_request(https, twilio).map_err(told)?;
    let answer = https.send(twilio.ca.as_deref(), request, ATTEMPTED).await.map_err(told)?;
    match answer.status {
        200..300 => Ok("the SMS service knows the account".to_owned()),
        401 | 403 => Err("the SMS service refuses the account or its token".to_owned()),
        status => Err(format!("{ATTEMPTED} answered {status}")),
    }
}

fn account_request(https: &https::Pool, twilio: &Twilio) -> Result<Request, Failed> {
    let mut request = request(https, twilio, Method::GET, "")?;
    let path = request.url.path().trim_end_matches('/').to_owned();
    request.url.set_path(&format!("{path}.json"));
    Ok(request)
}

/// A request of the account's resource `last`.
fn request(https: &https::Pool, twilio: &Twilio, method: Method, last: &str) -> Result<Request, Failed> {
    let refused = |e: crate::egress::Error| https::unreachable(&e, ATTEMPTED);
    let mut url = https.guard().check_url(twilio.base_url()).map_err(refused)?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["2010-04-01", "Accounts", &twilio.account_sid, last]);
    }
    let credentials = STANDARD.encode(format!("{}:{}", twilio.account_sid, twilio.auth_token));
    let mut value = HeaderValue::from_str(&format!("Basic {credentials}"))
        .map_err(|_| Failed::permanent("RESOURCE_INVALID", "/sms/authToken cannot stand in a header"))?;
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    Ok(Request { method, url, headers, body: Bytes::new() })
}
