//! Doing ended runs again, of one event or of all that a filter lets through.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::routing::post;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::Router;
use super::params::{FILTERS, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{body, inbox};
use crate::access::Caller;
use crate::app::App;
use crate::replay;
use crate::store::{EventFilter, Witness};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(one, many), components(schemas(Replayed)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/events/{id}/replay", post(one)).route("/api/v1/replay", post(many))
}

/// How much is done again.
#[derive(Serialize, utoipa::ToSchema)]
struct Replayed {
    /// Runs that are pending again. Runs that have not ended go on as they are and are not counted.
    runs: u64,
}

/// Do an event's runs again
#[utoipa::path(
    post,
    path = "/api/v1/events/{id}/replay",
    tag = "events",
    params(("id" = String, Path)),
    responses((status = 202, body = Replayed), (status = 404, body = Problem))
)]
async fn one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<Replayed>)> {
    let runs = replay::event(&app, &caller.tenant, inbox::event_id(&id)?).await?.ok_or_else(inbox::absent)?;
    Witness::note(|entry| entry.after = Some(json!({"runs": runs})));
    Ok((StatusCode::ACCEPTED, Json(Replayed { runs })))
}

/// Do the runs of many events again
///
/// The filters are the inbox's, in the query or as a JSON object.
#[utoipa::path(
    post,
    path = "/api/v1/replay",
    tag = "events",
    request_body(content = Option<Object>, description = "The filters; or give them in the query"),
    params(
        ("event_type" = Option<String>, Query), ("status" = Option<String>, Query), ("source" = Option<String>, Query),
        ("table" = Option<String>, Query), ("trigger" = Option<String>, Query),
        ("start_time" = Option<String>, Query), ("end_time" = Option<String>, Query),
    ),
    responses((status = 202, body = Replayed), (status = 400, body = Problem), (status = 422, body = Problem))
)]
async fn many(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answer<(StatusCode, Json<Replayed>)> {
    let filter = filter(&app, request).await?;
    let asked = told(&filter);
    Witness::note(|entry| entry.after = Some(json!({"filter": asked})));
    let runs = replay::events(&app, &caller.tenant, &filter).await?;
    Witness::note(|entry| entry.after = Some(json!({"filter": asked, "runs": runs})));
    Ok((StatusCode::ACCEPTED, Json(Replayed { runs })))
}

/// A filter for the audit log.
fn told(filter: &EventFilter) -> Value {
    let at = |instant: Option<Timestamp>| instant.map(|at| format!("{at:.3}"));
    let mut told = json!({
        "event_type": filter.event_type, "status": filter.status, "source": filter.source, "table": filter.table,
        "trigger": filter.trigger, "start_time": at(filter.start), "end_time": at(filter.end),
    });
    if let Some(told) = told.as_object_mut() {
        told.retain(|_, value| !value.is_null());
    }
    told
}

async fn filter(app: &App, request: Request) -> Answer<EventFilter> {
    let known = [&FILTERS[..], &["trigger"]].concat();
    let of_query = Params::read(request.uri().query(), &known)?;
    let members = body::object(request, app.config.server.body_timeout).await?;
    if members.is_empty() {
        return of_query.filter();
    }
    if !of_query.is_empty() {
        return Err(ApiError::malformed("give the filters in the query or in the body, not in both"));
    }
    Params::of_body(&members, &known).map_err(ApiError::invalid)?.filter()
}
