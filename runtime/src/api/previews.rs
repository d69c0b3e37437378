//! What a notification's message would say with some variables.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body};
use crate::access::Caller;
use crate::resources::Notification;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(preview), components(schemas(Asked)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/notifications/{tag}/messages/{name}/preview", post(preview))
}

/// What the message is to be rendered with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The variables of all its templates.
    #[serde(default)]
    variables: Map<String, Value>,
}

/// Render a message with variables; nothing is sent
#[utoipa::path(
    post, path = "/api/v1/notifications/{tag}/messages/{name}/preview", tag = "resources",
    params(("tag" = String, Path), ("name" = String, Path), ("env" = Option<String>, Query)),
    request_body = Asked,
    responses(
        (status = 200, description = "`{subject, text, html, sms, push, callback}`; null for parts that it has not"),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn preview(
    State(api): State<Api>,
    caller: Caller,
    Path((tag, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Answer<Json<Value>> {
    let params = Params::read(query.as_deref(), &["env"])?;
    let env = params.get("env").unwrap_or_default();
    let written = Value::Object(body::object(request, api.app.config.server.body_timeout).await?);
    let asked: Asked = serde_json::from_value(written)
        .map_err(|error| ApiError::invalid(vec![Mistake::new("", error.to_string())]))?;
    let services = &api.app.services;
    let found = services.resources.resolve::<Notification>(&caller.tenant, "notifications", &tag, env);
    let found = found.ok_or_else(|| ApiError::absent(&format!("notification `{tag}`")))?;
    let service = found.map_err(|failure| ApiError::unprocessable(failure.message))?;
    let message =
        service.settings.messages.get(&name).ok_or_else(|| ApiError::absent(&format!("message `{tag}:{name}`")))?;
    message.preview(&asked.variables, services.clock.now()).map(Json).map_err(ApiError::invalid)
}
