//! What every answer tells browsers and caches, unless the route itself has said otherwise: nobody keeps it, nobody frames it,
//! and it is what its type says.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request_id::{REQUEST_ID, RequestId};

const DEFAULTS: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

/// A year: what browsers that preload it ask for.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds them.
pub fn add(headers: &mut HeaderMap, id: &RequestId, is_tls: bool) {
    // Once, instead of growing with each.
    headers.reserve(DEFAULTS.len() + 2);
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    if is_tls {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(ONLY_TLS);
    }
    headers.insert(REQUEST_ID, id.header());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_a_route_says_itself_is_left_alone() {
        let id = RequestId::of(&HeaderMap::new(), &Clock::system());
        let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
        add(&mut headers, &id, false);
        assert_eq!(headers[CACHE_CONTROL], "max-age=60");
        assert_eq!(headers[X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[REQUEST_ID], id.as_str());
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY), "nobody is told to use TLS that there is not");
        add(&mut headers, &id, true);
        assert_eq!(headers[STRICT_TRANSPORT_SECURITY], ONLY_TLS);
    }
}
