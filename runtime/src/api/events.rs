//! `POST /events`: accepts one event.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::intake_body::{Acceptance, Incoming};
use triggerd_core::trace::TraceContext;
use utoipa::OpenApi;

use super::idempotency::{Claim, REPLAYED};
use super::instant::Instant;
use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use super::views::RunView;
use super::{Api, Router, batch, body, incoming, trace};
use crate::access::Caller;
use crate::intake::{self, Receipt, Submission};
use crate::store::{EventStatus, Idempotency};

/// The path that keys' fingerprints name, whichever name of the route was called.
const PATH: &str = "/api/v1/events";

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(accept, accept_short, batch::accept), components(schemas(Accepted, Finished, batch::BatchAnswer)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/events", post(accept_short))
        .route(PATH, post(accept))
        .route("/api/v1/events/batch", post(batch::accept))
}

/// The answer to an event that is on stable storage.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Accepted {
    /// The id that it was given.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// `accepted`.
    status: &'static str,
    /// In words.
    message: &'static str,
    /// When it was accepted.
    timestamp: Instant,
}

/// The answer to an event that was waited for.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Finished {
    /// The id that it was given.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// `delivered`, `failed` or `unmatched`; `pending` where only queued actions are left.
    #[schema(value_type = String)]
    status: EventStatus,
    /// In words.
    message: &'static str,
    /// When it was accepted.
    timestamp: Instant,
    /// Its runs.
    runs: Vec<RunView>,
}

impl Accepted {
    /// The answer to `event`, as text.
    pub fn text(event: &Event) -> String {
        let accepted = Self {
            event_id: event.id,
            status: "accepted",
            message: "the event is on stable storage",
            timestamp: event.accepted_at.into(),
        };
        serde_json::to_string(&accepted).expect("strings always serialise")
    }
}

/// How long the caller wants to wait for the runs, if at all.
#[derive(Clone, Copy)]
struct Wait(Option<Duration>);

/// Accept an event
#[utoipa::path(
    post,
    path = "/api/v1/events",
    tag = "events",
    request_body(content = Object, description = "Any of the bodies of the events table, or a CloudEvent"),
    params(
        ("wait" = Option<bool>, Query, description = "Answer 200 with the finished runs"),
        ("timeout" = Option<u64>, Query, description = "With `wait`: how many milliseconds at most"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key with the same body gets the first answer again"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, passed on to what the actions call"),
        ("tracestate" = Option<String>, Header, description = "Goes with `traceparent`"),
    ),
    responses(
        (status = 202, description = "On stable storage", body = Accepted),
        (status = 200, description = "With `wait=true`: the runs have ended", body = Finished),
        (status = 400, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
        (status = 415, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem),
        (status = 503, body = Problem),
    )
)]
async fn accept(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let wait = Wait::read(&api, parts.uri.query())?;
    let (server, intake) = (&api.app.config.server, &api.app.config.intake);
    let media_type = body::media_type(&parts.headers);
    let is_batch = incoming::is_cloudevents_batch(&media_type);
    let limit = if is_batch { intake.max_batch_bytes } else { intake.max_event_bytes };
    let bytes = body::take(&api.bodies, &parts.headers, body, limit, server.body_timeout).await?;
    let claim = api.in_progress.claim(&parts.headers, &caller.tenant, PATH, &bytes)?;
    let trace = trace::context(&parts.headers);
    if is_batch {
        return batch::keep(&api, &caller, &media_type, &bytes, trace, claim).await;
    }
    let acceptance = acceptance(&api, &caller.tenant, trace);
    let incoming = incoming::read(&parts.headers, &media_type, &bytes, acceptance)?;
    Api::take_events(&caller.limits, 1)?;
    keep(&api, incoming, claim, wait).await
}

/// Accept an event (short path)
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    request_body(content = Object, description = "As `POST /api/v1/events`"),
    responses((status = 202, description = "On stable storage", body = Accepted))
)]
async fn accept_short(state: State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    accept(state, caller, request).await
}

