//! Sample events: bodies of POST /events that are tried and not accepted.

use axum::extract::Request;
use http::HeaderMap;
use serde_json::Value;
use triggerd_core::event::Event;
use triggerd_core::intake_body::{self, Acceptance};
use triggerd_core::mistake::Mistake;

use super::problem::{Answer, ApiError};
use super::{Api, body, trace};
use crate::access::Caller;
use crate::intake;

/// What an event accepted now would be given.
pub fn acceptance(api: &Api, caller: &Caller, headers: &HeaderMap) -> Acceptance {
    Acceptance {
        id: intake::new_event_id(&api.app),
        tenant: caller.tenant.clone(),
        now: api.app.clock.now(),
        trace: trace::context(headers),
    }
}

/// The event of a request's body.
pub async fn event(api: &Api, caller: &Caller, request: Request) -> Answer<Event> {
    let headers = request.headers().clone();
    let sample = body::document(request, api.app.config.server.body_timeout).await?;
    event_of(api, caller, &headers, sample).map_err(ApiError::invalid)
}

/// The event of a parsed body; one with `specversion` is a CloudEvent.
pub fn event_of(api: &Api, caller: &Caller, headers: &HeaderMap, sample: Value) -> Result<Event, Vec<Mistake>> {
    let acceptance = acceptance(api, caller, headers);
    if sample.get("specversion").is_some() {
        intake_body::from_cloudevent(sample, acceptance)
    } else {
        intake_body::from_json(sample, acceptance)
    }
}
