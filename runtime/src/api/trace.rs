//! W3C trace context of requests.

use http::{HeaderMap, HeaderName};
use triggerd_core::trace::TraceContext;

use crate::spans;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What an event of this request goes on with: the span of the request where spans are exported, else what the request says.
#[must_use]
pub fn context(headers: &HeaderMap) -> TraceContext {
    spans::here().unwrap_or_else(|| given(headers))
}

/// What of the request's trace context is valid; anything else is ignored, as the standard wants it.
#[must_use]
pub fn given(headers: &HeaderMap) -> TraceContext {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let Some(parent) = parents.next().and_then(|value| value.to_str().ok()) else { return TraceContext::default() };
    if parents.next().is_some() {
        return TraceContext::default();
    }
    // Several headers are one list (3.3.1).
    let states: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
    TraceContext::of(Some(parent), state.as_deref())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(pair).collect()
    }

    #[test]
    fn one_parent_is_taken_up_with_all_of_its_state() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let taken = given(&headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]));
        assert_eq!((taken.traceparent.as_deref(), taken.tracestate.as_deref()), (Some(PARENT), Some("a=1,b=2")));
        let two = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(given(&two), TraceContext::default(), "nobody knows which is meant");
        assert_eq!(given(&headers(&[("tracestate", "a=1")])), TraceContext::default());
    }
}
