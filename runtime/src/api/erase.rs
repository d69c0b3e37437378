//! `POST /api/v1/events/erase`: forgetting what events say about somebody.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::routing::post;
use serde::Serialize;
use serde_json::{Map, Value, json};
use triggerd_core::id::EventId;
use utoipa::OpenApi;

use super::params::{FILTERS, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Router, body, replay};
use crate::access::Caller;
use crate::app::App;
use crate::carried_on::CarriedOn;
use crate::erasure::{self, Report};
use crate::store::Witness;

/// What names whom.
const NAMING: [&str; 3] = ["path", "value", "user"];

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(erase), components(schemas(ErasureView)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/events/erase", post(erase))
}

/// What was erased.
#[derive(Serialize, utoipa::ToSchema)]
struct ErasureView {
    /// `true`: nothing was erased, and `events` is how many would be.
    dry_run: bool,
    /// Events that were looked at.
    looked_at: u64,
    /// Events of which only the id, type, source, times and outcomes are left.
    events: u64,
    /// Their runs, whose requests, answers, outputs and messages are gone.
    runs: u64,
    /// Those of the runs that had not ended: they are not done.
    ended_runs: u64,
    /// Whether the bytes are overwritten in the database and its log; on PostgreSQL that is its VACUUM's.
    overwritten: bool,
    /// The events, oldest first, at most 1000.
    #[schema(value_type = Vec<String>)]
    event_ids: Vec<EventId>,
}

impl ErasureView {
    fn of(report: Report, dry_run: bool) -> Self {
        Self {
            dry_run,
            looked_at: report.looked_at,
            events: report.erased.events,
            runs: report.erased.runs,
            ended_runs: report.erased.ended,
            overwritten: report.is_overwritten,
            event_ids: report.events,
        }
    }
}

/// Erase what events say about somebody
///
/// Events are found by `path` and `value` (`{"path": "$.customer.email", "value": "ada@example.com"}`), or by `user`, the id of who made
/// the change; the inbox's filters narrow them down. Their payloads, and what was sent and received of them, are erased; ids and outcomes stay. Runs
/// that have not ended are not done. It goes on where the caller hangs up. `dry_run: true` only says how many there are.
#[utoipa::path(
    post,
    path = "/api/v1/events/erase",
    tag = "events",
    request_body(content = Object, description = "`{path, value}` or `{user}`; `dry_run`; the inbox's filters"),
    responses((status = 200, body = ErasureView), (status = 400, body = Problem), (status = 422, body = Problem))
)]
async fn erase(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answer<Json<ErasureView>> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let (naming, filters): (Map<String, Value>, Map<String, Value>) =
        members.into_iter().partition(|(name, _)| NAMING.contains(&name.as_str()));
    let at = |name: &str| naming.get(name).filter(|value| !value.is_null());
    let subject = erasure::subject(at("path"), at("value"), at("user")).map_err(ApiError::invalid)?;
    let known = [&FILTERS[..], &["dry_run"]].concat();
    let params = Params::of_body(&filters, &known).map_err(ApiError::invalid)?;
    let (filter, dry_run) = (params.filter()?, params.flag("dry_run")?);
    // Not whom it names: that is to be forgotten.
    let asked = json!({"path": at("path"), "filter": replay::told(&filter), "dry_run": dry_run});
    Witness::note(|entry| entry.after = Some(asked.clone()));
    let tenant = caller.tenant;
    let work = async move { erasure::erase(&app, &tenant, &subject, &filter, dry_run).await };
    let report = CarriedOn::new(work).await?;
    Ok(Json(ErasureView::of(report, dry_run)))
}
