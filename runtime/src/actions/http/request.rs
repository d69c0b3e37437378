//! The request: URL, headers and body from the settings, and the headers that every request carries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use triggerd_core::mistake::{Mistake, join};

use super::{Config, sign};
use crate::actions::{Context, MAX_EXCERPT};
use crate::egress::{Request, Url};
use crate::failed::Failed;
use crate::redact::Redactor;

/// Headers that belong to the connection (RFC 9110, 7.6.1, and framing).
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that every request carries.
const OURS: &[&str] =
    &["idempotency-key", "traceparent", "tracestate", "webhook-id", "webhook-signature", "webhook-timestamp"];
const OUR_PREFIX: &str = "triggerd-";

/// A request that is ready to be sent, and what of it must not be shown.
pub(super) struct Prepared {
    /// The request.
    pub request: Request,
    /// Values that came from secrets or go into credentials.
    pub secrets: Vec<String>,
}

/// Makes the request of one attempt.
pub(super) fn prepare(cx: &Context, method: Method, config: &Config) -> Result<Prepared, Failed> {
    let mut secrets = Vec::new();
    let mut headers = user_headers(&config.headers)?;
    let body = body(&mut headers, &config.body)?;
    if let Some(auth) = &config.auth {
        let credentials = match (&auth.basic, &auth.bearer) {
            (Some(basic), None) => {
                let encoded = STANDARD.encode(format!("{}:{}", basic.username, basic.password));
                secrets.extend([basic.password.clone(), encoded.clone()]);
                format!("Basic {encoded}")
            }
            (None, Some(token)) => {
                secrets.push(token.clone());
                format!("Bearer {token}")
            }
            _ => return Err(invalid("/auth", "one of `basic` and `bearer` is needed")),
        };
        let mut value = value_of("/auth", &credentials)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    standard_headers(cx, &mut headers)?;
    let keys = sign::secrets(cx, &config.sign_with)?;
    if !keys.is_empty() {
        sign::sign(&mut headers, &keys, &cx.delivery_id.to_string(), cx.services.clock.now(), &body)?;
        secrets.extend(keys);
    }
    let url = url(cx, &config.url, &config.query)?;
    Ok(Prepared { request: Request { method, url, headers, body }, secrets })
}

impl Prepared {
    /// Where it goes, without path and query.
    pub fn origin(&self) -> String {
        self.request.url.origin().ascii_serialization()
    }

    /// What is kept of it, bounded, without secrets.
    pub fn shown(&self, redactor: &Redactor) -> Value {
        let request = &self.request;
        let headers: Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, value)| {
                let shown = if value.is_sensitive() {
                    crate::redact::STRUCK.into()
                } else {
                    redactor.text(&String::from_utf8_lossy(value.as_bytes()))
                };
                (name.as_str().to_owned(), cut(&shown, 1024).into())
            })
            .collect();
        let mut shown = json!({
            "method": request.method.as_str(),
            "url": cut(&redactor.text(request.url.as_str()), 2048),
            "headers": headers,
        });
        if !request.body.is_empty() {
            let taken = serde_json::to_vec(&shown).map_or(MAX_EXCERPT, |text| text.len());
            let room = MAX_EXCERPT.saturating_sub(taken);
            // Struck before it is cut: half a secret is still one.
            shown["body"] = cut(&redactor.text(&String::from_utf8_lossy(&request.body)), room).into();
        }
        shown
    }
}

/// `text`, at most `most` bytes of it.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// What is wrong with a header's name in `headers`.
pub(in crate::actions) fn header_mistake(name: &str) -> Option<Mistake> {
    let at = join("/headers", name);
    let lower = name.to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        Some(Mistake::new(at, format!("`{}` is no header's name", name.escape_debug())))
    } else if OF_THE_CONNECTION.contains(&lower.as_str()) {
        Some(Mistake::new(at, format!("`{name}` belongs to the connection and cannot be set")))
    } else if OURS.contains(&lower.as_str()) || lower.starts_with(OUR_PREFIX) {
        Some(Mistake::new(at, format!("`{name}` is set by triggerd on every request")))
    } else {
        None
    }
}

fn invalid(pointer: &str, detail: impl std::fmt::Display) -> Failed {
    Failed::permanent("CONFIG_INVALID", format!("{pointer}: {detail}"))
}

fn value_of(pointer: &str, text: &str) -> Result<HeaderValue, Failed> {
    HeaderValue::from_str(text)
        .or_else(|_| HeaderValue::from_bytes(text.as_bytes()))
        .map_err(|_| invalid(pointer, "a header's value cannot hold line ends or control characters"))
}

