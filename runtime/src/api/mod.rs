//! The HTTP API: one file per resource, each of which parses, calls and answers. No SQL, no decisions.
//!
//! A resource has `routes()` and a `Doc` for the OpenAPI document, stands once in [`router`] and once in
//! [`openapi`], and its paths stand in [`routes`] with the scopes they need.

mod batch;
mod body;
mod dead_letters;
mod events;
mod guard;
mod health;
mod idempotency;
mod inbox;
mod incoming;
mod instant;
mod keys;
mod openapi;
mod params;
mod problem;
mod replay;
pub mod routes;
pub mod serve;
mod stream;
mod tenants;
mod test_customer;
mod topics;
mod trace;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use idempotency::InProgress;
use problem::ApiError;
use routes::Needs;

pub use openapi::json as openapi_json;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The program.
    pub app: Arc<App>,
    /// Cancelled when the server stops: streams end by it.
    pub stop: CancellationToken,
    needs: Arc<Needs>,
    in_progress: InProgress,
}

impl FromRef<Api> for Arc<App> {
    fn from_ref(api: &Api) -> Self {
        api.app.clone()
    }
}

/// Every route, guarded.
pub fn router(app: Arc<App>, stop: CancellationToken) -> Router {
    let is_development = app.config.is_development();
    let needs = Arc::new(Needs::new(app.config.metrics.key_required));
    let api = Api { app, stop, needs, in_progress: InProgress::default() };
    let mut router = Router::new()
        .merge(health::routes())
        .merge(openapi::routes())
        .merge(events::routes())
        .merge(inbox::routes())
        .merge(stream::routes())
        .merge(dead_letters::routes())
        .merge(replay::routes())
        .merge(topics::routes())
        .merge(tenants::routes())
        .merge(keys::routes());
    if is_development {
        router = router.merge(test_customer::routes());
    }
    router
        .route_layer(from_fn_with_state(api.clone(), guard::guard))
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .fallback(|| async { ApiError::absent("such path; GET /api/v1/openapi.json lists them") })
        .with_state(api)
}
