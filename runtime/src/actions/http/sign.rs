//! Standard Webhooks signatures: `webhook-id`, `webhook-timestamp` of the attempt, `webhook-signature`: `v1` with HMAC for
//! `whsec_` keys, `v1a` with ed25519 for `whsk_` keys.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;
use standardwebhooks::Webhook;
use triggerd_core::mistake::Mistake;

use crate::actions::{Context, Use};
use crate::failed::Failed;

const PREFIX: &str = "whsec_";
/// Of a private ed25519 key: a seed of 32 bytes, and most often the public key's 32 behind it.
const PRIVATE: &str = "whsk_";
/// What stands in front of an ed25519 seed in PKCS #8 (RFC 8410, 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The shortest key that the specification allows, in bytes.
const SHORTEST_KEY: usize = 24;

/// What is wrong with `signWith` as it is written.
pub(super) fn mistakes(written: &Value) -> Vec<Mistake> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let fits = match written {
        Value::Null => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(is_text),
        single => is_text(single),
    };
    let detail = "must be a secret's name, a `whsec_...` or `whsk_...` text, or a list of those";
    if fits { Vec::new() } else { vec![Mistake::new("/signWith", detail)] }
}

/// The secrets that `signWith` names, as far as that can be read before it is rendered.
pub(super) fn named_secrets(written: &Value) -> Vec<Use> {
    let is_name = |text: &&str| !text.contains("{{") && !text.starts_with(PREFIX) && !text.starts_with(PRIVATE);
    texts(written).filter(is_name).map(|name| ("secrets", name.to_owned())).collect()
}

/// The keys that `signWith` means: texts as they are, names looked up.
pub(super) fn secrets(cx: &Context, written: &Value) -> Result<Vec<String>, Failed> {
    if let Some(mistake) = mistakes(written).first() {
        return Err(Failed::permanent("CONFIG_INVALID", mistake.to_string()));
    }
    texts(written).map(|text| key(cx, text)).collect()
}

/// One text, or a list of them.
fn texts(written: &Value) -> impl Iterator<Item = &str> {
    let listed = written.as_array().map_or(std::slice::from_ref(written), Vec::as_slice);
    listed.iter().filter_map(Value::as_str)
}

fn key(cx: &Context, text: &str) -> Result<String, Failed> {
    // A value that was rendered from a secret is the key itself, with or without the prefix.
    if text.starts_with(PREFIX) || text.starts_with(PRIVATE) || cx.secrets.iter().any(|secret| secret == text) {
        return Ok(text.to_owned());
    }
    cx.services.secrets.get_in(cx.tenant(), text, &cx.event.env).ok_or_else(|| {
        Failed::permanent(
            "SECRET_NOT_FOUND",
            format!("/signWith: there is no secret `{text}`; PUT /api/v1/secrets/{text} makes it"),
        )
    })
}

/// Signs `body` with every key.
pub(super) fn sign(
    headers: &mut HeaderMap,
    keys: &[String],
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<(), Failed> {
    let seconds = now.as_second();
    let signatures: Vec<String> = keys.iter().map(|key| signature(key, id, seconds, body)).collect::<Result<_, _>>()?;
    for (name, text) in [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ] {
        let value = HeaderValue::from_str(&text).map_err(|e| invalid(&e.to_string()))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(())
}

fn signature(key: &str, id: &str, seconds: i64, body: &[u8]) -> Result<String, Failed> {
    if let Some(private) = key.strip_prefix(PRIVATE) {
        return signature_of_private(private, id, seconds, body);
    }
    let wanted = format!("the key must be `{PREFIX}` and at least {SHORTEST_KEY} bytes as base64");
    let bytes = STANDARD.decode(key.strip_prefix(PREFIX).unwrap_or(key)).map_err(|_| invalid(&wanted))?;
    if bytes.len() < SHORTEST_KEY {
        return Err(invalid(&wanted));
    }
    let webhook = Webhook::from_bytes(bytes).map_err(|e| invalid(&e.to_string()))?;
    webhook.sign(id, seconds, body).map_err(|e| invalid(&e.to_string()))
}

fn signature_of_private(key: &str, id: &str, seconds: i64, body: &[u8]) -> Result<String, Failed> {
    let wanted = format!("the key must be `{PRIVATE}` and an ed25519 key of 32 or 64 bytes as base64");
    let bytes = STANDARD.decode(key).map_err(|_| invalid(&wanted))?;
    if !matches!(bytes.len(), 32 | 64) {
        return Err(invalid(&wanted));
    }
    let der = [&PKCS8[..], &bytes[..32]].concat();
    let signed = [format!("{id}.{seconds}.").as_bytes(), body].concat();
    let signature = jsonwebtoken::crypto::sign(&signed, &EncodingKey::from_ed_der(&der), Algorithm::EdDSA);
    let signature =
        signature.ok().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or_else(|| invalid(&wanted))?;
    Ok(format!("v1a,{}", STANDARD.encode(signature)))
}

fn invalid(detail: &str) -> Failed {
    Failed::permanent("SIGNING_KEY_INVALID", format!("/signWith: {detail}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_specification_s_vector_is_signed_as_it_says() {
        let mut headers = HeaderMap::new();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        sign(&mut headers, &[KEY.into()], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
    }

    #[test]
    fn the_vector_of_the_private_key_is_signed_as_it_says() {
        let key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
        let signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let wanted = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(signed.unwrap(), wanted);
    }

    #[test]
    fn two_keys_give_two_signatures() {
        let mut headers = HeaderMap::new();
        sign(&mut headers, &[KEY.into(), KEY.into()], "a", Timestamp::UNIX_EPOCH, b"").unwrap();
        let text = headers["webhook-signature"].to_str().unwrap();
        assert_eq!(text.split(' ').filter(|s| s.starts_with("v1,")).count(), 2);
    }

    #[test]
    fn short_and_garbled_keys_are_refused() {
        for bad in ["whsec_", "whsec_AAAA", "whsec_!!!", "", "whsk_", "whsk_AAAA"] {
            assert_eq!(signature(bad, "a", 0, b"").unwrap_err().failure.code, "SIGNING_KEY_INVALID", "{bad}");
        }
    }
}
