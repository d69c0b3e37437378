//! `http`: one request to a granted host. The egress guard behind the services has the last word.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::answer;
use crate::wasm::bindings::triggerd::runtime::http::{Host, Request, Response};
use crate::wasm::bindings::triggerd::runtime::types;
use crate::wasm::guest::{Forbidden, Guest};
use crate::wasm::services::{HttpRequest, HttpResponse, ServiceError};

/// Headers that belong to the connection, not to the request: they would let a guest speak past the host's client.
const CONNECTION_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header belongs to the connection.
pub(super) fn belongs_to_connection(name: &str) -> bool {
    CONNECTION_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name))
}

/// The host and port of a URL, as a grant would name it.
pub(super) fn forbidden(url: &Url) -> Forbidden {
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Forbidden::new(format!("HTTP to {host}"), format!("\"http\": [\"{host}\"]"))
}

impl From<HttpResponse> for Response {
    fn from(response: HttpResponse) -> Self {
        Self { status: response.status, headers: response.headers, body: response.body.into() }
    }
}

impl Host for Guest {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, types::ServiceError>> {
        let url = match read_url(&request.url) {
            Ok(url) => url,
            Err(mistake) => {
                self.count_call()?;
                return answer::<Response, _>(Err(mistake));
            }
        };
        self.admit(self.reach.capabilities.grants_url(&url), || forbidden(&url))?;
        let request = match self.check(request, &url) {
            Ok(request) => request,
            Err(mistake) => return answer::<Response, _>(Err(mistake)),
        };
        answer(self.reach.ask(move |to, cx| to.http(cx, request)).await)
    }
}

impl Guest {
    fn check(&self, request: Request, url: &Url) -> Result<HttpRequest, ServiceError> {
        let invalid = |detail: String| ServiceError::permanent("INVALID_REQUEST", detail);
        let method = request.method.to_ascii_uppercase();
        if http::Method::from_bytes(method.as_bytes()).is_err() || method == "CONNECT" {
            return Err(invalid(format!("`{}` is not a method that can be sent", request.method)));
        }
        for (name, value) in &request.headers {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() || belongs_to_connection(name) {
                return Err(invalid(format!("`{name}` is not a header that a guest can set")));
            }
            if http::HeaderValue::from_str(value).is_err() {
                return Err(invalid(format!("the value of the header `{name}` holds characters that cannot be sent")));
            }
        }
        let body = request.body.unwrap_or_default();
        if body.len() > self.limits.body_bytes {
            return Err(invalid(format!(
                "a body of {} bytes is over the limit of {}",
                body.len(),
                self.limits.body_bytes
            )));
        }
        let left = self.reach.time_left();
        Ok(HttpRequest {
            method,
            url: url.as_str().to_owned(),
            headers: request.headers,
            body: Bytes::from(body),
            timeout: request.timeout_ms.map_or(left, |ms| Duration::from_millis(ms).min(left)),
            max_response_bytes: self.limits.body_bytes,
        })
    }
}

fn read_url(text: &str) -> Result<Url, ServiceError> {
    let invalid = |detail: String| ServiceError::permanent("INVALID_URL", detail);
    let url = Url::parse(text).map_err(|error| invalid(format!("`{text}` is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid(format!("`{text}` is not an absolute http or https URL")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("a URL with a user name or password is not sent; use the authorization header".to_owned()));
    }
    Ok(url)
}
