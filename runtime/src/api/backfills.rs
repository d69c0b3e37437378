//! Running a trigger over the rows that exist: begin, look, pause, go on, end.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::problem::{Answer, ApiError, Problem};
use super::{Router, body};
use crate::access::Caller;
use crate::app::App;
use crate::definitions::is_internal;
use crate::sources::backfill::{Backfill, Backfills, Progress, State};
use crate::sources::{Place, places, shown as shown_table};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(begin, show, pause, resume, end))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/triggers/{tag}/backfill", get(show).post(begin).delete(end))
        .route("/api/v1/triggers/{tag}/backfill/pause", post(pause))
        .route("/api/v1/triggers/{tag}/backfill/resume", post(resume))
}

/// How a backfill goes.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Rows a second, from 10; as fast as they are taken without.
    rate: Option<u32>,
    /// Also over rows that the trigger was told of before.
    #[serde(default)]
    again: bool,
}

/// Run a trigger over the rows that exist
///
/// In every database that it captures, by the order of the primary keys, each row once as an insert with `metadata.backfill`.
/// Rows whose inserts the trigger was told of, before or meanwhile, are left out; with `again` only those of meanwhile.
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/backfill", tag = "triggers", params(("tag" = String, Path)),
    request_body(content = Object, description = "`{rate, again}`: rows a second; `true`: also rows that the trigger was told of before"),
    responses((status = 202, description = "`{backfills: [...]}`"), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn begin(
    Shared(app): Shared<Arc<App>>,
    caller: Caller,
    Path(tag): Path<String>,
    request: Request,
) -> Answer<(StatusCode, Json<Value>)> {
    let asked = Value::Object(body::object(request, app.config.server.body_timeout).await?);
    let asked: Asked =
        serde_json::from_value(asked).map_err(|error| ApiError::invalid(vec![Mistake::new("", error.to_string())]))?;
    if asked.rate.is_some_and(|rate| !(10..=1_000_000).contains(&rate)) {
        return Err(ApiError::invalid(vec![Mistake::new("/rate", "10 to 1,000,000 rows a second")]));
    }
    let trigger = app.definitions.index().get(&caller.tenant, &tag).filter(|found| !is_internal(&found.tag));
    let trigger = trigger.ok_or_else(|| ApiError::absent(&format!("trigger `{tag}`")))?;
    let places = places(&app.services.resources, &caller.tenant, &trigger);
    if places.is_empty() {
        return Err(ApiError::unprocessable("the trigger captures no database: it names none, or none that there is"));
    }
    let under_way = || ApiError::conflict("a backfill of this trigger is under way; DELETE ends it");
    let known = Backfills::of_trigger(&app, &caller.tenant, &tag).await?;
    if known.iter().any(|backfill| backfill.state.is_open()) {
        return Err(under_way());
    }
    for old in known {
        app.sources.backfills.remove(&app, &caller.tenant, &old).await?;
    }
    for place in places {
        let backfill = Backfill {
            id: hex::encode(app.clock.id_bits()),
            trigger: tag.clone(),
            database: place.database.clone(),
            env: place.env.clone(),
            state: State::Running,
            rate: asked.rate,
            again: asked.again,
            started_at: app.clock.now(),
            ended_at: None,
            tables: Vec::new(),
            history: None,
            problem: None,
        };
        if !app.sources.backfills.begin(&app, &caller.tenant, &backfill).await? {
            return Err(under_way());
        }
        app.sources.changed(&place);
    }
    Ok((StatusCode::ACCEPTED, shown(&app, &caller.tenant, &tag).await?))
}

/// Show how far a trigger's backfill has come
#[utoipa::path(get, path = "/api/v1/triggers/{tag}/backfill", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 200, description = "`{backfills: [{id, database, env, state, rate, started_at, ended_at, problem, tables: [{table, rows, left_out, done}]}]}`"), (status = 404, body = Problem)))]
async fn show(Shared(app): Shared<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    known(&app, &caller, &tag).await?;
    shown(&app, &caller.tenant, &tag).await
}

/// Pause a trigger's backfill
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/backfill/pause", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 200, description = "As it is now"), (status = 404, body = Problem)))]
async fn pause(Shared(app): Shared<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    turn(&app, &caller, &tag, State::Running, State::Paused).await
}

/// Go on with a trigger's backfill
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/backfill/resume", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 200, description = "As it is now"), (status = 404, body = Problem)))]
async fn resume(Shared(app): Shared<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    turn(&app, &caller, &tag, State::Paused, State::Running).await
}

/// End a trigger's backfill, and forget it
#[utoipa::path(delete, path = "/api/v1/triggers/{tag}/backfill", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 204, description = "Ended"), (status = 404, body = Problem)))]
async fn end(Shared(app): Shared<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<StatusCode> {
    for backfill in known(&app, &caller, &tag).await? {
        app.sources.backfills.remove(&app, &caller.tenant, &backfill).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn turn(app: &Arc<App>, caller: &Caller, tag: &str, from: State, to: State) -> Answer<Json<Value>> {
    for backfill in known(app, caller, tag).await?.into_iter().filter(|backfill| backfill.state == from) {
        app.sources.backfills.turn(app, &caller.tenant, &backfill, (from, to)).await?;
        let (tenant, database, env) = (caller.tenant.clone(), backfill.database, backfill.env);
        app.sources.changed(&Place { tenant, database, env });
    }
    shown(app, &caller.tenant, tag).await
}

async fn known(app: &App, caller: &Caller, tag: &str) -> Answer<Vec<Backfill>> {
    let known = Backfills::of_trigger(app, &caller.tenant, tag).await?;
    if known.is_empty() { Err(ApiError::absent(&format!("backfill of trigger `{tag}`"))) } else { Ok(known) }
}

async fn shown(app: &App, tenant: &TenantId, tag: &str) -> Answer<Json<Value>> {
    let all = Backfills::of_trigger(app, tenant, tag).await?;
    Ok(Json(json!({ "backfills": all.iter().map(view).collect::<Vec<_>>() })))
}

fn view(backfill: &Backfill) -> Value {
    let at = |instant: Option<jiff::Timestamp>| instant.map(|at| format!("{at:.3}"));
    let table = |table: &Progress| {
        let name = shown_table(table.schema.as_deref(), &table.name);
        json!({"table": name, "rows": table.rows, "left_out": table.left_out, "done": table.done})
    };
    json!({
        "id": backfill.id,
        "database": backfill.database,
        "env": backfill.env,
        "state": backfill.state,
        "rate": backfill.rate,
        "started_at": at(Some(backfill.started_at)),
        "ended_at": at(backfill.ended_at),
        "problem": backfill.problem,
        "tables": backfill.tables.iter().map(table).collect::<Vec<_>>(),
    })
}
