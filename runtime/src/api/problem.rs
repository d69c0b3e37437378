//! What a request that failed is answered with: RFC 9457 problem details.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use triggerd_core::mistake::Mistake;

use super::encoding;
use super::request_id::{self, RequestId};
use crate::access::Denied;
use crate::execute::Rejection;
use crate::failed::Failed;
use crate::{intake, store};

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// How long a caller is asked to wait for a store that cannot write.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// How long a caller is asked to wait for somebody to put settings right.
const SETTINGS_RETRY: Duration = Duration::from_secs(60);
/// The title of what is over a quota.
const QUOTA: &str = "The tenant's quota is used up";

/// The title of 404.
const NOT_FOUND: &str = "There is no such thing";

/// A request that failed, for the caller to read. Inside causes are logged, not told.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    /// The last part of `type`; stable.
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<Mistake>,
    code: Option<String>,
    rejection: Option<Rejection>,
    /// The rate limit that was over.
    violated: Option<&'static str>,
    retry_after: Option<Duration>,
    /// The rest of the request was not read: the connection cannot be used again.
    close: bool,
    /// The content encodings that would have been taken.
    accept_encoding: Option<&'static str>,
}

/// The body of an error.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// The faults of the body, each with its JSON pointer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Fault>)]
    errors: Vec<Mistake>,
    /// The code of docs/errors.md, where a database or a trigger gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Which trigger refused the write, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    rejection: Option<Rejection>,
    /// The policies of `RateLimit-Policy` that refused the request: `tenant` or `key`.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'static str; 1]>,
}

/// One fault of a body.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "describes `Mistake` in the OpenAPI document")]
pub struct Fault {
    /// RFC 6901 JSON pointer to the place; empty for the whole body.
    pointer: String,
    /// What is wrong there.
    detail: String,
}

/// What handlers answer.
pub type Answer<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            code: None,
            rejection: None,
            violated: None,
            retry_after: None,
            close: false,
            accept_encoding: None,
        }))
    }

    /// 400: the request cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// 400: a parameter of the query is not right.
    pub fn parameter(name: &str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let detail = format!("parameter `{name}`: {reason}");
        Self::malformed(detail).with_errors(vec![Mistake::new(format!("/{name}"), reason)])
    }

    /// 401: no key, or one that opens nothing.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid key is needed", detail)
    }

    /// 401: a request to a hook is not its sender's, as far as can be told.
    pub fn unsigned(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unsigned", "The signature does not fit", detail)
    }

    /// 403: the key may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The key may not do this", detail)
    }

    /// 404: it is not there, or it is another tenant's; nobody can tell which.
    pub fn absent(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", NOT_FOUND, format!("there is no {what}"))
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take this method; `Allow` lists those that it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 408: the body did not come in time.
    pub fn too_slow() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long", detail).closing()
    }

    /// 409: what is there does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "What is there does not allow it", detail)
    }

    /// 413: the body, or the number of things in it, is over the limit.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail).closing()
    }

    /// 415: the body is of a kind that this path does not take.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type", detail)
    }

    /// 415: the body is compressed in a way that is not taken; `Accept-Encoding` says which are.
    pub fn unsupported_encoding(detail: impl Into<String>) -> Self {
        let mut error = Self::unsupported(detail);
        error.0.accept_encoding = Some(encoding::ACCEPTED);
        error
    }

    /// 422: understood, and not valid.
    pub fn invalid(errors: Vec<Mistake>) -> Self {
        let detail = match errors.as_slice() {
            [] => "the body is not valid".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The body is not valid", detail).with_errors(errors)
    }

    /// 422 with a sentence alone.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid", detail)
    }

    /// 422: a trigger refuses the write of what stands at `pointer`.
    pub fn rejected(rejection: Rejection, pointer: &str) -> Self {
        let Rejection { trigger, code, message } = &rejection;
        let detail = format!("trigger `{trigger}` refuses the write: {message}");
        let errors = vec![Mistake::new(pointer, message.clone())];
        let title = "A trigger refuses the write";
        let mut refused =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", title, detail).with_errors(errors).with_code(code);
        refused.0.rejection = Some(rejection);
        refused
    }

    /// 429: the rate of the tenant or of the key is used up.
    pub fn too_many(policy: &'static str, limit: u32, retry_after: Duration) -> Self {
        let detail = format!("over the {policy}'s limit of {limit} per second");
        let title = "Too many requests";
        let mut refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title, detail);
        refused.0.violated = Some(policy);
        refused.after(retry_after)
    }

    /// 403: the tenant has as many of `what` as it may have.
    pub fn over_quota(what: &'static str, detail: String) -> Self {
        let code = match what {
            "triggers" => "QUOTA_TRIGGERS",
            "components" => "QUOTA_COMPONENTS",
            _ => "QUOTA_KEYS",
        };
        Self::new(StatusCode::FORBIDDEN, "quota-exceeded", QUOTA, detail).with_code(code)
    }

    /// 429: the tenant has as much of something as it may have just now.
    pub fn over_quota_for_now(code: &'static str, detail: String, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", QUOTA, detail).with_code(code).after(retry_after)
    }

    /// 429: the address has sent too many bad keys.
    pub fn too_many_bad_keys(retry_after: Duration) -> Self {
        let detail = "too many bad keys from this address";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail).after(retry_after)
    }

    /// 500: our fault; the cause is in the log.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, request.id = request_id(), "A request failed: {cause}");
        let detail = "the server failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed", detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now", detail).after(retry_after)
    }

    /// 503: something of ours has to be put right first; the log says what.
    pub fn not_ready(detail: impl Into<String>) -> Self {
        Self::unavailable(detail, SETTINGS_RETRY)
    }

    /// The same, with the places of what is wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Mistake>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The same, with a code for programs.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.0.code = Some(code.to_owned());
        self
    }

    fn after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What is told, and the faults: what a batch says of one of its events.
    #[must_use]
    pub fn into_mistakes(self) -> Vec<Mistake> {
        if self.0.errors.is_empty() { vec![Mistake::new("", self.0.detail)] } else { self.0.errors }
    }
}

