//! Texts that are made of a request: `{{header.NAME}}` and `{{payload.PATH}}` in them are filled in.

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::Value;

/// Pieces of one, at most.
const MAX_PIECES: usize = 32;

/// A text with placeholders.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Header(HeaderName),
    Payload(Vec<String>),
}

impl Template {
    /// Reads one; what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, tail) = after.split_once("}}").ok_or("there is a `{{` without `}}`")?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(placeholder(inside.trim())?);
            rest = tail;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        match pieces.len() {
            0 => Err("cannot be empty; leave it out instead".to_owned()),
            1..=MAX_PIECES => Ok(Self(pieces)),
            n => Err(format!("has at most {MAX_PIECES} pieces, not {n}")),
        }
    }

    /// Fills it in. What is not there, or is neither a text, a number, true nor false, is left out.
    #[must_use]
    pub fn render(&self, headers: &HeaderMap, payload: &Value) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Header(name) => {
                    text.push_str(headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default());
                }
                Piece::Payload(path) => match find(payload, path) {
                    Some(Value::String(found)) => text.push_str(found),
                    Some(found @ (Value::Number(_) | Value::Bool(_))) => text.push_str(&found.to_string()),
                    _ => {}
                },
            }
        }
        text
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

fn placeholder(inside: &str) -> Result<Piece, String> {
    let wanted = || format!("`{{{{{inside}}}}}`: `{{{{header.NAME}}}}` and `{{{{payload.PATH}}}}` are known here");
    match inside.split_once('.').ok_or_else(wanted)? {
        ("header", name) => HeaderName::try_from(name).map(Piece::Header).map_err(|_| wanted()),
        ("payload", path) if path.split('.').all(|step| !step.is_empty()) => {
            Ok(Piece::Payload(path.split('.').map(str::to_owned).collect()))
        }
        _ => Err(wanted()),
    }
}

/// A member by its name, an item by its number.
fn find<'v>(payload: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(payload, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    #[test]
    fn headers_and_the_payload_are_filled_in() {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-event"), HeaderValue::from_static("push"))]);
        let payload = json!({"type": "a.b", "data": {"items": [{"id": 7}], "ok": true, "none": null}});
        for (template, text) in [
            ("plain", "plain"),
            ("git.{{header.X-Event}}", "git.push"),
            ("{{ payload.type }}", "a.b"),
            ("x{{payload.data.items.0.id}}y{{payload.data.ok}}", "x7ytrue"),
            ("a{{payload.data}}{{payload.data.none}}{{payload.data.items.1.id}}{{header.other}}", "a"),
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&headers, &payload), text, "{template}");
        }
    }

    #[test]
    fn what_is_no_placeholder_is_told() {
        for bad in ["", "{{", "{{payload}}", "{{payload.}}", "{{payload.a..b}}", "{{header.a b}}", "{{record.x}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&"{{payload.a}}".repeat(33)).is_err());
    }
}