fn user_headers(written: &Map<String, Value>) -> Result<HeaderMap, Failed> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        if let Some(mistake) = header_mistake(name) {
            return Err(Failed::permanent("CONFIG_INVALID", mistake.to_string()));
        }
        let at = join("/headers", name);
        let Some(text) = scalar(value).map_err(|detail| invalid(&at, detail))? else { continue };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| invalid(&at, e))?;
        headers.append(name, value_of(&at, &text)?);
    }
    Ok(headers)
}

/// The text of a value that is one; `None` for null.
fn scalar(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        _ => Err("must be a text, a number or a truth value"),
    }
}

fn standard_headers(cx: &Context, headers: &mut HeaderMap) -> Result<(), Failed> {
    let mut set = |name: &'static str, text: &str| {
        headers.insert(HeaderName::from_static(name), value_of(name, text)?);
        Ok::<(), Failed>(())
    };
    set("idempotency-key", &cx.delivery_id.to_string())?;
    set("triggerd-event", &cx.event.id.to_string())?;
    set("triggerd-trigger", &cx.trigger)?;
    set("triggerd-attempt", &cx.attempt.to_string())?;
    if cx.replay {
        set("triggerd-replay", "true")?;
    }
    set("traceparent", &cx.traceparent())?;
    cx.event.tracestate.as_ref().map_or(Ok(()), |state| set("tracestate", state))
}

fn url(cx: &Context, text: &str, query: &Map<String, Value>) -> Result<Url, Failed> {
    let refused = |error: crate::egress::Error| Failed::from(error.failure("/url"));
    let mut url = cx.services.egress.check_url(text).map_err(refused)?;
    let mut pairs = Vec::new();
    for (name, value) in query {
        let single = [value.clone()];
        let values = value.as_array().map_or(&single[..], Vec::as_slice);
        for value in values {
            let text = scalar(value).map_err(|detail| invalid(&join("/query", name), detail))?;
            pairs.extend(text.map(|text| (name, text)));
        }
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

/// The body's bytes, with a content type where the settings bring none.
fn body(headers: &mut HeaderMap, body: &Value) -> Result<Bytes, Failed> {
    let (bytes, kind) = match body {
        Value::Null => return Ok(Bytes::new()),
        Value::String(text) => (text.clone(), "text/plain; charset=utf-8"),
        Value::Object(fields) if is_form(headers) => (form(fields)?, "application/x-www-form-urlencoded"),
        other => (other.to_string(), "application/json"),
    };
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    Ok(bytes.into())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn form(fields: &Map<String, Value>) -> Result<String, Failed> {
    // The URL library's form encoder, without a URL of ours around it.
    let mut carrier = Url::parse("http://form.invalid/").map_err(|e| invalid("/body", e))?;
    for (name, value) in fields {
        let text = scalar(value).map_err(|detail| invalid(&join("/body", name), detail))?;
        if let Some(text) = text {
            carrier.query_pairs_mut().append_pair(name, &text);
        }
    }
    Ok(carrier.query().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kind_and_bytes(headers: Value, value: Value) -> (String, String) {
        let Value::Object(written) = headers else { panic!("headers are an object") };
        let mut headers = user_headers(&written).unwrap();
        let bytes = body(&mut headers, &value).unwrap();
        let kind = headers.get(CONTENT_TYPE).map_or("", |v| v.to_str().unwrap()).to_owned();
        (kind, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn the_content_type_follows_the_body_unless_it_is_given() {
        assert_eq!(kind_and_bytes(json!({}), json!({"a": 1})), ("application/json".into(), r#"{"a":1}"#.into()));
        assert_eq!(kind_and_bytes(json!({}), json!("hi")), ("text/plain; charset=utf-8".into(), "hi".into()));
        assert_eq!(
            kind_and_bytes(json!({"Content-Type": "application/xml"}), json!("<a/>")),
            ("application/xml".into(), "<a/>".into())
        );
        assert_eq!(kind_and_bytes(json!({}), json!(null)), (String::new(), String::new()));
        let form = json!({"content-type": "application/x-www-form-urlencoded"});
        assert_eq!(kind_and_bytes(form, json!({"a b": "c&d", "n": 1, "x": null})).1, "a+b=c%26d&n=1");
    }

    #[test]
    fn line_ends_in_headers_are_refused_with_their_place() {
        for bad in ["a\r\nX: y", "a\nb", "a\rb", "a\0b"] {
            let written = json!({ "X-A": bad });
            let failed = user_headers(written.as_object().unwrap()).unwrap_err();
            assert!(failed.failure.message.starts_with("/headers/X-A: "), "{}", failed.failure.message);
            assert!(!failed.retryable);
        }
    }

    #[test]
    fn an_excerpt_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 3), "ä...");
        assert_eq!(cut("abc", 3), "abc");
    }
}
