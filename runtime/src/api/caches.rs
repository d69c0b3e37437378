//! What a cache holds under a key, to look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;
use utoipa::OpenApi;

use super::Router;
use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::caches::Name;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(show), components(schemas(Entry)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/caches/{tag}/entries/{key}", get(show))
}

/// An entry.
#[derive(Serialize, utoipa::ToSchema)]
struct Entry {
    /// The key.
    key: String,
    /// The value.
    value: Value,
}

/// Show what a cache holds under a key
#[utoipa::path(
    get,
    path = "/api/v1/caches/{tag}/entries/{key}",
    tag = "caches",
    params(
        ("tag" = String, Path), ("key" = String, Path),
        ("env" = Option<String>, Query, description = "The environment, where the cache differs by it"),
    ),
    responses((status = 200, body = Entry), (status = 404, body = Problem), (status = 503, body = Problem))
)]
async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tag, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Entry>> {
    let params = Params::read(query.as_deref(), &["env"])?;
    let name = Name { tenant: &caller.tenant, env: params.get("env").unwrap_or_default(), tag: &tag };
    match app.services.caches.get(name, &key).await? {
        Some(value) => Ok(Json(Entry { key, value })),
        None => Err(ApiError::absent("entry of this key")),
    }
}
