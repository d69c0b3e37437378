//! Syncs beyond their settings: how they fare, what they lost, everything compared.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::OpenApi;
use uuid::Uuid;

use super::Router;
use super::params::{PAGING, Params};
use super::problem::{Answer, ApiError, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::failed::Failed;
use crate::store::SyncConflict;
use crate::syncs::{self, Plan, Report};

/// One JSON value a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(status, verify, conflicts, restore, remove))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/syncs/{tag}/status", get(status))
        .route("/api/v1/syncs/{tag}/verify", post(verify))
        .route("/api/v1/syncs/{tag}/conflicts", get(conflicts))
        .route("/api/v1/syncs/{tag}/conflicts/{id}", delete(remove))
        .route("/api/v1/syncs/{tag}/conflicts/{id}/restore", post(restore))
}

/// Show how a sync fares: lag, counts, conflicts, failures, and what is wrong with it
#[utoipa::path(get, path = "/api/v1/syncs/{tag}/status", tag = "syncs", params(("tag" = String, Path)),
    responses((status = 200, description = "`{enabled, both_ways, source, target, rows, outcomes, lag_seconds, last_change_at, changes_last_hour, failures_last_hour, last_failure, conflicts, conflicts_last_hour, problems}`"),
        (status = 404, body = Problem)))]
async fn status(State(app): State<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    let status = syncs::status(&app.services, &caller.tenant, &tag).await?;
    status.map(Json).ok_or_else(|| absent(&tag))
}

/// Compare everything, and with `repair` put right what differs
///
/// Answered once it is done; to who accepts `application/x-ndjson` at once, with a line `{"progress": {…}}` for each page of
/// rows, and a last line `{"report": {…}}`, or `{"error": {code, message}}` where it could not go on. Rows are read a page at a
/// time; what changes meanwhile is carried over as always. It ends with the connection.
#[utoipa::path(post, path = "/api/v1/syncs/{tag}/verify", tag = "syncs",
    params(("tag" = String, Path), ("repair" = Option<bool>, Query)),
    responses((status = 200, description = "`{compared, same, differing, only_source, only_target, repaired, failed, examples: [{key, found, error}]}`, or lines"),
        (status = 404, body = Problem), (status = 409, body = Problem, description = "The sync cannot work as it is")))]
async fn verify(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tag): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response> {
    let params = Params::read(query.as_deref(), &["repair"])?;
    let repair = params.get("repair").map(|_| params.flag("repair")).transpose()?.unwrap_or(false);
    let plan = plan(&app, &caller, &tag).await?;
    let (told, seen) = watch::channel(Report::default());
    let services = app.services.clone();
    let work = async move { syncs::verify(&services, &plan, repair, &told).await };
    if accepts_lines(&headers) {
        let lines = Body::from_stream(lines(work.boxed(), seen));
        return Ok(([(CONTENT_TYPE, NDJSON)], lines).into_response());
    }
    let report = work.await.map_err(|failed| failure(&failed))?;
    Ok(Json(json!(report)).into_response())
}

/// Whether the caller wants to be told line by line.
pub(super) fn accepts_lines(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|text| text.split(',')).any(|one| one.split(';').next().is_some_and(|one| one.trim() == NDJSON))
}

/// How far a comparison is, a line at a time. It goes on as long as somebody reads.
fn lines(
    work: BoxFuture<'static, Result<Report, Failed>>,
    seen: watch::Receiver<Report>,
) -> impl Stream<Item = Result<String, Infallible>> {
    stream::unfold(Some((work, seen)), async |state| {
        let (mut work, mut seen) = state?;
        let (line, state) = tokio::select! {
            biased;
            Ok(()) = seen.changed() => {
                let counts = json!(*seen.borrow_and_update());
                (json!({"progress": without_examples(counts)}), Some((work, seen)))
            }
            done = &mut work => (match done {
                Ok(report) => json!({"report": report}),
                Err(failed) => json!({"error": {"code": failed.failure.code, "message": failed.failure.message}}),
            }, None),
        };
        Some((Ok(format!("{line}\n")), state))
    })
}

