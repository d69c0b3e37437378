//! `Idempotency-Key`: the same key with the same body gets the first answer again.
//!
//! The first answer is kept with the event, in its transaction; what is in memory here is only which keys are being
//! answered just now. A crash in between leaves either both or nothing.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use triggerd_core::id::TenantId;

use super::problem::{Answer, ApiError};
use crate::store::Idempotency;

/// The request's header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The answer's header that says that it is not the first one.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key.
const MAX_LENGTH: usize = 255;

/// The keys that are being answered.
#[derive(Clone, Default)]
pub struct InProgress(Arc<DashMap<(TenantId, String), [u8; 32]>>);

/// A key while it is being answered; dropping it lets the next request with it in.
pub struct Claim {
    in_progress: InProgress,
    tenant: TenantId,
    /// The key, unquoted.
    pub key: String,
    /// Of this request.
    pub fingerprint: [u8; 32],
}

impl InProgress {
    /// Claims the request's key, where it has one. `path` is the canonical one: two names of one route are one.
    pub fn claim(&self, headers: &HeaderMap, tenant: &TenantId, path: &str, body: &[u8]) -> Answer<Option<Claim>> {
        let Some(key) = key_of(headers)? else { return Ok(None) };
        let fingerprint = fingerprint(path, body);
        match self.0.entry((tenant.clone(), key.clone())) {
            Entry::Occupied(other) if *other.get() == fingerprint => {
                Err(ApiError::conflict("the first request with this `Idempotency-Key` is still in progress"))
            }
            Entry::Occupied(_) => Err(other_body()),
            Entry::Vacant(free) => {
                free.insert(fingerprint);
                Ok(Some(Claim { in_progress: self.clone(), tenant: tenant.clone(), key, fingerprint }))
            }
        }
    }
}

impl Claim {
    /// Whether `first`, kept under this key, was the answer to this request: 422 where it was to another.
    pub fn check(&self, first: &Idempotency) -> Answer<()> {
        if first.fingerprint == self.fingerprint { Ok(()) } else { Err(other_body()) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.in_progress.0.remove(&(self.tenant.clone(), self.key.clone()));
    }
}

/// 422: the key stands for another request.
pub fn other_body() -> ApiError {
    ApiError::unprocessable("this `Idempotency-Key` was used with another body; use a new key for a new request")
}

/// The key: a quoted string as the draft has it, or bare as most clients send it.
fn key_of(headers: &HeaderMap) -> Answer<Option<String>> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |why: &str| ApiError::malformed(format!("the `Idempotency-Key` header {why}"));
    if values.next().is_some() {
        return Err(wrong("is there twice"));
    }
    let text = value.to_str().map_err(|_| wrong("is not plain ASCII"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest).ok_or_else(|| wrong("has an opening quote that does not end it"))?,
        None => text.to_owned(),
    };
    match key.len() {
        0 => Err(wrong("is empty")),
        1..=MAX_LENGTH => Ok(Some(key)),
        _ => Err(wrong("is longer than 255 characters")),
    }
}

/// The rest of a structured field's string, after its opening quote.
fn unquote(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            plain => key.push(plain),
        }
    }
}

fn fingerprint(path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"POST ");
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(KEY, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_key_is_read_quoted_or_bare() {
        let key = |text: &str| key_of(&headers(text)).unwrap().unwrap();
        assert_eq!(key("abc-1"), "abc-1");
        assert_eq!(key("\"abc-1\""), "abc-1");
        assert_eq!(key(r#""a\"b\\c""#), r#"a"b\c"#);
        assert!(key_of(&HeaderMap::new()).unwrap().is_none());
        for bad in ["", "\"", "\"\"", "\"a", "\"a\" b", "\"\\a\"", &"x".repeat(256)] {
            assert_eq!(key_of(&headers(bad)).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[test]
    fn a_key_in_progress_is_409_with_its_body_and_422_with_another() {
        let keys = InProgress::default();
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let claim = |tenant, body: &[u8]| keys.claim(&headers("k"), tenant, "/api/v1/events", body);
        let first = claim(&a, b"1").unwrap();
        assert_eq!(claim(&a, b"1").map(|_| ()).unwrap_err().status(), 409);
        assert_eq!(claim(&a, b"2").map(|_| ()).unwrap_err().status(), 422);
        assert!(claim(&b, b"2").is_ok(), "keys are per tenant");
        drop(first);
        assert!(claim(&a, b"2").is_ok());
    }
}
