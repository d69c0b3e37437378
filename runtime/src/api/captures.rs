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
/// several nodes one reads; on the others this is what that one has told on being asked.
#[utoipa::path(get, path = "/api/v1/databases/{tag}/capture", tag = "databases", params(("tag" = String, Path)),
    responses((status = 200, description = "`{captures: [{env, running, problem, captured, last_change_at, last_accepted_at, tables: [{table, operations, state, problem}]}]}`"),
        (status = 404, body = Problem)))]
async fn show(State(app): State<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    if app.services.resources.get(&caller.tenant, "databases", &tag).is_none() {
        return Err(ApiError::absent(&format!("database `{tag}`")));
    }
    app.sources.settle(&app, &caller.tenant, None, PATIENCE).await;
    Ok(Json(json!({ "captures": app.sources.shown(&app, &caller.tenant, &tag).await? })))
}

/// Waits until a change of the tenant's definitions or databases is carried out in these databases; what is wrong then, in words.
pub(super) async fn settled(app: &App, tenant: &TenantId, databases: &[&str]) -> Option<String> {
    carried_out(app, tenant, None, databases).await
}

/// Like [`settled`], after what is installed in a database was compared with what should be.
pub(super) async fn checked(app: &App, tenant: &TenantId, database: &str) -> Option<String> {
    carried_out(app, tenant, Some(database), &[database]).await
}

async fn carried_out(app: &App, tenant: &TenantId, anew: Option<&str>, databases: &[&str]) -> Option<String> {
    let in_time = app.sources.settle(app, tenant, anew, PATIENCE).await;
    let mut problems = Vec::new();
    for database in databases {
        if !in_time {
            problems.push(format!(
                "{database}: not carried out yet; GET /api/v1/databases/{database}/capture shows how it goes"
            ));
        }
        match app.sources.shown(app, tenant, database).await {
            Ok(captures) => captures.iter().for_each(|capture| problems_of(database, capture, &mut problems)),
            Err(error) => problems.push(format!("{database}: how it goes is not known: {error}")),
        }
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// What is wrong with a captured database, as it is shown.
fn problems_of(database: &str, capture: &Value, problems: &mut Vec<String>) {
    let env = capture["env"].as_str().unwrap_or_default();
    let mut add = |what: &str, of: &Value| {
        problems.extend(of["problem"].as_str().map(|problem| format!("{database} ({env}){what}: {problem}")));
    };
    add("", capture);
    for table in capture["tables"].as_array().into_iter().flatten() {
        add(&format!(", table {}", table["table"].as_str().unwrap_or_default()), table);
    }
}

/// A text as a header's value: without what headers cannot hold.
pub(super) fn header(text: &str) -> Option<HeaderValue> {
    let plain: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { ' ' }).take(MAX_HEADER).collect();
    HeaderValue::from_str(&plain).ok()
}
