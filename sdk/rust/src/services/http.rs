//! HTTP through the host's egress guard.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{Answer, Host, HttpRequest, Imports};
use crate::{ActionError, ServiceError};

/// Makes requests: `cx.http().get(url).send()?.success()?.json::<Rates>()?`.
pub struct Http<'a> {
    host: &'a Host,
}

impl<'a> Http<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// A request to an absolute `https://` or `http://` address.
    pub fn request(&self, method: impl Into<String>, url: impl Into<String>) -> Request<'a> {
        let request =
            HttpRequest { method: method.into(), url: url.into(), headers: Vec::new(), body: None, timeout_ms: None };
        Request { host: self.host, request, fault: None }
    }

    /// A `GET` request.
    pub fn get(&self, url: impl Into<String>) -> Request<'a> {
        self.request("GET", url)
    }

    /// A `POST` request.
    pub fn post(&self, url: impl Into<String>) -> Request<'a> {
        self.request("POST", url)
    }
}

/// A request to be sent.
#[must_use = "a request does nothing until `send`"]
pub struct Request<'a> {
    host: &'a Host,
    request: HttpRequest,
    /// What was wrong with the body: told by `send`, so that building stays a chain.
    fault: Option<ServiceError>,
}

impl Request<'_> {
    /// One more header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }

    /// `Authorization: Bearer TOKEN`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// A body of bytes; its `content-type` is up to the caller.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = Some(body.into());
        self
    }

    /// A JSON body.
    pub fn json(mut self, body: impl Serialize) -> Self {
        match super::write("the request's body", &body) {
            Ok(json) => self.header("content-type", "application/json").body(json),
            Err(fault) => {
                self.fault = Some(fault);
                self
            }
        }
    }

    /// At most so long; what is left of the call's own time is the limit anyhow.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout_ms = Some(timeout.as_millis().try_into().unwrap_or(u64::MAX));
        self
    }

    /// Sends the request. An error means that no complete answer came; any status is an answer.
    pub fn send(self) -> Answer<Response> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let answer = self.host.send(self.request)?;
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// What came back. Redirects are not followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, in whatever case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// Passes on an answer of 2xx and makes a failure of any other, as the built-in `http.*` actions do:
    /// 408, 425, 429 and 5xx may be tried again (after `Retry-After` seconds, where the answer has it),
    /// everything else may not.
    pub fn success(self) -> Result<Self, ActionError> {
        let (code, message) = (format!("HTTP_{}", self.status), format!("the answer was HTTP {}", self.status));
        let delay = self.header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        match (self.status, delay) {
            (200..=299, _) => Ok(self),
            (408 | 425 | 429 | 500..=599, Some(seconds)) => {
                Err(ActionError::retryable_after(code, message, Duration::from_secs(seconds)))
            }
            (408 | 425 | 429 | 500..=599, None) => Err(ActionError::retryable(code, message)),
            _ => Err(ActionError::permanent(code, message)),
        }
    }

    /// The body read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Answer<T> {
        super::read("the answer's body", &self.body)
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
