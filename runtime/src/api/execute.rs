//! The execute call: an application that writes by itself asks what the triggers say.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use triggerd_core::event::Moment;
use triggerd_core::intake_body;
use triggerd_core::mistake::Mistake;

use super::problem::{Answer, ApiError, Problem};
use super::views::RunView;
use super::{Api, Router, body, sample};
use crate::access::Caller;
use crate::{execute, intake};

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/execute", post(run))
}

/// The OpenAPI fragment.
#[derive(utoipa::OpenApi)]
#[openapi(paths(run))]
pub struct Doc;

/// Run the triggers of an event now. Before-events answer with the record as the triggers left it, or the refusal;
/// other events are accepted and waited for.
#[utoipa::path(post, path = "/api/v1/execute", tag = "triggers",
    request_body(content = Object, description = "`{event, context: {database, table, record, previousRecord, user, env}}`"),
    responses((status = 200, description = "`{allowed, record, rejection: {trigger, message}, runs}`"), (status = 422, body = Problem)))]
async fn run(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    let headers = request.headers().clone();
    let mut document = body::object(request, api.app.config.server.body_timeout).await?;
    let mut mistakes: Vec<Mistake> = document
        .keys()
        .filter(|name| !matches!(name.as_str(), "event" | "context"))
        .map(|name| Mistake::unknown(format!("/{name}"), "field", name, ["event", "context"]))
        .collect();
    let event_name = document.get("event").and_then(Value::as_str).map(str::to_owned);
    if event_name.is_none() {
        mistakes
            .push(Mistake::new("/event", "the event's name is needed: `beforeInsert` ... `afterDelete`, or a type"));
    }
    let context = document.get_mut("context").map(Value::take).unwrap_or(Value::Null);
    let (Some(event_name), true) = (event_name, mistakes.is_empty()) else { return Err(ApiError::invalid(mistakes)) };
    let acceptance = sample::acceptance(&api, &caller, &headers);
    let event = intake_body::from_execute(context, &event_name, acceptance).map_err(ApiError::invalid)?;
    if event.change.as_ref().is_some_and(|change| change.moment == Moment::Before) {
        return Ok(Json(execute::before(&api.app, event).await).into_response());
    }
    Api::take_events(&caller.limits, 1)?;
    let submission = intake::Submission { wait: true, ..event.into() };
    let mut receipt = intake::accept(&api.app, submission).await?;
    receipt.wait.ended(api.app.config.intake.max_wait).await;
    let runs = api.app.store.runs_of(&caller.tenant, receipt.event.id).await?;
    let runs: Vec<RunView> = runs.into_iter().map(RunView::from).collect();
    let answer = json!({
        "allowed": true,
        "record": receipt.event.record,
        "rejection": null,
        "event_id": receipt.event.id,
        "runs": runs,
    });
    Ok(Json(answer).into_response())
}
