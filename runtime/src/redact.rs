//! Strikes secrets out of what is kept or shown, in every form in which an echo brings them back.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};

/// What stands where a secret stood.
pub const STRUCK: &str = "[secret]";

/// Shorter values are no secrets worth the name, and striking them out would tear texts apart.
const SHORTEST: usize = 4;

/// The forms of some secrets, longest first. Made once per attempt.
#[derive(Clone, Default, Debug)]
pub struct Redactor {
    forms: Vec<String>,
}

impl Redactor {
    /// For these secrets.
    #[must_use]
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .filter(|s| s.as_ref().len() >= SHORTEST)
            .flat_map(|s| forms(s.as_ref()))
            .filter(|form| form.len() >= SHORTEST)
            .collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// `text` without the secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for form in &self.forms {
            if out.contains(form.as_str()) {
                out = out.replace(form.as_str(), STRUCK);
            }
        }
        out
    }

    /// `value` with every string, key and number in it struck through.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        if self.forms.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|v| self.value(v)).collect()),
            Value::Object(fields) => {
                let struck: Map<String, Value> =
                    fields.into_iter().map(|(k, v)| (self.text(&k), self.value(v))).collect();
                Value::Object(struck)
            }
            Value::Number(number) => {
                let text = number.to_string();
                let struck = self.text(&text);
                if struck == text { Value::Number(number) } else { Value::String(struck) }
            }
            other => other,
        }
    }
}

/// `text` without `secrets`, in whichever form they stand there.
#[must_use]
pub fn redact(text: &str, secrets: &[String]) -> String {
    Redactor::new(secrets).text(text)
}

fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let json = Value::from(secret).to_string();
    let mut out = vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        percent_encode(bytes, NON_ALPHANUMERIC).to_string(),
        // What URL libraries make of it: only what they must encode, and the form encoding's `+`.
        percent_encode(bytes, LENIENT).to_string(),
        percent_encode(bytes, LENIENT).to_string().replace("%20", "+"),
        hex::encode(bytes),
        hex::encode_upper(bytes),
    ];
    // As part of a longer base64 text (`Basic` credentials) a secret takes one of three shapes, by where in a
    // group of three bytes it begins. The characters at both ends mix with the neighbours' bits.
    for offset in 0..3 {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(bytes);
        let skip = [0, 2, 3][offset];
        let whole = (padded.len() * 8 / 6).saturating_sub(skip);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            out.push(encoded[skip..skip + whole].to_owned());
            if offset == 0 {
                out.push(encoded);
            }
        }
    }
    out.extend(out.clone().into_iter().filter(|f| f.contains('%')).map(|f| f.to_lowercase()));
    out
}

/// The unreserved characters of RFC 3986 stay.
const LENIENT: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const SECRET: &str = "s3cr3t/+ key \"x\"";

    #[test]
    fn every_form_of_a_secret_is_struck_out() {
        let secrets = [SECRET.to_owned()];
        let mut shown = vec![
            SECRET.to_owned(),
            json!({ "echo": SECRET }).to_string(),
            hex::encode(SECRET),
            percent_encode(SECRET.as_bytes(), NON_ALPHANUMERIC).to_string(),
            STANDARD.encode(SECRET),
        ];
        for user in ["", "a", "ab", "abc", "user:", "user2:"] {
            for tail in ["", "x", "yz"] {
                shown.push(STANDARD.encode(format!("{user}{SECRET}{tail}")));
            }
        }
        for text in shown {
            let struck = redact(&format!("before {text} after"), &secrets);
            assert!(struck.contains(STRUCK), "{text} stayed");
            assert!(struck.starts_with("before ") && struck.ends_with(" after"), "{struck}");
        }
    }

    #[test]
    fn texts_without_secrets_stay_as_they_are() {
        assert_eq!(redact("nothing here", &["other-secret".into(), "".into(), "abc".into()]), "nothing here");
    }

    #[test]
    fn values_are_struck_through_to_the_last_key_and_number() {
        let redactor = Redactor::new(["12345678", "hunter22"]);
        let value = json!({"a": ["hunter22!", 12345678, 1], "hunter22": true});
        assert_eq!(redactor.value(value), json!({"a": ["[secret]!", "[secret]", 1], "[secret]": true}));
    }
}