/// What acceptance adds to a body.
pub fn acceptance(api: &Api, tenant: &TenantId, trace: TraceContext) -> Acceptance {
    Acceptance { id: intake::new_event_id(&api.app), tenant: tenant.clone(), now: api.app.clock.now(), trace }
}

async fn keep(api: &Api, incoming: Incoming, claim: Option<Claim>, wait: Wait) -> Answer<Response> {
    let Incoming { event, key } = incoming;
    let answer = Accepted::text(&event);
    let now = event.accepted_at;
    let idempotency = match (&claim, key) {
        (Some(claim), _) => Some(remember(api, claim, StatusCode::ACCEPTED, answer.clone(), now)),
        (None, Some(key)) => Some(remember_delivery(api, key, &event)),
        (None, None) => None,
    };
    let submission =
        Submission { event: event.into(), idempotency, wait: wait.0.is_some(), only: None, follows: false };
    let mut receipt = intake::accept(&api.app, submission).await?;
    if let Some(first) = receipt.replayed.take() {
        if let Some(claim) = &claim {
            claim.check(&first)?;
        }
        return Ok(first_answer(&first));
    }
    // Released here: a second request gets the first answer while this one still waits for its runs.
    drop(claim);
    match wait.0 {
        Some(limit) if receipt.wait.ended(limit).await => finished(api, &receipt).await,
        Some(_) => Ok(json(StatusCode::ACCEPTED, answer)),
        None => {
            receipt.wait.sync_done(api.app.config.intake.max_wait).await;
            Ok(json(StatusCode::ACCEPTED, answer))
        }
    }
}

/// The answer as it is kept with the event.
pub fn remember(api: &Api, claim: &Claim, status: StatusCode, body: String, now: Timestamp) -> Idempotency {
    Idempotency {
        key: claim.key.clone(),
        fingerprint: claim.fingerprint,
        status: status.as_u16(),
        body,
        expires_at: now + api.app.config.intake.idempotency_window,
    }
}

/// The answer as it is kept with an event whose sender names the delivery: whatever comes under that name again gets it.
pub fn remember_delivery(api: &Api, key: String, event: &Event) -> Idempotency {
    Idempotency {
        fingerprint: Sha256::digest(&key).into(),
        key,
        status: StatusCode::ACCEPTED.as_u16(),
        body: Accepted::text(event),
        expires_at: event.accepted_at + api.app.config.intake.idempotency_window,
    }
}

/// The first answer again.
pub fn first_answer(first: &Idempotency) -> Response {
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::ACCEPTED);
    let mut response = json(status, first.body.clone());
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

async fn finished(api: &Api, receipt: &Receipt) -> Answer<Response> {
    let event = &receipt.event;
    let stored = api.app.store.event(&event.tenant, event.id).await?;
    let runs = api.app.store.runs_of(&event.tenant, event.id).await?;
    let body = Finished {
        event_id: event.id,
        status: stored.ok_or_else(|| ApiError::internal(&"an accepted event is gone"))?.status,
        message: "the event is on stable storage and its runs have ended",
        timestamp: event.accepted_at.into(),
        runs: runs.into_iter().map(RunView::from).collect(),
    };
    Ok((StatusCode::OK, Json(body)).into_response())
}

/// A body that is JSON already.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], axum::body::Body::from(body.into())).into_response()
}

impl Wait {
    fn read(api: &Api, query: Option<&str>) -> Answer<Self> {
        if query.is_none() {
            return Ok(Self(None));
        }
        let most = api.app.config.intake.max_wait;
        let params = Params::read(query, &["wait", "timeout"])?;
        let timeout = params.millis("timeout")?.unwrap_or(most).min(most);
        Ok(Self(params.flag("wait")?.then_some(timeout)))
    }
}
