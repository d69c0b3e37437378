//! Whether a request is its sender's: signatures over the bytes as they came, compared in constant time, and not older than the
//! hook's tolerance where the time is signed.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::resources::{HookKey, HookSecret, Verify, hook_key_of};

/// Signatures of a request that are looked at.
const MAX_SIGNATURES: usize = 16;
/// The header of a shared secret where the hook names no other.
const SHARED_SECRET: &str = "x-webhook-secret";

/// Why a request was not taken for its sender's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A header that the check needs is not there once, or cannot be read.
    #[error("the header `{0}` is missing, there twice or not what it should be")]
    Header(String),
    /// It was signed too long ago, or for a time too far ahead.
    #[error("the signature's time is too far from now")]
    Stale,
    /// No signature fits.
    #[error("no signature fits")]
    Wrong,
    /// A secret of the hook is no key: nobody's signature could fit.
    #[error("the hook's secrets are not of the form that its check needs")]
    Secret,
}

/// Checks a request as its hook says.
pub fn verify(how: &Verify, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
    let timely = |seconds: &str, header: &str| {
        let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        let seconds =
            seconds.parse::<i64>().ok().filter(|_| is_number).ok_or_else(|| Refusal::Header(header.into()))?;
        let far = now.as_second().abs_diff(seconds) > how.tolerance().as_secs();
        if far { Err(Refusal::Stale) } else { Ok(()) }
    };
    match how {
        Verify::StandardWebhooks { secret, .. } => {
            let (id, time) = (one(headers, "webhook-id")?, one(headers, "webhook-timestamp")?);
            // What is signed is put together with dots: an id with one could be read in two ways.
            if id.is_empty() || id.contains('.') {
                return Err(Refusal::Header("webhook-id".to_owned()));
            }
            timely(time, "webhook-timestamp")?;
            let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body];
            standard(secret, one(headers, "webhook-signature")?, &signed)
        }
        Verify::Github { secret } => {
            let signature = one(headers, "x-hub-signature-256")?;
            let mac = signature.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok());
            any(secret, &[body], &[mac.ok_or_else(|| Refusal::Header("X-Hub-Signature-256".to_owned()))?])
        }
        Verify::Stripe { secret, .. } => {
            let text = one(headers, "stripe-signature")?;
            let parts = || text.split(',').filter_map(|part| part.trim().split_once('='));
            let time = parts().find(|(name, _)| *name == "t").map(|(_, time)| time);
            let time = time.ok_or_else(|| Refusal::Header("Stripe-Signature".to_owned()))?;
            timely(time, "Stripe-Signature")?;
            let macs = parts().filter(|(name, _)| *name == "v1").filter_map(|(_, mac)| hex::decode(mac).ok());
            any(secret, &[time.as_bytes(), b".", body], &macs.take(MAX_SIGNATURES).collect::<Vec<_>>())
        }
        Verify::Slack { secret, .. } => {
            let time = one(headers, "x-slack-request-timestamp")?;
            timely(time, "X-Slack-Request-Timestamp")?;
            let mac = one(headers, "x-slack-signature")?.strip_prefix("v0=").and_then(|text| hex::decode(text).ok());
            let mac = mac.ok_or_else(|| Refusal::Header("X-Slack-Signature".to_owned()))?;
            any(secret, &[b"v0:", time.as_bytes(), b":", body], &[mac])
        }
        Verify::SharedSecret { secret, header } => {
            let name = header.as_deref().unwrap_or(SHARED_SECRET);
            let mut sent = one(headers, name)?;
            if name.eq_ignore_ascii_case("authorization")
                && let Some((scheme, rest)) = sent.split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                sent = rest.trim();
            }
            // Digests: how long the comparison takes says nothing of the secret's length either.
            let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
            let sent = digest(sent);
            let fits = secret.all().iter().filter(|secret| bool::from(digest(secret).ct_eq(&sent))).count();
            if fits > 0 { Ok(()) } else { Err(Refusal::Wrong) }
        }
        Verify::None {} => Ok(()),
    }
}

/// A header that has to be there once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(text)), None) => Ok(text.trim()),
        _ => Err(Refusal::Header(name.to_owned())),
    }
}

/// Whether one of the codes is that of the message under one of the secrets.
fn any(secret: &HookSecret, message: &[&[u8]], macs: &[Vec<u8>]) -> Result<(), Refusal> {
    let fits = secret.all().iter().any(|secret| macs.iter().any(|mac| fits(secret.as_bytes(), message, mac)));
    if fits { Ok(()) } else { Err(Refusal::Wrong) }
}

