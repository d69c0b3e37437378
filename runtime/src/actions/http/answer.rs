//! The answer: a success or not, tried again or not, and what of it is kept.

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::{Failure, Outcome};

use super::request::cut;
use crate::actions::MAX_EXCERPT;
use crate::egress::Answer;
use crate::redact::Redactor;

/// The bytes of an answer's headers that are kept.
const MAX_HEADERS: usize = 16 * 1024;

/// The statuses that are a success: ranges, both ends included.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Expected(Vec<(u16, u16)>);

impl Expected {
    /// Reads `expectStatus`.
    pub fn parse(written: &Value) -> Result<Self, Mistake> {
        let single = [written.clone()];
        let items = match written {
            Value::Null => return Ok(Self(vec![(200, 299)])),
            Value::String(text) if text.contains("{{") => return Ok(Self(Vec::new())),
            Value::Array(items) if !items.is_empty() => items.as_slice(),
            _ => &single,
        };
        let ranges = items.iter().map(range).collect::<Option<Vec<_>>>();
        ranges.map(Self).ok_or_else(|| {
            Mistake::new("/expectStatus", "must be a status such as 204, a class such as \"2xx\", or a list of those")
        })
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

fn range(written: &Value) -> Option<(u16, u16)> {
    let text = match written {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.to_lowercase(),
        _ => return None,
    };
    let class = text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
    match class {
        Some(class @ 1..=5) => Some((class * 100, class * 100 + 99)),
        _ => text.parse().ok().filter(|status| (100..=599).contains(status)).map(|status| (status, status)),
    }
}

/// What later actions read: `{status, headers, body}`, without secrets.
pub(super) fn output(answer: &Answer, redactor: &Redactor) -> Value {
    let mut output = json!({
        "status": answer.status,
        "headers": headers(&answer.headers, redactor),
        "body": body(answer, redactor),
    });
    if answer.truncated {
        output["bodyTruncated"] = true.into();
    }
    output
}

fn headers(headers: &HeaderMap, redactor: &Redactor) -> Value {
    let mut out: Map<String, Value> = Map::new();
    let mut bytes = 0;
    for name in headers.keys() {
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let text = redactor.text(&values.join(", "));
        bytes += name.as_str().len() + text.len();
        if bytes > MAX_HEADERS {
            break;
        }
        out.insert(name.as_str().to_owned(), text.into());
    }
    Value::Object(out)
}

/// JSON where it is JSON, else a text.
fn body(answer: &Answer, redactor: &Redactor) -> Value {
    if answer.body.is_empty() {
        return Value::Null;
    }
    let parsed = if answer.truncated { None } else { serde_json::from_slice::<Value>(&answer.body).ok() };
    match parsed {
        Some(value) => redactor.value(value),
        None => redactor.text(&String::from_utf8_lossy(&answer.body)).into(),
    }
}

/// What is kept with the attempt: the output, bounded.
pub(super) fn excerpt(output: &Value) -> Value {
    let text = output.to_string();
    if text.len() <= MAX_EXCERPT {
        return output.clone();
    }
    let headers: Map<String, Value> = output["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .take(32)
        .map(|(name, value)| (cut(name, 64), cut(value.as_str().unwrap_or_default(), 128).into()))
        .collect();
    let mut shown = json!({ "status": output["status"], "headers": headers, "bodyTruncated": true });
    let body = match &output["body"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // JSON escapes can double the length and more; a third leaves room for most of them.
    let room = MAX_EXCERPT.saturating_sub(shown.to_string().len()) / 3;
    shown["body"] = cut(&body, room).into();
    shown
}

/// How the attempt ended.
pub(super) fn settle(answer: &Answer, expected: &Expected, output: Value, attempted: &str, now: Timestamp) -> Outcome {
    let status = answer.status;
    if expected.has(status) {
        return Outcome::Done(output);
    }
    let failure = Failure::new(format!("HTTP_{status}"), format!("{attempted} answered {status}"));
    if answer.is_transient() {
        Outcome::Retry { failure, after: answer.retry_after(now) }
    } else {
        Outcome::Dead(failure)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn answer(status: u16, retry: Option<&str>, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(retry) = retry {
            headers.insert("retry-after", retry.parse().unwrap());
        }
        Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()), truncated: false }
    }

    fn settled(status: u16, retry: Option<&str>, expected: Value) -> Outcome {
        let answer = answer(status, retry, "");
        let now: Timestamp = "2026-10-21T07:28:00Z".parse().unwrap();
        settle(&answer, &Expected::parse(&expected).unwrap(), Value::Null, "POST http://x", now)
    }

    #[test]
    fn statuses_are_done_tried_again_or_dead() {
        for status in [200, 204, 299] {
            assert!(matches!(settled(status, None, Value::Null), Outcome::Done(_)), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert!(matches!(settled(status, None, Value::Null), Outcome::Retry { .. }), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 409, 410, 422] {
            assert!(matches!(settled(status, None, Value::Null), Outcome::Dead(_)), "{status}");
        }
        assert!(matches!(settled(404, None, json!([200, 404])), Outcome::Done(_)));
        assert!(matches!(settled(302, None, json!("3xx")), Outcome::Done(_)));
        assert!(matches!(settled(200, None, json!(204)), Outcome::Dead(_)));
        assert!(matches!(settled(503, None, json!("204")), Outcome::Retry { .. }));
    }

    #[test]
    fn retry_after_is_handed_on() {
        assert!(
            matches!(settled(429, Some("7"), Value::Null), Outcome::Retry { after: Some(after), .. } if after.as_secs() == 7)
        );
    }

    #[test]
    fn expected_statuses_are_checked() {
        for bad in
            [json!("abc"), json!(99), json!(600), json!([]), json!([200, "x"]), json!("6xx"), json!({}), json!(200.5)]
        {
            assert!(Expected::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_is_json_where_it_can_be_and_echoes_no_secret() {
        let redactor = Redactor::new(["hunter22"]);
        assert_eq!(output(&answer(200, None, r#"{"you": "hunter22"}"#), &redactor)["body"], json!({"you": "[secret]"}));
        assert_eq!(output(&answer(200, None, "plain hunter22"), &redactor)["body"], "plain [secret]");
        let large = output(&answer(200, None, &"\"".repeat(100_000)), &Redactor::default());
        assert!(excerpt(&large).to_string().len() <= MAX_EXCERPT + 512);
    }
}
