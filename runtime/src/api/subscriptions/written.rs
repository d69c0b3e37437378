//! Subscriptions as they are written: a request's members as settings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::{Mistake, join};

use crate::app::App;
use crate::resources::{Batch, Disabled, Selector};
use crate::subscriptions;

/// The bytes of a secret: the specification allows 24 to 64.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What may be written.
const FIELDS: [&str; 8] =
    ["event_selector", "webhook_url", "secret", "batch", "description", "status", "max_attempts", "disable_after"];

/// The members of a request as settings; null takes away.
pub(super) fn written(app: &App, members: &Map<String, Value>, now: Timestamp) -> (Map<String, Value>, Vec<Mistake>) {
    let (mut settings, mut mistakes) = (Map::new(), Vec::new());
    for (name, value) in members {
        let pointer = join("", name);
        match name.as_str() {
            "event_selector" if !value.is_null() => {
                mistakes.extend(selector_mistakes(value));
                settings.insert(name.clone(), value.clone());
            }
            "webhook_url" if value.is_string() => {
                let url = value.as_str().unwrap_or_default();
                if !url.contains("{{")
                    && let Err(error) = app.services.egress.check_url(url)
                {
                    mistakes.push(Mistake::new(pointer, error.to_string()));
                }
                settings.insert(name.clone(), value.clone());
            }
            "secret" if !value.is_null() => match secret_mistake(value) {
                Some(detail) => mistakes.push(Mistake::new(pointer, detail)),
                None => drop(settings.insert("signingSecret".to_owned(), value.clone())),
            },
            "batch" => match batch(value) {
                Ok(batch) => drop(settings.insert(name.clone(), batch)),
                Err(found) => mistakes.extend(found),
            },
            "status" => match value.as_str() {
                Some("active") => {
                    settings.insert("disabled".to_owned(), Value::Null);
                    settings.insert("failing_since".to_owned(), Value::Null);
                }
                Some("disabled") => {
                    let disabled = Disabled { at: now, reason: "request".to_owned() };
                    settings.insert("disabled".to_owned(), json!(disabled));
                }
                _ => mistakes.push(Mistake::new(pointer, "must be `active` or `disabled`")),
            },
            known if FIELDS.contains(&known) => drop(settings.insert(name.clone(), value.clone())),
            _ => mistakes.push(Mistake::unknown(pointer, "field", name, FIELDS)),
        }
    }
    (settings, mistakes)
}

fn selector_mistakes(written: &Value) -> Vec<Mistake> {
    match serde_json::from_value::<Selector>(written.clone()) {
        Ok(selector) => subscriptions::mistakes(&selector),
        // What the schema says of it is told with the rest, when the settings are stored; this is for what it does not.
        Err(error) if written.is_object() && written["type"].is_string() => {
            vec![Mistake::new("/event_selector", error.to_string())]
        }
        Err(_) => vec![Mistake::new(
            "/event_selector",
            "an object with `type` `event_type` (and `value`), `jsonpath` (and `expression`) or `custom` (and `function`) is needed",
        )],
    }
}

/// `{maxSize, maxWait}`, in camelCase or with `_`.
fn batch(written: &Value) -> Result<Value, Vec<Mistake>> {
    let Some(members) = written.as_object() else {
        let is_null = written.is_null();
        return if is_null { Ok(Value::Null) } else { Err(vec![Mistake::new("/batch", "must be an object or null")]) };
    };
    let (mut read, mut mistakes) = (Map::new(), Vec::new());
    for (name, value) in members {
        let known = match name.as_str() {
            "maxSize" | "max_size" => "maxSize",
            "maxWait" | "max_wait" => "maxWait",
            _ => {
                mistakes.push(Mistake::unknown(join("/batch", name), "field", name, ["maxSize", "maxWait"]));
                continue;
            }
        };
        match value.as_u64() {
            Some(_) => drop(read.insert(known.to_owned(), value.clone())),
            None => mistakes.push(Mistake::new(join("/batch", name), "a whole number is needed")),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let read: Result<Batch, _> = serde_json::from_value(Value::Object(read));
    read.map(|batch| json!(batch)).map_err(|error| vec![Mistake::new("/batch", error.to_string())])
}

fn secret_mistake(written: &Value) -> Option<String> {
    let wanted = "must be `whsec_` and 24 to 64 bytes as base64, `whsk_` and an ed25519 key of 32 or 64 bytes as base64, or `{{secrets.NAME}}`";
    let text = written.as_str().unwrap_or_default();
    if text.contains("{{secrets.") {
        return None;
    }
    let decoded = |text: &str| STANDARD.decode(text).map_or(0, |bytes| bytes.len());
    let fits = match (text.strip_prefix("whsec_"), text.strip_prefix("whsk_")) {
        (Some(key), _) => SECRET_BYTES.contains(&decoded(key)),
        (_, Some(key)) => matches!(decoded(key), 32 | 64),
        _ => false,
    };
    if fits { None } else { Some(wanted.to_owned()) }
}

/// A secret of the operating system's randomness.
pub(super) fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// Takes away what a selector had and the one in its place has not: merged, the two would be neither.
pub(super) fn take_away(before: &Value, after: &mut Value) {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
    for (name, value) in before {
        take_away(value, after.entry(name.clone()).or_insert(Value::Null));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_standard_webhooks() {
        for good in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &new_secret(),
            "{{secrets.HOOK}}",
            &format!("whsk_{}", "A".repeat(43) + "="),
        ] {
            assert_eq!(secret_mistake(&json!(good)), None, "{good}");
        }
        for bad in ["", "secret", "whsec_AAAA", "whsk_AAAA", "whsec_!"] {
            assert!(secret_mistake(&json!(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_read_in_either_spelling() {
        assert_eq!(batch(&json!({"max_size": 2})).unwrap(), json!({"maxSize": 2, "maxWait": 5000}));
        assert_eq!(batch(&json!({"maxSize": 2, "maxWait": 10})).unwrap(), json!({"maxSize": 2, "maxWait": 10}));
        assert_eq!(batch(&json!({"size": 2})).unwrap_err()[0].pointer, "/batch/size");
        assert_eq!(batch(&json!({"maxSize": "2"})).unwrap_err()[0].pointer, "/batch/maxSize");
        assert_eq!(batch(&json!(5)).unwrap_err()[0].pointer, "/batch");
    }
}
