//! `POST /admin/test-subscription`: a subscription of any tenant in one call. Exists in development alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::routing::post;
use http::StatusCode;
use serde_json::Value;
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::problem::{Answer, ApiError, Problem};
use super::subscriptions::{self, SubscriptionView};
use super::{Router, body};
use crate::app::App;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(create))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/admin/test-subscription", post(create))
}

/// Make a subscription of a tenant (development)
#[utoipa::path(
    post,
    path = "/admin/test-subscription",
    tag = "tenants",
    request_body(content = Object, description = "`{customer_id, event_selector, webhook_url}` and what else a subscription has"),
    responses((status = 201, body = SubscriptionView), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, request: Request) -> Answer<(StatusCode, Json<SubscriptionView>)> {
    let mut members = body::object(request, app.config.server.body_timeout).await?;
    let tenant = match members.shift_remove("customer_id") {
        Some(Value::String(id)) => id,
        _ => return Err(ApiError::invalid(vec![Mistake::new("/customer_id", "a tenant's id is needed")])),
    };
    let found = app.access.tenant(&tenant).ok_or_else(|| ApiError::absent(&format!("tenant `{tenant}`")))?;
    let made = subscriptions::make(&app, &found.id, &members).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