/// Of the request that fails, for its log lines.
fn request_id() -> Option<tracing::field::DisplayValue<RequestId>> {
    request_id::current().map(tracing::field::display)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Inner {
            status,
            kind,
            title,
            detail,
            errors,
            code,
            rejection,
            violated,
            retry_after,
            close,
            accept_encoding,
        } = *self.0;
        let kind = format!("urn:triggerd:problem:{kind}");
        let violated_policies = violated.map(|policy| [policy]);
        let status_code = status.as_u16();
        let problem = Problem { kind, title, status: status_code, detail, errors, code, rejection, violated_policies };
        let body = serde_json::to_vec(&problem).expect("strings and numbers always serialise");
        let mut response = (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = retry_after {
            // Rounded up: earlier than that is too early.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"triggerd\""));
        }
        if let Some(accepted) = accept_encoding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoKey => Self::unauthenticated("send `Authorization: Bearer KEY`"),
            Denied::BadKey => Self::unauthenticated("the key is unknown, revoked or expired"),
            Denied::UnknownTenant => Self::absent("tenant of the name that `Triggerd-Tenant` gives"),
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict(detail) => Self::conflict(detail),
            store::Error::Unavailable(cause) => {
                tracing::error!(%cause, request.id = request_id(), "The store is unavailable: {cause}");
                Self::unavailable("the store is unavailable; nothing was kept", STORE_RETRY)
            }
            damaged @ store::Error::Damaged(_) => Self::internal(&damaged),
        }
    }
}

/// What a resource answered to a call on the caller's behalf.
impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        let Failed { failure, retryable, after } = failed;
        match failure.code.as_str() {
            "RESOURCE_NOT_FOUND" => Self::new(StatusCode::NOT_FOUND, "not-found", NOT_FOUND, failure.message),
            _ if retryable => Self::unavailable(failure.message, after.unwrap_or(STORE_RETRY)),
            _ => Self::unprocessable(failure.message),
        }
    }
}

impl From<intake::Error> for ApiError {
    fn from(error: intake::Error) -> Self {
        match error {
            intake::Error::Store(error) => error.into(),
            intake::Error::Draining { retry_after } => Self::unavailable("the server is shutting down", retry_after),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn parts(error: ApiError) -> (http::response::Parts, serde_json::Value) {
        let (parts, body) = error.into_response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn faults_are_told_with_their_pointers() {
        let mistakes = vec![Mistake::new("/actions/0", "a"), Mistake::new("/tag", "b")];
        let (parts, body) = parts(ApiError::invalid(mistakes)).await;
        assert_eq!(parts.status, 422);
        assert_eq!(parts.headers[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(body["type"], "urn:triggerd:problem:invalid");
        assert_eq!(body["status"], 422);
        assert_eq!(body["detail"], "/actions/0: a (and 1 more)");
        assert_eq!(body["errors"][1], serde_json::json!({"pointer": "/tag", "detail": "b"}));
    }

    #[tokio::test]
    async fn who_is_turned_away_is_told_when_or_how_to_come_back() {
        let (too_many, body) = parts(ApiError::too_many("key", 5, Duration::from_millis(1200))).await;
        assert_eq!(too_many.headers[RETRY_AFTER], "2");
        assert_eq!(body["violated-policies"], serde_json::json!(["key"]));
        let (no_key, body) = parts(Denied::NoKey.into()).await;
        assert!(no_key.headers.contains_key(WWW_AUTHENTICATE));
        assert!(body.get("errors").is_none());
    }

    #[tokio::test]
    async fn inside_causes_are_not_told() {
        let (parts, body) = parts(store::Error::Unavailable("/var/lib/secret: disk full".into()).into()).await;
        assert_eq!(parts.status, 503);
        assert!(parts.headers.contains_key(RETRY_AFTER));
        assert!(!body.to_string().contains("secret"));
    }
}