fn without_examples(mut counts: Value) -> Value {
    if let Some(counts) = counts.as_object_mut() {
        counts.shift_remove("examples");
    }
    counts
}

/// List the values that a sync did not carry over, newest first
#[utoipa::path(get, path = "/api/v1/syncs/{tag}/conflicts", tag = "syncs",
    params(("tag" = String, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "`{conflicts: [{id, key, at, reason, winner, loser, lost, won, resolved}], total, cursor, has_more}`"),
        (status = 404, body = Problem)))]
async fn conflicts(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tag): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Value>> {
    known(&app, &caller, &tag)?;
    let params = Params::read(query.as_deref(), &PAGING)?;
    let limit = params.limit(1000)?;
    let wrong = |_| ApiError::parameter("cursor", "is not one that this list gave out");
    let before = params.get("cursor").map(|text| Uuid::parse_str(text).map_err(wrong)).transpose()?;
    let (found, total) = app.store.sync_conflicts(&caller.tenant, &tag, before, limit + 1).await?;
    let has_more = found.len() > limit as usize;
    let page = &found[..found.len().min(limit as usize)];
    let cursor = page.last().filter(|_| has_more).map(|last| last.id.to_string());
    let shown: Vec<Value> = page.iter().map(view).collect();
    Ok(Json(json!({"conflicts": shown, "total": total, "cursor": cursor, "has_more": has_more})))
}

/// Put the value back that a conflict lost, as a new change
#[utoipa::path(post, path = "/api/v1/syncs/{tag}/conflicts/{id}/restore", tag = "syncs",
    params(("tag" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "The conflict"), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "The database refuses it")))]
async fn restore(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tag, id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let plan = plan(&app, &caller, &tag).await?;
    let number = Uuid::parse_str(&id).map_err(|_| absent_conflict(&id))?;
    let found = app.store.sync_conflict(&caller.tenant, &tag, number).await?;
    let mut conflict = found.ok_or_else(|| absent_conflict(&id))?;
    syncs::restore(&app.services, &plan, &conflict).await.map_err(|failed| failure(&failed))?;
    app.store.sync_conflict_restored(&caller.tenant, &tag, number).await?;
    conflict.resolved = Some("restored".to_owned());
    Ok(Json(view(&conflict)))
}

/// Drop a conflict from the list
#[utoipa::path(delete, path = "/api/v1/syncs/{tag}/conflicts/{id}", tag = "syncs",
    params(("tag" = String, Path), ("id" = String, Path)),
    responses((status = 204, description = "Dropped"), (status = 404, body = Problem)))]
async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tag, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    known(&app, &caller, &tag)?;
    let number = Uuid::parse_str(&id).map_err(|_| absent_conflict(&id))?;
    let gone = app.store.sync_conflict_delete(&caller.tenant, &tag, number).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(absent_conflict(&id)) }
}

fn view(conflict: &SyncConflict) -> Value {
    json!({
        "id": conflict.id.to_string(), "key": conflict.key, "at": format!("{:.3}", conflict.at), "reason": conflict.reason,
        "winner": conflict.winner, "loser": conflict.loser, "lost": conflict.lost, "won": conflict.won,
        "resolved": conflict.resolved,
    })
}

fn known(app: &App, caller: &Caller, tag: &str) -> Answer<()> {
    app.services.resources.get(&caller.tenant, "syncs", tag).map(drop).ok_or_else(|| absent(tag))
}

async fn plan(app: &Arc<App>, caller: &Caller, tag: &str) -> Answer<Arc<Plan>> {
    let plan = syncs::plan(&app.services, &caller.tenant, tag).await.ok_or_else(|| absent(tag))?;
    plan.map_err(|failed| failure(&failed))
}

fn absent(tag: &str) -> ApiError {
    ApiError::absent(&format!("sync `{tag}`"))
}

fn absent_conflict(id: &str) -> ApiError {
    ApiError::absent(&format!("conflict `{id}`"))
}

fn failure(failed: &Failed) -> ApiError {
    ApiError::conflict(format!("{}: {}", failed.failure.code, failed.failure.message))
}
