//! The inbox: events with what became of them, and one event with everything that is known of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;
use triggerd_core::id::EventId;
use utoipa::OpenApi;

use super::Router;
use super::params::{FILTERS, PAGING, Params, page_error};
use super::problem::{Answer, ApiError, Problem};
use super::views::{EventDetails, EventView, MomentView, RunView};
use crate::access::Caller;
use crate::app::App;
use crate::{not_matched, timeline};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, show), components(schemas(InboxPage, EventView, RunView, MomentView)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/inbox", get(list)).route("/api/v1/events/{id}", get(show))
}

/// A page of the inbox.
#[derive(Serialize, utoipa::ToSchema)]
struct InboxPage {
    /// The events, newest first.
    events: Vec<EventView>,
    /// How many there are on all pages; where that cannot be counted in a moment, how many there are at least.
    total: u64,
    /// Whether `total` is all of them.
    total_is_exact: bool,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// List events
#[utoipa::path(
    get,
    path = "/api/v1/inbox",
    tag = "events",
    params(
        ("event_type" = Option<String>, Query, description = "Exact type"),
        ("status" = Option<String>, Query, description = "`pending`, `delivered`, `failed` or `unmatched`"),
        ("source" = Option<String>, Query, description = "Exact source"),
        ("table" = Option<String>, Query, description = "Exact table"),
        ("start_time" = Option<String>, Query, description = "Accepted at or after (RFC 3339)"),
        ("end_time" = Option<String>, Query, description = "Accepted before (RFC 3339)"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "What the page before answered"),
    ),
    responses((status = 200, body = InboxPage), (status = 400, body = Problem))
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<InboxPage>> {
    let params = Params::read(query.as_deref(), &[&FILTERS[..], &PAGING[..]].concat())?;
    let page = app.store.events(&caller.tenant, &params.filter()?, &params.page()?).await.map_err(page_error)?;
    Ok(Json(InboxPage {
        events: page.items.iter().map(EventView::from).collect(),
        total: page.total,
        total_is_exact: page.total_is_exact,
        has_more: page.cursor.is_some(),
        cursor: page.cursor,
    }))
}

/// Show an event with its runs
///
/// `not_matched` explains why triggers and subscriptions of the event's table or type did not match; `timeline` tells what
/// happened, in order: `MomentView`.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    tag = "events",
    params(("id" = String, Path, description = "The event's id")),
    responses((status = 200, description = "The event, `runs`, `not_matched` and `timeline`", body = Object), (status = 404, body = Problem))
)]
async fn show(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Value>> {
    let id = event_id(&id)?;
    let stored = app.store.event(&caller.tenant, id).await?.ok_or_else(absent)?;
    let runs = app.store.runs_of(&caller.tenant, id).await?;
    let stored = stored.with(&runs);
    let not_matched = not_matched::of(&app, &stored.event, &runs).await?;
    let timeline: Vec<MomentView> = timeline::of(&stored.event, &runs).into_iter().map(MomentView::from).collect();
    let runs: Vec<RunView> = runs.into_iter().map(RunView::from).collect();
    let parts = [
        to_value(&EventView::from(&stored))?,
        to_value(&EventDetails::from(&*stored.event))?,
        serde_json::json!({
            "runs": to_value(&runs)?, "not_matched": to_value(&not_matched)?, "timeline": to_value(&timeline)?,
        }),
    ];
    let members = parts.into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Ok(Json(Value::Object(members.flatten().collect())))
}

fn to_value(view: &impl Serialize) -> Answer<Value> {
    serde_json::to_value(view).map_err(|error| ApiError::internal(&error))
}

/// The id in a path: what is no id names nothing.
pub fn event_id(text: &str) -> Answer<EventId> {
    text.parse().map_err(|_| absent())
}

pub fn absent() -> ApiError {
    ApiError::absent("event of this id")
}
