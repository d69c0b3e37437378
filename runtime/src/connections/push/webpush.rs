//! Web Push: RFC 8030, payloads encrypted after RFC 8291, with a VAPID token (RFC 8292).

use std::time::Duration;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint as _;
use web_push_native::p256::pkcs8::EncodePrivateKey as _;
use web_push_native::{Auth, p256};

use super::{Message, REFUSED, TOKEN_INVALID};
use crate::connections::https::{self, not_now, words};
use crate::connections::unsent::Unsent;
use crate::egress::{self, Answer, Request, Url};
use crate::resources::WebPush;

const ATTEMPTED: &str = "the browser's push service";
/// RFC 8292, 2: at most 24 hours.
const LASTS: Duration = Duration::from_secs(12 * 3600);
/// RFC 8030, 5.2: what push services keep at most, and the default.
const FOUR_WEEKS: u32 = 2_419_200;
/// RFC 8291, 4: push services need not take more than 4096 bytes, encrypted.
const MAX_PLAIN: usize = 3993;

/// base64url, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A browser's subscription, as its `PushSubscription.toJSON()` gives it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Subscription {
    /// Where the push service takes messages for it.
    pub endpoint: String,
    /// Its keys.
    pub keys: Keys,
}

/// The keys of a subscription, as base64url.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Keys {
    /// Its public key: an uncompressed point of P-256.
    pub p256dh: String,
    /// Its authentication secret: 16 bytes.
    pub auth: String,
}

/// Which browser, and the message's id.
#[derive(Clone, Copy)]
pub(super) struct To<'t> {
    pub subscription: &'t Subscription,
    pub id: Uuid,
}

pub(super) async fn send(
    https: &https::Pool,
    webpush: &WebPush,
    to: To<'_>,
    message: &Message,
    now: Timestamp,
) -> Result<String, Unsent> {
    // Subscriptions are data: one that leads nowhere says nothing about the others.
    let refused = |detail: String| Unsent::refused(TOKEN_INVALID, format!("the subscription's {detail}"));
    let url =
        https.guard().check_url(&to.subscription.endpoint).map_err(|error| refused(format!("endpoint: {error}")))?;
    let body = encrypt(to.subscription, message)?;
    let headers = headers(webpush, &url, to.id, message, now)?;
    let request = Request { method: Method::POST, url, headers, body };
    let answer = match https.send(webpush.ca.as_deref(), request, ATTEMPTED).await {
        Ok(answer) => answer,
        Err(failed) if failed.failure.code == egress::Error::Denied.code() => {
            return Err(refused(format!("endpoint: {}", egress::Error::Denied)));
        }
        Err(failed) => return Err(failed.into()),
    };
    settle(&answer, to.id, now)
}

fn encrypt(subscription: &Subscription, message: &Message) -> Result<Bytes, Unsent> {
    let refused = |detail: &str| Unsent::refused(TOKEN_INVALID, format!("the subscription's {detail}"));
    let key =
        BASE64.decode(&subscription.keys.p256dh).ok().and_then(|bytes| p256::PublicKey::from_sec1_bytes(&bytes).ok());
    let key = key.ok_or_else(|| refused("keys.p256dh is no public key"))?;
    let auth = BASE64.decode(&subscription.keys.auth).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let auth = auth.ok_or_else(|| refused("keys.auth is not 16 bytes as base64url"))?;
    let mut plain = serde_json::Map::new();
    plain.extend(message.title.clone().map(|title| ("title".to_owned(), title.into())));
    plain.extend(message.body.clone().map(|body| ("body".to_owned(), body.into())));
    plain.insert("data".to_owned(), message.data.clone().into());
    let plain = Value::Object(plain).to_string();
    if plain.len() > MAX_PLAIN {
        let message = format!("the push message has {} bytes; browsers' services take {MAX_PLAIN}", plain.len());
        return Err(Unsent::permanent(REFUSED, message));
    }
    let encrypted = web_push_native::encrypt(plain.into_bytes(), &key, &Auth::from(auth));
    encrypted.map(Bytes::from).map_err(|_| refused("keys cannot be encrypted for"))
}

