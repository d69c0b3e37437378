//! The JSON Schemas of what can be written: settings of resources, and of actions.

use axum::Json;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};
use triggerd_core::catalog::Catalog;
use utoipa::OpenApi;

use super::Router;
use super::problem::{Answer, ApiError, Problem};
use crate::actions::Registry;
use crate::resources::{KINDS, Kind};

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, of_resource, of_action))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/schemas", get(list))
        .route("/api/v1/schemas/resources/{kind}", get(of_resource))
        .route("/api/v1/schemas/actions/{type}", get(of_action))
}

/// List what has a schema
#[utoipa::path(get, path = "/api/v1/schemas", tag = "schemas",
    responses((status = 200, description = "`{resources: [kind], actions: [type]}`")))]
async fn list() -> Json<Value> {
    let resources: Vec<&str> = KINDS.iter().filter(|kind| !kind.own_routes).map(|kind| kind.name).collect();
    let actions: Vec<&str> = Registry::built_in().kinds().iter().map(|kind| kind.name).collect();
    Json(json!({"resources": resources, "actions": actions}))
}

/// The JSON Schema of a kind of resource, `envs` included
#[utoipa::path(get, path = "/api/v1/schemas/resources/{kind}", tag = "schemas",
    params(("kind" = String, Path)),
    responses((status = 200, description = "The schema"), (status = 404, body = Problem)))]
async fn of_resource(Path(kind): Path<String>) -> Answer<Json<Value>> {
    let kind = Kind::named(&kind)
        .filter(|kind| !kind.own_routes)
        .ok_or_else(|| ApiError::absent(&format!("kind of resource `{kind}`")))?;
    Ok(Json(kind.full_schema()))
}

/// The JSON Schema of an action type's `config`, after its templates were rendered
#[utoipa::path(get, path = "/api/v1/schemas/actions/{type}", tag = "schemas",
    params(("type" = String, Path)),
    responses((status = 200, description = "The schema"), (status = 404, body = Problem)))]
async fn of_action(Path(kind): Path<String>) -> Answer<Json<Value>> {
    let registry = Registry::built_in();
    let canonical = registry.canonical(&kind, &Value::Null).unwrap_or_default();
    let known = registry.kinds().iter().find(|known| known.name == canonical);
    let known = known.ok_or_else(|| ApiError::absent(&format!("action type `{kind}`")))?;
    Ok(Json(known.schema()))
}
