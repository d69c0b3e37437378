//! From a request's bytes to an event, by content: the table of bodies that the API takes.

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use triggerd_core::intake_body::{self, Acceptance, Incoming};
use triggerd_core::mistake::Mistake;

use super::body;
use super::problem::{Answer, ApiError};

/// Whether a media type is a batch of CloudEvents.
#[must_use]
pub fn is_cloudevents_batch(media_type: &str) -> bool {
    media_type.starts_with("application/cloudevents-batch")
}

/// Reads one event.
pub fn read(headers: &HeaderMap, media_type: &str, bytes: &Bytes, acceptance: Acceptance) -> Answer<Incoming> {
    let event = if media_type.starts_with("application/cloudevents") {
        if media_type != "application/cloudevents+json" {
            return Err(ApiError::unsupported(format!("`{media_type}` is not taken: CloudEvents come as JSON here")));
        }
        intake_body::from_cloudevent(body::parse(bytes)?, acceptance)
    } else if is_binary_cloudevent(headers) {
        let attributes = attributes(headers).map_err(|mistake| ApiError::invalid(vec![mistake]))?;
        intake_body::from_binary_cloudevent(attributes, data(media_type, bytes)?, acceptance)
    } else if body::is_json(media_type) {
        return intake_body::read_json(body::parse(bytes)?, acceptance).map_err(ApiError::invalid);
    } else {
        return Err(ApiError::unsupported(format!(
            "`{media_type}` is not taken here; send `application/json` or a CloudEvent"
        )));
    };
    event.map(Incoming::from).map_err(ApiError::invalid)
}

/// One required attribute is enough to tell that the sender means a CloudEvent; a missing one is a mistake then.
fn is_binary_cloudevent(headers: &HeaderMap) -> bool {
    ["ce-specversion", "ce-id", "ce-source", "ce-type"].iter().any(|name| headers.contains_key(*name))
}

/// The attributes of the `ce-` headers, decoded; `datacontenttype` is the request's content type.
fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Mistake> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let Some(attribute) = attribute_of(name) else { continue };
        let text = decode(value).ok_or_else(|| {
            Mistake::new(format!("/{attribute}"), format!("the header `{name}` is not percent-encoded UTF-8"))
        })?;
        if attributes.insert(attribute.to_owned(), Value::String(text)).is_some() {
            return Err(Mistake::new(format!("/{attribute}"), format!("the header `{name}` is there twice")));
        }
    }
    if let Some(kind) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) {
        attributes.insert("datacontenttype".to_owned(), kind.into());
    }
    Ok(attributes)
}

fn attribute_of(name: &HeaderName) -> Option<&str> {
    name.as_str().strip_prefix("ce-").filter(|attribute| !attribute.is_empty() && *attribute != "datacontenttype")
}

/// A header's value, unquoted where it is quoted, then percent-decoded once.
fn decode(value: &HeaderValue) -> Option<String> {
    // Senders that do not encode what they should send it as it is.
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    let unquoted = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    };
    percent_encoding::percent_decode_str(&unquoted).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A binary CloudEvent's data, as the structured one with the same data says it: JSON as it is, text as a string, anything else as
/// `data_base64`. What has no media type is JSON where it can be read as such.
fn data(media_type: &str, bytes: &Bytes) -> Answer<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if media_type.is_empty() {
        return Ok(body::parse(bytes).unwrap_or_else(|_| encoded(bytes)));
    }
    if body::is_json(media_type) {
        return body::parse(bytes);
    }
    let is_text = media_type.starts_with("text/") || media_type.ends_with("xml");
    match std::str::from_utf8(bytes) {
        Ok(text) if is_text => Ok(Value::String(text.to_owned())),
        _ => Ok(encoded(bytes)),
    }
}

/// To be told from a text.
fn encoded(bytes: &Bytes) -> Value {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Value::Object(Map::from_iter([("data_base64".to_owned(), Value::String(text))]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn attributes_are_decoded_and_the_content_type_is_one_of_them() {
        let headers = headers(&[
            ("ce-id", "1"),
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-comment", "\"a b\""),
            ("ce-datacontenttype", "text/plain"),
            ("content-type", "application/json"),
        ]);
        assert!(is_binary_cloudevent(&headers));
        let expected =
            json!({"id": "1", "subject": "Euro € 😀", "comment": "a b", "datacontenttype": "application/json"});
        assert_eq!(Value::Object(attributes(&headers).unwrap()), expected);
    }

    #[test]
    fn an_attribute_that_is_not_utf_8_is_named() {
        let mistake = attributes(&headers(&[("ce-subject", "%ff")])).unwrap_err();
        assert_eq!(mistake.pointer, "/subject");
    }

    #[test]
    fn data_is_kept_by_its_kind() {
        assert_eq!(data("application/json", &Bytes::from_static(b"{\"a\":1}")).unwrap(), json!({"a": 1}));
        assert_eq!(data("text/plain", &Bytes::from_static(b"hi")).unwrap(), json!("hi"));
        assert_eq!(data("image/png", &Bytes::from_static(b"hi")).unwrap(), json!({"data_base64": "aGk="}));
        assert_eq!(data("", &Bytes::from_static(b"{\"a\":1}")).unwrap(), json!({"a": 1}));
        assert_eq!(data("", &Bytes::from_static(b"hi")).unwrap(), json!({"data_base64": "aGk="}));
        assert_eq!(data("image/png", &Bytes::new()).unwrap(), Value::Null);
        assert!(data("application/json", &Bytes::from_static(b"{")).is_err());
    }
}
