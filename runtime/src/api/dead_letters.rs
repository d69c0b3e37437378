//! Dead letters: runs that failed for good, to be looked at, tried again, or dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId};
use triggerd_core::run::RunState;
use utoipa::OpenApi;

use super::Router;
use super::instant::Instant;
use super::params::{FILTERS, PAGING, Params, page_error};
use super::problem::{Answer, ApiError, Problem};
use super::views::{ActionView, RunView};
use crate::access::Caller;
use crate::app::App;
use crate::replay;
use crate::store::Run;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, show, replay_one, remove), components(schemas(DeadLetterPage, DeadLetter)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/dead-letters", get(list))
        .route("/api/v1/dead-letters/{run_id}", get(show).delete(remove))
        .route("/api/v1/dead-letters/{run_id}/replay", post(replay_one))
}

/// A page of dead letters.
#[derive(Serialize, utoipa::ToSchema)]
struct DeadLetterPage {
    /// The dead letters, newest first.
    dead_letters: Vec<DeadLetter>,
    /// How many there are on all pages.
    total: u64,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// A run that failed for good.
#[derive(Serialize, utoipa::ToSchema)]
struct DeadLetter {
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    /// The event.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The event's type.
    #[serde(rename = "type")]
    event_type: String,
    /// Who sent it.
    source: Option<String>,
    /// The trigger's tag.
    trigger: String,
    /// The trigger's version.
    version: u32,
    /// `failed`.
    #[schema(value_type = String)]
    status: RunState,
    /// A stable code.
    error_code: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// Attempts of all its actions.
    delivery_attempts: usize,
    /// When the event was accepted.
    timestamp: Instant,
    /// When the run failed for good.
    failed_at: Option<Instant>,
    /// What the event says.
    payload: Value,
    /// What was tried.
    actions: Vec<ActionView>,
}

impl DeadLetter {
    fn of(run: Run, event: &Event) -> Self {
        let run = RunView::from(run);
        Self {
            run_id: run.run_id,
            event_id: event.id,
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            trigger: run.trigger,
            version: run.version,
            status: run.status,
            error_code: run.error_code,
            error: run.error,
            delivery_attempts: run.actions.iter().map(|action| action.attempts.len()).sum(),
            timestamp: event.accepted_at.into(),
            failed_at: run.finished_at,
            payload: event.payload(),
            actions: run.actions,
        }
    }
}

/// List dead letters
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters",
    tag = "dead letters",
    params(
        ("event_type" = Option<String>, Query), ("status" = Option<String>, Query), ("source" = Option<String>, Query),
        ("table" = Option<String>, Query), ("trigger" = Option<String>, Query, description = "The trigger's tag"),
        ("start_time" = Option<String>, Query), ("end_time" = Option<String>, Query),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = DeadLetterPage), (status = 400, body = Problem))
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<DeadLetterPage>> {
    let params = Params::read(query.as_deref(), &[&FILTERS[..], &PAGING[..], &["trigger"]].concat())?;
    let page = app.store.dead_letters(&caller.tenant, &params.filter()?, &params.page()?).await.map_err(page_error)?;
    Ok(Json(DeadLetterPage {
        total: page.total,
        has_more: page.cursor.is_some(),
        cursor: page.cursor,
        dead_letters: page.items.into_iter().map(|(run, event)| DeadLetter::of(run, &event)).collect(),
    }))
}

/// Show a dead letter
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{run_id}",
    tag = "dead letters",
    params(("run_id" = String, Path)),
    responses((status = 200, body = DeadLetter), (status = 404, body = Problem))
)]
async fn show(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<DeadLetter>> {
    let run = app.store.run(&caller.tenant, run_id(&id)?).await?;
    let run = run.filter(|run| run.state == RunState::Failed).ok_or_else(absent)?;
    let stored = app.store.event(&caller.tenant, run.event_id).await?.ok_or_else(absent)?;
    Ok(Json(DeadLetter::of(run, &stored.event)))
}

/// Try a dead letter again
///
/// It goes on at the action that failed, with the same delivery ids.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/{run_id}/replay",
    tag = "dead letters",
    params(("run_id" = String, Path)),
    responses((status = 202, description = "The run is pending again", body = Object), (status = 404, body = Problem))
)]
async fn replay_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<Value>)> {
    let id = run_id(&id)?;
    let dead = app.store.run(&caller.tenant, id).await?.filter(|run| run.state == RunState::Failed);
    if dead.is_none() {
        return Err(absent());
    }
    let run = replay::run(&app, &caller.tenant, id).await?.ok_or_else(absent)?;
    let body = json!({"run_id": run.id, "event_id": run.event_id, "status": run.state, "replay": true, "runs": 1});
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// Drop a dead letter
#[utoipa::path(
    delete,
    path = "/api/v1/dead-letters/{run_id}",
    tag = "dead letters",
    params(("run_id" = String, Path)),
    responses((status = 204, description = "Dropped"), (status = 404, body = Problem))
)]
async fn remove(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let dropped = app.store.drop_dead_letter(&caller.tenant, run_id(&id)?).await?;
    if dropped { Ok(StatusCode::NO_CONTENT) } else { Err(absent()) }
}

fn run_id(text: &str) -> Answer<RunId> {
    text.parse().map_err(|_| absent())
}

fn absent() -> ApiError {
    ApiError::absent("dead letter of this run")
}
