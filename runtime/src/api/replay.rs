//! Doing ended runs again, of one event or of all that a filter lets through.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use triggerd_core::id::{EventId, RunId};
use utoipa::OpenApi;

use super::Router;
use super::instant::Instant;
use super::params::{FILTERS, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{body, inbox};
use crate::access::Caller;
use crate::app::App;
use crate::replay::{self, Preview, PreviewedEvent, PreviewedRun};
use crate::store::{EventFilter, EventStatus, Witness};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(
    paths(one, many),
    components(schemas(Replayed, PreviewView, PreviewedAction, PreviewedEventView, PreviewedRunView))
)]
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

/// What a replay would do.
#[derive(Serialize, utoipa::ToSchema)]
struct PreviewView {
    /// `true`: nothing was done.
    dry_run: bool,
    /// Events that have something to be done again.
    events: u64,
    /// Runs that would be pending again, or would be made for events that matched nothing when they came.
    runs: u64,
    /// Whether that is all: of a filter that lets very many events through only the newest are looked at.
    is_complete: bool,
    /// The actions that would be done, by trigger and name, and how often.
    actions: Vec<PreviewedAction>,
    /// Runs by trigger.
    #[schema(value_type = Object)]
    triggers: BTreeMap<String, u64>,
    /// The newest events with their runs.
    samples: Vec<PreviewedEventView>,
}

/// An action that would be done. Its condition and its quota are asked only then.
#[derive(Serialize, utoipa::ToSchema)]
struct PreviewedAction {
    /// The trigger's tag.
    trigger: String,
    /// The action's name.
    name: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// How often.
    count: u64,
}

/// An event that has something to be done again.
#[derive(Serialize, utoipa::ToSchema)]
struct PreviewedEventView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    event_type: String,
    /// Its status now.
    #[schema(value_type = String)]
    status: EventStatus,
    /// When it was accepted.
    timestamp: Instant,
    /// The runs.
    runs: Vec<PreviewedRunView>,
}

/// A run that would be done.
#[derive(Serialize, utoipa::ToSchema)]
struct PreviewedRunView {
    /// The run; none where one would be made.
    #[schema(value_type = Option<String>, format = "uuid")]
    run_id: Option<RunId>,
    /// Its trigger.
    trigger: String,
    /// The names of the actions that would be done, in order.
    actions: Vec<String>,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        let action = |((trigger, name), (kind, count))| PreviewedAction { trigger, name, kind, count };
        Self {
            dry_run: true,
            events: preview.events,
            runs: preview.runs,
            is_complete: preview.is_complete,
            actions: preview.actions.into_iter().map(action).collect(),
            triggers: preview.triggers,
            samples: preview.samples.into_iter().map(PreviewedEventView::from).collect(),
        }
    }
}

impl From<PreviewedEvent> for PreviewedEventView {
    fn from(event: PreviewedEvent) -> Self {
        let run = |run: PreviewedRun| PreviewedRunView {
            run_id: run.id,
            trigger: run.trigger,
            actions: run.actions.into_iter().map(|action| action.name).collect(),
        };
        Self {
            event_id: event.id,
            event_type: event.event_type,
            status: event.status,
            timestamp: event.accepted_at.into(),
            runs: event.runs.into_iter().map(run).collect(),
        }
    }
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
/// The filters are the inbox's, in the query or as a JSON object. With `dry_run: true` nothing is done: the answer is 200 and says
/// which events, triggers and actions it would be.
#[utoipa::path(
    post,
    path = "/api/v1/replay",
    tag = "events",
    request_body(content = Option<Object>, description = "The filters; or give them in the query"),
    params(
        ("event_type" = Option<String>, Query), ("status" = Option<String>, Query), ("source" = Option<String>, Query),
        ("table" = Option<String>, Query), ("trigger" = Option<String>, Query),
        ("start_time" = Option<String>, Query), ("end_time" = Option<String>, Query),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be done"),
    ),
    responses(
        (status = 200, description = "What would be done (`dry_run`)", body = PreviewView),
        (status = 202, body = Replayed), (status = 400, body = Problem), (status = 422, body = Problem)
    )
)]
async fn many(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answer<Response> {
    let (filter, dry_run) = wanted(&app, request).await?;
    let asked = told(&filter);
    if dry_run {
        Witness::note(|entry| entry.after = Some(json!({"filter": asked, "dry_run": true})));
        let preview = replay::preview(&app, &caller.tenant, &filter).await?;
        return Ok(Json(PreviewView::from(preview)).into_response());
    }
    Witness::note(|entry| entry.after = Some(json!({"filter": asked})));
    let runs = replay::events(&app, &caller.tenant, &filter).await?;
    Witness::note(|entry| entry.after = Some(json!({"filter": asked, "runs": runs})));
    Ok((StatusCode::ACCEPTED, Json(Replayed { runs })).into_response())
}

/// A filter for the audit log.
pub(super) fn told(filter: &EventFilter) -> Value {
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

/// Which events, and whether only to say what would be done.
async fn wanted(app: &App, request: Request) -> Answer<(EventFilter, bool)> {
    let known = [&FILTERS[..], &["trigger", "dry_run"]].concat();
    let of_query = Params::read(request.uri().query(), &known)?;
    let members = body::object(request, app.config.server.body_timeout).await?;
    if members.is_empty() {
        return Ok((of_query.filter()?, of_query.flag("dry_run")?));
    }
    if !of_query.is_empty() {
        return Err(ApiError::malformed("give the filters in the query or in the body, not in both"));
    }
    let of_body = Params::of_body(&members, &known).map_err(ApiError::invalid)?;
    Ok((of_body.filter()?, of_body.flag("dry_run")?))
}
