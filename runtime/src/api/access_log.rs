//! The access log: one event for each request that was answered, in the target [`TARGET`].
//!
//! It names the route and never the path: a path may hold a secret, as hooks' do. An answer that is a stream is logged at its
//! end, with all that went out.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::MatchedPath;
use axum::response::Response;
use http::Method;
use http_body::{Frame, SizeHint};

use super::request_id::RequestId;
use crate::access::Caller;
use crate::config::AccessLog;

/// What its events are filtered by.
const TARGET: &str = "triggerd::access";

/// The route of a request that there is none for.
const NO_ROUTE: &str = "none";

/// What the guard found out; on answers that are to be logged.
#[derive(Clone)]
pub struct Admitted {
    /// The route.
    pub route: MatchedPath,
    /// Who was let in.
    pub caller: Option<Caller>,
}

/// A request that is being answered.
pub struct Asked {
    method: &'static str,
    id: RequestId,
    peer: IpAddr,
    began: Instant,
}

/// What is logged of it.
struct Entry {
    asked: Asked,
    status: u16,
    admitted: Option<Admitted>,
}

/// Notes a request that may have to be logged; `None` where none is.
#[must_use]
pub fn note(log: AccessLog, method: &Method, id: &RequestId, peer: IpAddr) -> Option<Asked> {
    let is_heard = log != AccessLog::Off && tracing::enabled!(target: TARGET, tracing::Level::INFO);
    is_heard.then(|| Asked { method: method_name(method), id: id.clone(), peer, began: Instant::now() })
}

/// A method in few words: one that nobody knows is the sender's text, and must make no new series.
#[must_use]
pub fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl Asked {
    /// Logs the answer, now or when the last of it has gone out.
    #[must_use]
    pub fn answered(self, log: AccessLog, mut response: Response) -> Response {
        let status = response.status();
        if !log.wants(status) {
            return response;
        }
        let admitted = response.extensions_mut().remove::<Admitted>();
        let entry = Entry { asked: self, status: status.as_u16(), admitted };
        match response.body().size_hint().exact() {
            Some(bytes) => {
                entry.log(bytes);
                response
            }
            None => response.map(|inner| Body::new(Counted { inner, bytes: 0, entry: Some(entry) })),
        }
    }
}

impl Entry {
    fn log(self, bytes: u64) {
        let Self { asked: Asked { method, id, peer, began }, status, admitted } = self;
        let duration_ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        let route = admitted.as_ref().map_or(NO_ROUTE, |admitted| admitted.route.as_str());
        let caller = admitted.as_ref().and_then(|admitted| admitted.caller.as_ref());
        tracing::info!(
            target: TARGET,
            {
                http.method = method,
                http.route = route,
                http.status = status,
                duration_ms = duration_ms,
                bytes = bytes,
                tenant = caller.map(|caller| caller.tenant.as_str()),
                key.id = caller.map(Caller::key_id),
                request.id = id.as_str(),
                peer = %peer,
            },
            "{method} {route} {status}"
        );
    }
}

/// A body that tells at its end how long it was.
struct Counted {
    inner: Body,
    bytes: u64,
    entry: Option<Entry>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.bytes += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.log(self.bytes);
        }
    }
}
