//! Strikes secrets out of what is kept or shown, in every form in which an echo brings them back.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use moka::sync::Cache;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};

/// What stands where a secret stood.
pub const STRUCK: &str = "[secret]";

/// Shorter values are no secrets worth the name, and striking them out would tear texts apart.
const SHORTEST: usize = 4;

/// What is remembered of the forms of sets of secrets, in bytes, and for how long a set that is not asked for.
const REMEMBERED: u64 = 16 << 20;
const IDLE: Duration = Duration::from_secs(60);
/// Up to so many bytes of forms are looked for in one pass: an automaton takes some fifty times as much memory.
const ONE_PASS: usize = 16 << 10;

/// What finds the forms of a set of secrets. An attempt's secrets are mostly those of the one before.
static FINDERS: LazyLock<Cache<Vec<String>, Arc<Finder>>> = LazyLock::new(|| {
    let weight = |_: &Vec<String>, finder: &Arc<Finder>| u32::try_from(finder.bytes()).unwrap_or(u32::MAX);
    Cache::builder().max_capacity(REMEMBERED).weigher(weight).time_to_idle(IDLE).build()
});

/// Finds secrets in every form.
#[derive(Debug)]
enum Finder {
    /// All of them in one pass.
    AtOnce(AhoCorasick),
    /// Large ones, a key's text for example, one after another.
    InTurn(Vec<String>),
}

impl Finder {
    fn of(secrets: &[String]) -> Self {
        let forms = secrets.iter().flat_map(|secret| forms(secret)).filter(|form| form.len() >= SHORTEST);
        let forms: Vec<String> = forms.collect();
        let automaton = (forms.iter().map(String::len).sum::<usize>() <= ONE_PASS).then(|| AhoCorasick::new(&forms));
        match automaton {
            Some(Ok(automaton)) => Self::AtOnce(automaton),
            _ => Self::InTurn(forms),
        }
    }

    /// What it takes of memory.
    fn bytes(&self) -> usize {
        match self {
            Self::AtOnce(automaton) => automaton.memory_usage(),
            Self::InTurn(forms) => forms.iter().map(String::len).sum(),
        }
    }

    /// Where they are; some may overlap.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::AtOnce(automaton) => automaton.find_overlapping_iter(text).map(|found| found.range()).collect(),
            Self::InTurn(forms) => forms
                .iter()
                .flat_map(|form| text.match_indices(form.as_str()).map(|(start, form)| start..start + form.len()))
                .collect(),
        }
    }
}

/// Strikes some secrets out. Made for each attempt.
#[derive(Clone, Default, Debug)]
pub struct Redactor {
    finder: Option<Arc<Finder>>,
}

impl Redactor {
    /// For these secrets.
    #[must_use]
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let secrets = secrets.into_iter().filter(|s| s.as_ref().len() >= SHORTEST);
        let secrets: Vec<String> = secrets.map(|s| s.as_ref().to_owned()).collect();
        if secrets.is_empty() {
            return Self::default();
        }
        let known = FINDERS.get(&secrets);
        let finder = known.unwrap_or_else(|| {
            let finder = Arc::new(Finder::of(&secrets));
            FINDERS.insert(secrets, finder.clone());
            finder
        });
        Self { finder: Some(finder) }
    }

    /// `text` without the secrets. Where two forms overlap, all that either covers is struck.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut found = self.finder.as_ref().map_or_else(Vec::new, |finder| finder.find(text));
        if found.is_empty() {
            return text.to_owned();
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut struck: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match struck.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => struck.push(range),
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for range in struck {
            out.push_str(&text[from..range.start]);
            out.push_str(STRUCK);
            from = range.end;
        }
        out.push_str(&text[from..]);
        out
    }

    /// `value` with every string, key and number in it struck through.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        if self.finder.is_none() {
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
    fn where_forms_overlap_nothing_of_either_stays() {
        let redactor = Redactor::new(["abcdef", "cdefgh", "efghijkl"]);
        assert_eq!(redactor.text("xabcdefghijkly abcdefabcdef"), "x[secret]y [secret][secret]");
        assert_eq!(Redactor::new(["aaaa"]).text("baaaaab"), "b[secret]b");
    }

    #[test]
    fn a_large_secret_is_struck_out_too() {
        let key = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----", "QUJD".repeat(2_000));
        let redactor = Redactor::new([key.as_str(), "hunter22"]);
        let text = format!("a {key} b hunter22 {}", json!({ "k": key }));
        assert_eq!(redactor.text(&text), "a [secret] b [secret] {\"k\":\"[secret]\"}");
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
