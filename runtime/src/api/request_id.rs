//! The id of a request: in its answer, in the access log, and in what is logged while it is answered. In no body: what one
//! tenant is told of another's things must be the same text as of things that there are not.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Clock;

/// The header that callers send it in, and get it in.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over.
const MAX_LENGTH: usize = 128;

tokio::task_local! {
    /// The request that this task answers.
    static CURRENT: RequestId;
}

/// Visible ASCII, and not too much of it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's, where it sent one that can be taken over, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap, clock: &Clock) -> Self {
        given(headers).unwrap_or_else(|| Self::new(clock))
    }

    fn new(clock: &Clock) -> Self {
        let mut text = uuid::Uuid::encode_buffer();
        let text = clock.uuid().hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).expect("hex digits and hyphens are a header's value"))
    }

    /// As the answer has it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As logs have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Answers a request: what is logged on the way can name it.
    pub fn during<F: Future>(&self, answering: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), answering)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of the request that is being answered here; none outside of one.
#[must_use]
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

fn given(headers: &HeaderMap) -> Option<RequestId> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let value = values.next()?;
    let is_sane = (1..=MAX_LENGTH).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_sane && values.next().is_none()).then(|| RequestId(value.clone()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (REQUEST_ID, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_sane_id_is_taken_over_and_any_other_replaced() {
        let clock = Clock::system();
        let id = |values: &[&[u8]]| RequestId::of(&headers(values), &clock);
        assert_eq!(id(&[b"req-42/a=b"]).as_str(), "req-42/a=b");
        assert_eq!(id(&[&[b'x'; 128]]).as_str().len(), 128);
        let strange: [&[&[u8]]; 6] =
            [&[], &[b""], &[&[b'x'; 129]], &[b"two words"], &[b"caf\xc3\xa9"], &[b"one", b"another"]];
        for values in strange {
            let made = id(values);
            let uuid: uuid::Uuid = made.as_str().parse().unwrap();
            assert_eq!(uuid.get_version_num(), 7, "{values:?}");
            assert_ne!(made, id(values));
        }
    }

    #[tokio::test]
    async fn it_is_known_while_the_request_is_answered_and_not_outside() {
        let id = RequestId::of(&headers(&[b"mine"]), &Clock::system());
        assert_eq!(id.during(async { current() }).await, Some(id));
        assert_eq!(current(), None);
    }
}
