//! The destinations that are being called or keep failing, and what their circuit breakers let pass.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::Router;
use super::params::{PAGING, Paged, Params};
use super::problem::{Answer, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::dispatch::{Shown, circuit_name};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/destinations", get(list))
}

/// List the destinations that are being called or have failed lately
///
/// `state` is `closed`, `open` (no attempt is made until `next_probe`) or `half_open` (one attempt at a time). `limit` is how
/// many attempts at once it gets at most: fewer once it has had too much (429, 502 to 504, time-outs), more again as it answers.
#[utoipa::path(
    get,
    path = "/api/v1/destinations",
    tag = "destinations",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses(
        (status = 200, description = "`{destinations: [{destination, state, in_flight, limit, failures, opened_at, next_probe}], total, cursor, has_more}`"),
        (status = 400, body = Problem)
    )
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<Value>> {
    let page = Params::read(query.as_deref(), &PAGING)?.page()?;
    let now = app.clock.now();
    let paged = Paged::by_key(app.dispatch.destinations.shown(&caller.tenant), &page, |shown| &shown.destination);
    Ok(Json(paged.answer("destinations", |shown| view(shown, now))))
}

fn view(shown: &Shown, now: Timestamp) -> Value {
    let at = |instant: Option<Timestamp>| instant.map(|at| format!("{at:.3}"));
    json!({
        "destination": shown.destination,
        "state": circuit_name(shown.circuit),
        "in_flight": shown.in_flight,
        "limit": shown.limit,
        "failures": shown.failures,
        "opened_at": at(shown.open_for.map(|past| now - past)),
        "next_probe": at(shown.probe_in.map(|ahead| now + ahead)),
    })
}