/// In constant time.
fn fits(key: &[u8], message: &[&[u8]], mac: &[u8]) -> bool {
    // A key of any length is one.
    let Ok(mut expected) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    message.iter().for_each(|part| expected.update(part));
    expected.verify_slice(mac).is_ok()
}

/// `v1,BASE64 v1a,BASE64`: one that fits is enough; versions that nobody knows are passed over.
fn standard(secret: &HookSecret, signatures: &str, message: &[&[u8]]) -> Result<(), Refusal> {
    let keys: Vec<HookKey> =
        secret.all().iter().map(|text| hook_key_of(text)).collect::<Option<_>>().ok_or(Refusal::Secret)?;
    let fits = |(version, signature): (&str, &str)| {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        keys.iter().any(|key| match key {
            HookKey::Shared(key) => version == "v1" && fits(key, message, &signature),
            HookKey::Public(key) => version == "v1a" && is_signed(key, message, &signature),
        })
    };
    let found = signatures.split(' ').filter_map(|signature| signature.split_once(',')).take(MAX_SIGNATURES).any(fits);
    if found { Ok(()) } else { Err(Refusal::Wrong) }
}

fn is_signed(public: &[u8], message: &[&[u8]], signature: &[u8]) -> bool {
    let key = DecodingKey::from_ed_der(public);
    let signature = URL_SAFE_NO_PAD.encode(signature);
    jsonwebtoken::crypto::verify(&signature, &message.concat(), &key, Algorithm::EdDSA).unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::*;

    const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER_KEY: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    const SYMMETRIC: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const ASYMMETRIC: &str =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    const AT: i64 = 1_614_265_330;

    fn check(how: Value, headers: &[(&str, &str)], body: &[u8], at: i64) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        verify(&serde_json::from_value(how).unwrap(), &map, body, Timestamp::from_second(at).unwrap())
    }

    fn standard_of(secret: Value, signature: &str, at: i64) -> Result<(), Refusal> {
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ];
        check(json!({"type": "standard_webhooks", "secret": secret}), &headers, br#"{"test": 2432232314}"#, at)
    }

    #[test]
    fn the_specification_s_vectors_fit() {
        assert_eq!(standard_of(json!(STANDARD_KEY), SYMMETRIC, AT), Ok(()));
        assert_eq!(standard_of(json!(PUBLIC_KEY), ASYMMETRIC, AT), Ok(()));
        let both = format!("v9,AAAA {ASYMMETRIC} v1,AAAA {SYMMETRIC}");
        assert_eq!(standard_of(json!([OTHER_KEY, STANDARD_KEY]), &both, AT), Ok(()));
        assert_eq!(standard_of(json!([OTHER_KEY, PUBLIC_KEY]), &both, AT), Ok(()));
        // Each with its own kind of key alone.
        assert_eq!(standard_of(json!(STANDARD_KEY), ASYMMETRIC, AT), Err(Refusal::Wrong));
        assert_eq!(standard_of(json!(PUBLIC_KEY), SYMMETRIC, AT), Err(Refusal::Wrong));
        for bad in ["", "v1,", "v1", "v1a,AAAA", &SYMMETRIC.replace("v1", "v2"), &SYMMETRIC[..20]] {
            assert_eq!(standard_of(json!(STANDARD_KEY), bad, AT), Err(Refusal::Wrong), "{bad}");
        }
        assert_eq!(standard_of(json!("short"), SYMMETRIC, AT), Err(Refusal::Secret));
    }

    #[test]
    fn what_is_too_old_or_too_far_ahead_is_refused() {
        for (at, expected) in
            [(AT - 300, Ok(())), (AT + 300, Ok(())), (AT - 301, Err(Refusal::Stale)), (AT + 301, Err(Refusal::Stale))]
        {
            assert_eq!(standard_of(json!(STANDARD_KEY), SYMMETRIC, at), expected, "{at}");
        }
        let how = json!({"type": "slack", "secret": "s", "tolerance": "1m"});
        let headers = |time: &'static str| [("x-slack-request-timestamp", time), ("x-slack-signature", "v0=00")];
        assert_eq!(check(how.clone(), &headers("1614265269"), b"", AT), Err(Refusal::Stale));
        assert_eq!(check(how.clone(), &headers("1614265270"), b"", AT), Err(Refusal::Wrong));
        for bad in ["", "x", "-1", "+1614265330", "1614265330.5", "99999999999999999999"] {
            let header = Err(Refusal::Header("X-Slack-Request-Timestamp".to_owned()));
            assert_eq!(check(how.clone(), &headers(bad), b"", AT), header, "{bad}");
        }
    }

    #[test]
    fn an_id_that_could_be_read_in_two_ways_is_refused() {
        let headers = [("webhook-id", "msg.1"), ("webhook-timestamp", "1614265330"), ("webhook-signature", SYMMETRIC)];
        let how = json!({"type": "standard_webhooks", "secret": STANDARD_KEY});
        assert_eq!(check(how, &headers, b"", AT), Err(Refusal::Header("webhook-id".to_owned())));
    }

    #[test]
    fn github_s_example_fits() {
        let how = |secret: Value| json!({"type": "github", "secret": secret});
        let secret = "It's a Secret to Everybody";
        let mac = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let of = |secret: Value, mac: &str| check(how(secret), &[("X-Hub-Signature-256", mac)], b"Hello, World!", AT);
        assert_eq!(of(json!(secret), mac), Ok(()));
        assert_eq!(of(json!(["new", secret]), mac), Ok(()));
        assert_eq!(of(json!("another"), mac), Err(Refusal::Wrong));
        assert_eq!(of(json!(secret), &mac.replace("75", "76")), Err(Refusal::Wrong));
        let header = Err(Refusal::Header("X-Hub-Signature-256".to_owned()));
        for bad in ["", "sha256=", "sha1=00", "757107ea"] {
            let found = of(json!(secret), bad);
            assert!(found == header || found == Err(Refusal::Wrong), "{bad}: {found:?}");
        }
        assert!(check(how(json!(secret)), &[], b"Hello, World!", AT).is_err());
        let twice = [("X-Hub-Signature-256", mac), ("X-Hub-Signature-256", mac)];
        assert!(check(how(json!(secret)), &twice, b"Hello, World!", AT).is_err());
    }

    #[test]
    fn one_of_stripe_s_signatures_has_to_fit() {
        let body = br#"{"id":"evt_1","type":"charge.succeeded"}"#;
        let mac = "a77f58ed88dac6c2cb9d24f149d7424c41f234b3beb04e25d9492b330816350e";
        let how = json!({"type": "stripe", "secret": ["whsec_old", "whsec_test_secret"]});
        let of = |text: &str| check(how.clone(), &[("Stripe-Signature", text)], body, AT + 200);
        let other = "00".repeat(32);
        assert_eq!(of(&format!("t={AT},v1={mac}")), Ok(()));
        assert_eq!(of(&format!("t={AT}, v1={other}, v1={mac}, v0=1")), Ok(()));
        assert_eq!(of(&format!("t={AT},v0={mac}")), Err(Refusal::Wrong));
        assert_eq!(of(&format!("t={},v1={mac}", AT + 1)), Err(Refusal::Wrong));
        assert_eq!(of(&format!("t={},v1={mac}", AT - 200)), Err(Refusal::Stale));
        assert_eq!(of(&format!("v1={mac}")), Err(Refusal::Header("Stripe-Signature".to_owned())));
    }

    #[test]
    fn slack_s_example_fits() {
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let how = json!({"type": "slack", "secret": "8f742231b10e8888abcd99yyyzzz85a5"});
        let of = |mac: &str| {
            let headers = [("X-Slack-Request-Timestamp", "1531420618"), ("X-Slack-Signature", mac)];
            check(how.clone(), &headers, body, 1_531_420_618)
        };
        assert_eq!(of("v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"), Ok(()));
        assert_eq!(of("v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b504"), Err(Refusal::Wrong));
        assert!(of("v1=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503").is_err());
    }

    #[test]
    fn a_shared_secret_is_compared_with_its_header() {
        let own = json!({"type": "shared_secret", "secret": ["a", "b"]});
        assert_eq!(check(own.clone(), &[("X-Webhook-Secret", "b")], b"", AT), Ok(()));
        assert_eq!(check(own.clone(), &[("X-Webhook-Secret", "c")], b"", AT), Err(Refusal::Wrong));
        assert_eq!(check(own.clone(), &[("X-Webhook-Secret", "")], b"", AT), Err(Refusal::Wrong));
        assert!(check(own, &[], b"", AT).is_err());
        let bearer = json!({"type": "shared_secret", "secret": "a", "header": "Authorization"});
        for sent in ["a", "Bearer a", "bearer  a"] {
            assert_eq!(check(bearer.clone(), &[("Authorization", sent)], b"", AT), Ok(()), "{sent}");
        }
        assert_eq!(check(bearer, &[("Authorization", "Basic a")], b"", AT), Err(Refusal::Wrong));
        assert_eq!(check(json!({"type": "none"}), &[], b"", AT), Ok(()));
    }
}