fn headers(webpush: &WebPush, url: &Url, id: Uuid, message: &Message, now: Timestamp) -> Result<HeaderMap, Unsent> {
    let ttl = message.ttl.or(webpush.ttl).unwrap_or(FOUR_WEEKS);
    let mut written = vec![
        ("ttl", ttl.to_string()),
        // What is sent twice replaces what was not seen yet (RFC 8030, 5.4).
        ("topic", URL_SAFE_NO_PAD.encode(id.as_bytes())),
    ];
    written.extend(message.urgency.or(webpush.urgency).map(|urgency| ("urgency", urgency.as_str().to_owned())));
    let mut headers = HeaderMap::new();
    for (name, text) in written {
        let value = HeaderValue::from_str(&text).map_err(|e| invalid("", &e.to_string()))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut value = HeaderValue::from_str(&authorization(webpush, url, now)?)
        .map_err(|_| invalid("/subject", "cannot stand in a header"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

/// `vapid t=TOKEN, k=KEY` (RFC 8292, 3).
fn authorization(webpush: &WebPush, url: &Url, now: Timestamp) -> Result<String, Unsent> {
    let key = private_key(webpush)?;
    let der = key.to_pkcs8_der().map_err(|_| invalid("/privateKey", KEY))?;
    let claims = json!({
        "aud": url.origin().ascii_serialization(), "exp": (now + LASTS).as_second(), "sub": webpush.subject,
    });
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &EncodingKey::from_ec_der(der.as_bytes()));
    let token = token.map_err(|_| invalid("/privateKey", KEY))?;
    let public = key.public_key().to_encoded_point(false);
    Ok(format!("vapid t={token}, k={}", URL_SAFE_NO_PAD.encode(public.as_bytes())))
}

const KEY: &str = "must be the 32 bytes of a P-256 key as base64url";

fn private_key(webpush: &WebPush) -> Result<p256::SecretKey, Unsent> {
    let bytes = BASE64.decode(webpush.private_key.trim()).ok();
    let key = bytes.and_then(|bytes| p256::SecretKey::from_slice(&bytes).ok());
    key.ok_or_else(|| invalid("/privateKey", KEY))
}

fn settle(answer: &Answer, id: Uuid, now: Timestamp) -> Result<String, Unsent> {
    if (200..300).contains(&answer.status) {
        let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
        return Ok(location.map_or_else(|| id.hyphenated().to_string(), str::to_owned));
    }
    if let Some(unsent) = not_now(answer, ATTEMPTED, now) {
        return Err(unsent);
    }
    let reason = words(&String::from_utf8_lossy(&answer.body));
    let message = format!("{ATTEMPTED} answered {}: {reason}", answer.status);
    Err(match answer.status {
        404 | 410 => Unsent::refused(TOKEN_INVALID, message),
        413 => Unsent::permanent(REFUSED, message),
        // Most often a subscription made with another VAPID key: the others may be good.
        _ => Unsent::refused(REFUSED, message),
    })
}

fn invalid(place: &str, detail: &str) -> Unsent {
    Unsent::permanent("RESOURCE_INVALID", format!("/push/webpush{place}: {detail}"))
}

/// Push services cannot be asked without a subscription: whether the key is one is all that can be seen.
pub(super) fn check(webpush: &WebPush) -> Result<String, String> {
    match private_key(webpush) {
        Ok(_) => Ok("the VAPID key can be used".to_owned()),
        Err(_) => Err(format!("/privateKey {KEY}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    fn auth(text: &str) -> Auth {
        Auth::from(<[u8; 16]>::try_from(bytes(text)).unwrap())
    }

    /// RFC 8291, 5 and appendix A.
    #[test]
    fn the_rfc_s_example_is_read() {
        let receiver = p256::SecretKey::from_slice(&bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
        let message = bytes(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        let plain = web_push_native::decrypt(message, &receiver, &auth("BTBZMqHH6r4Tts7J_aSIgg"));
        assert_eq!(plain.unwrap(), b"When I grow up, I want to be a watermelon");
    }

    #[test]
    fn what_is_encrypted_opens_with_the_subscription_s_key_alone() {
        let receiver = p256::SecretKey::from_slice(&bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
        let subscription = Subscription {
            endpoint: "https://push.example/x".into(),
            keys: Keys {
                p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
                    .into(),
                auth: "BTBZMqHH6r4Tts7J_aSIgg==".into(),
            },
        };
        let message = Message { title: Some("Hi".into()), ..Message::default() };
        let encrypted = encrypt(&subscription, &message).unwrap();
        let own = auth(&subscription.keys.auth);
        let plain = web_push_native::decrypt(encrypted.to_vec(), &receiver, &own).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap(), json!({"title": "Hi", "data": {}}));
        assert!(web_push_native::decrypt(encrypted.to_vec(), &receiver, &Auth::from([0; 16])).is_err());
        for (p256dh, auth) in
            [("AAAA", "BTBZMqHH6r4Tts7J_aSIgg"), (subscription.keys.p256dh.as_str(), "AAAA"), ("!", "!")]
        {
            let bad = Subscription { keys: Keys { p256dh: p256dh.into(), auth: auth.into() }, ..subscription.clone() };
            assert!(matches!(encrypt(&bad, &message), Err(Unsent::Refused(f)) if f.code == TOKEN_INVALID));
        }
    }
}
