//! Reads bodies within bounds of size and time, compressed ones too.

use std::ops::Deref;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use triggerd_core::json;
use triggerd_core::mistake::Mistake;

use super::admission::{Bodies, Held};
use super::encoding::Encoding;
use super::problem::{Answer, ApiError};

/// The largest body of everything but events and components.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// How much of a refused body is still taken, and for how long.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
const DISCARD_LIMIT: Duration = Duration::from_secs(5);

/// A body, and the room that it has until this is dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    bytes: Bytes,
    _held: Option<Held<'a>>,
}

impl Deref for Taken<'_> {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Reads a body of at most `limit` bytes, inflated where it is compressed, within `timeout`.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, timeout: Duration) -> Answer<Bytes> {
    take(None, headers, body, limit, timeout).await.map(|taken| taken.bytes)
}

/// The same, if there is room for it among other bodies, where they are counted.
pub async fn take<'a>(
    bodies: impl Into<Option<&'a Bodies>>,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    timeout: Duration,
) -> Answer<Taken<'a>> {
    let bodies = bodies.into();
    let encoding = match Encoding::of(headers) {
        Ok(encoding) => encoding,
        Err(error) => {
            discard(body).await;
            return Err(error);
        }
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let read = async {
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let mut held = bodies.map(|bodies| bodies.hold(declared.unwrap_or(0))).transpose()?;
        // What was declared has its room already.
        let held_as_it_comes = held.as_mut().filter(|_| declared.is_none());
        let bytes = collect(&mut body, limit, held_as_it_comes).await?;
        Ok(Taken { bytes, _held: held })
    };
    let read = tokio::time::timeout(timeout, read).await.map_err(|_| ApiError::too_slow())?;
    let is_refused =
        |error: &ApiError| matches!(error.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::SERVICE_UNAVAILABLE);
    if read.as_ref().is_err_and(is_refused) {
        discard(body).await;
    }
    let Some(encoding) = encoding else { return read };
    let Taken { bytes, _held: mut held } = read?;
    // Boxed: room for it in every request's future would be moved with each.
    let bytes = Box::pin(encoding.inflate(bytes, limit, held.as_mut())).await?;
    Ok(Taken { bytes, _held: held })
}

/// Takes some more of a body that is refused: a client that is still sending when the connection closes sees a reset
/// instead of the answer.
async fn discard(mut body: Body) {
    let rest = async {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the limit the client has had its chance.
    let _ = tokio::time::timeout(DISCARD_LIMIT, rest).await;
}

/// Most bodies come in one piece: that one is handed on as it is.
async fn collect(body: &mut Body, limit: usize, mut held: Option<&mut Held<'_>>) -> Answer<Bytes> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::malformed(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if let Some(held) = &mut held {
            held.grow(data.len())?;
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

fn too_large(limit: usize) -> ApiError {
    ApiError::too_large(format!("a body of at most {limit} bytes is taken here"))
}

/// The media type without its parameters, in lower case; empty where none is named.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the media type is JSON: `application/json`, `…+json`, or none at all.
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "text/json") || media_type.ends_with("+json")
}

/// Parses strict JSON; what is wrong is 400, with the place.
pub fn parse(bytes: &[u8]) -> Answer<Value> {
    refuse(json::parse(bytes))
}

fn refuse(parsed: Result<Value, json::Error>) -> Answer<Value> {
    parsed.map_err(|error| match error {
        json::Error::Malformed(detail) => ApiError::malformed(format!("the body is not JSON: {detail}")),
        json::Error::Refused(mistake) => {
            ApiError::malformed(format!("the body is not acceptable: {mistake}")).with_errors(vec![mistake])
        }
    })
}

/// A trigger definition, or a patch of one: its conditions may nest deeper than events do.
pub async fn definition(request: axum::extract::Request, timeout: Duration) -> Answer<Value> {
    refuse(json::parse_definition(&document_bytes(request, timeout).await?))
}

/// A JSON document of any handler but the events': any value.
pub async fn document(request: axum::extract::Request, timeout: Duration) -> Answer<Value> {
    parse(&document_bytes(request, timeout).await?)
}

async fn document_bytes(request: axum::extract::Request, timeout: Duration) -> Answer<Bytes> {
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers);
    if !is_json(&media_type) {
        return Err(ApiError::unsupported(format!("`{media_type}` is not taken here; send `application/json`")));
    }
    read(&parts.headers, body, MAX_DOCUMENT, timeout).await
}

/// A JSON document that must be an object; no body at all counts as `{}`.
pub async fn object(request: axum::extract::Request, timeout: Duration) -> Answer<Map<String, Value>> {
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers);
    let bytes = read(&parts.headers, body, MAX_DOCUMENT, timeout).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if !is_json(&media_type) {
        return Err(ApiError::unsupported(format!("`{media_type}` is not taken here; send `application/json`")));
    }
    match parse(&bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(ApiError::invalid(vec![Mistake::new("", "a JSON object is needed")])),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_by_its_declared_and_by_its_real_size() {
        let mut headers = HeaderMap::new();
        let read = |headers: HeaderMap, text: &'static str| async move {
            super::read(&headers, Body::from(text), 4, SECOND).await
        };
        assert_eq!(read(headers.clone(), "1234").await.unwrap().as_ref(), b"1234");
        assert_eq!(read(headers.clone(), "12345").await.unwrap_err().status(), 413);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        assert_eq!(read(headers, "1").await.unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn pieces_are_put_together_in_order() {
        let pieces = ["ab", "", "cd", "e"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(read(&HeaderMap::new(), body, 5, SECOND).await.unwrap().as_ref(), b"abcde");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let limit = Duration::from_millis(5);
        assert_eq!(read(&HeaderMap::new(), body, 5, limit).await.unwrap_err().status(), 408);
    }

    #[test]
    fn the_media_type_is_read_without_parameters() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("Application/JSON; charset=utf-8"));
        assert_eq!(media_type(&headers), "application/json");
        assert!(is_json("application/vnd.x+json") && is_json("") && !is_json("text/plain"));
    }
}
