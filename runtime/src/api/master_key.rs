//! The master key: which one seals what, and its rotation while the server works.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::Router;
use super::problem::{Answer, ApiError, Problem};
use crate::app::App;
use crate::resources::{Rotated, RotationError, Seals};
use crate::store::Witness;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(show, rotate))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/master-key", get(show)).route("/api/v1/master-key/rotate", post(rotate))
}

impl From<RotationError> for ApiError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::UnderWay | RotationError::OfThisNode => Self::conflict(error.to_string()),
            RotationError::Key(error) => Self::internal(&error),
            RotationError::Store(error) => error.into(),
        }
    }
}

/// Show which master keys are in use, by the names that sealed values carry
#[utoipa::path(get, path = "/api/v1/master-key", tag = "master key",
    responses((status = 200, description = "`{key, previous, outdated}`: the current key, those before it, and how many resources one of those seals")))]
async fn show(State(app): State<Arc<App>>) -> Json<Value> {
    let Seals { key, previous, outdated } = app.services.resources.seals();
    Json(json!({"key": key, "previous": previous, "outdated": outdated}))
}

/// Seal everything with the current master key, a new one where the key is the data directory's
///
/// Asking again goes on with what a crash left. `unreadable` are those that no known key opens.
#[utoipa::path(post, path = "/api/v1/master-key/rotate", tag = "master key",
    responses((status = 200, description = "`{key, resealed, unreadable}`"), (status = 409, body = Problem)))]
async fn rotate(State(app): State<Arc<App>>) -> Answer<Json<Value>> {
    let Rotated { key, resealed, unreadable } = app.services.resources.rotate().await?;
    Witness::note(|entry| entry.after = Some(json!({"key": key, "resealed": resealed})));
    Ok(Json(json!({"key": key, "resealed": resealed, "unreadable": unreadable})))
}
