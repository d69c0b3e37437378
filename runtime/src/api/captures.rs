//! What is captured of a database, table by table, and what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use http::HeaderValue;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;
use utoipa::OpenApi;

use super::Router;
use super::problem::{Answer, ApiError, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::sources::Found;

/// How long a change of a definition or a database waits for what it means for capture. The work goes on after that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Says, in an answer to a change, what is wrong with the capture that it calls for.
pub(super) const HEADER: &str = "triggerd-capture";
/// The longest value of that header.
const MAX_HEADER: usize = 1000;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(show))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/databases/{tag}/capture", get(show))
}

/// Show what is captured of a database
///
/// One entry for each environment that it has a server of its own for; none where no trigger names the database. Of
/// several nodes one reads; on the others this is what that one told last, some two seconds ago.
#[utoipa::path(get, path = "/api/v1/databases/{tag}/capture", tag = "databases", params(("tag" = String, Path)),
    responses((status = 200, description = "`{captures: [{env, running, problem, captured, last_change_at, last_accepted_at, tables: [{table, operations, state, problem}]}]}`"),
        (status = 404, body = Problem)))]
async fn show(State(app): State<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    if app.services.resources.get(&caller.tenant, "databases", &tag).is_none() {
        return Err(ApiError::absent(&format!("database `{tag}`")));
    }
    app.sources.settle(&caller.tenant, PATIENCE).await;
    Ok(Json(json!({ "captures": app.sources.shown(&app, &caller.tenant, &tag).await? })))
}

/// Waits until a change of the tenant's definitions or databases is carried out in them; what is wrong then, in words.
pub(super) async fn settled(app: &App, tenant: &TenantId, databases: &[&str]) -> Option<String> {
    app.sources.settle(tenant, PATIENCE).await;
    problems(app, tenant, databases)
}

/// What is wrong with the capture of these databases.
pub(super) fn problems(app: &App, tenant: &TenantId, databases: &[&str]) -> Option<String> {
    let mut problems = Vec::new();
    for database in databases {
        for (place, told) in app.sources.told(tenant, database) {
            let of = |what: &str, problem: &str| format!("{database} ({}){what}: {problem}", place.env);
            problems.extend(told.problem.iter().map(|problem| of("", problem)));
            for table in &told.tables {
                if let Found::Problem(problem) = &table.found {
                    problems.push(of(&format!(", table {}", table.table), problem));
                }
            }
        }
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// A text as a header's value: without what headers cannot hold.
pub(super) fn header(text: &str) -> Option<HeaderValue> {
    let plain: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { ' ' }).take(MAX_HEADER).collect();
    HeaderValue::from_str(&plain).ok()
}
