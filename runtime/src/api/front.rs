//! What every request meets before its route, and every answer after it, also where there is no such route: the request's id,
//! the headers that all answers have, pages of other origins, the access log.
//!
//! Plain code around the router and no layers of its own: it costs each request an id and a few headers.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::HttpBody;
use axum::response::Response;
use axum::{BoxError, Router};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use tower::ServiceExt as _;
use tower_http::cors::Cors;

use super::peer::Peer;
use super::request_id::RequestId;
use super::{access_log, answer_headers, cors};
use crate::clock::Clock;
use crate::config::{AccessLog, Config};

/// Stands around the router.
pub struct Front {
    router: Router,
    cors: Option<Cors<Router>>,
    access_log: AccessLog,
    clock: Clock,
    draining: AtomicBool,
}

/// The connection that a request came over.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Who is at its other end.
    pub peer: Peer,
    /// Whether it is encrypted.
    pub is_tls: bool,
}

impl Front {
    /// Around `router`.
    #[must_use]
    pub fn new(router: Router, config: &Config, clock: Clock) -> Self {
        let cors = cors::around(&router, &config.server.cors_origins);
        Self { router, cors, access_log: config.log.access, clock, draining: AtomicBool::new(false) }
    }

    /// From now on connections end after their answer: who asks again finds another node.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers a request.
    pub async fn answer<B>(&self, mut request: Request<B>, line: Line) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let version = request.version();
        let id = RequestId::of(request.headers(), &self.clock);
        let asked = access_log::note(self.access_log, request.method(), &id, line.peer.0);
        request.extensions_mut().insert(line.peer);
        let mut response = id.during(self.route(request)).await;
        // Of HTTP/2 the connection itself tells (GOAWAY), and it has no such header.
        if self.draining.load(Ordering::Relaxed) && version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer_headers::add(response.headers_mut(), &id, line.is_tls);
        match asked {
            Some(asked) => asked.answered(self.access_log, response),
            None => response,
        }
    }

    async fn route<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let answered = match &self.cors {
            // Boxed: pages are the exception, and the future of every request would have room for theirs.
            Some(cors) if cors::concerns(&request) => Box::pin(cors.clone().oneshot(request)).await,
            _ => self.router.clone().oneshot(request).await,
        };
        answered.unwrap_or_else(|never| match never {})
    }
}
