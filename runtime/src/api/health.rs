//! Whether the process lives, whether it can take work, and its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::OpenApi;

use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router};
use crate::app::App;
use crate::store::Durability;
use crate::{store, telemetry};

/// How long the store may take to write before the node counts as not ready.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// When a node that is not ready is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(health, ready, metrics), components(schemas(Health, Problem)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).route("/metrics", get(metrics))
}

/// How the process is.
#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// `healthy`, or `ready`.
    status: &'static str,
    /// `development` or `production`.
    environment: &'static str,
    /// The version that runs.
    version: &'static str,
    /// `/ready`: whether what is accepted outlives a loss of power: `full`, or `degraded` where the operator has allowed a
    /// database that may lose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<&'static str>,
    /// `/ready`, of several nodes: whether this one has seen what others have changed within the last second: `current` or
    /// `stale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<&'static str>,
    /// `/ready`, with `rate_limit_redis`: `redis`, or `fallback` while that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limits: Option<&'static str>,
}

fn as_it_is(app: &App, status: &'static str) -> Json<Health> {
    Json(Health {
        status,
        environment: app.config.environment.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        durability: None,
        definitions: None,
        rate_limits: None,
    })
}

/// Whether the process lives
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    as_it_is(&app, "healthy")
}

/// Whether it can take work
///
/// Reads from the store and writes to it.
#[utoipa::path(
    get, path = "/ready", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = Problem))
)]
async fn ready(State(api): State<Api>) -> Answer<Json<Health>> {
    let app = &api.app;
    if api.stop.is_cancelled() || app.dispatch.is_draining() {
        return Err(ApiError::unavailable("the server is draining: it is about to end", RETRY));
    }
    match tokio::time::timeout(STORE_LIMIT, app.store.ping()).await {
        Ok(answered) => answered?,
        Err(_) => return Err(ApiError::unavailable("the store does not answer", RETRY)),
    }
    let Json(mut health) = as_it_is(app, "ready");
    health.durability = Some(match app.store.durability() {
        Durability::Full => "full",
        Durability::Degraded(_) => "degraded",
    });
    if app.store.is_shared() {
        health.definitions = Some(if app.freshness.behind(app).is_some() { "stale" } else { "current" });
    }
    health.rate_limits = app.access.redis_is_up().map(|is_up| if is_up { "redis" } else { "fallback" });
    Ok(Json(health))
}

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, description = "The text format", content_type = "text/plain", body = String))
)]
async fn metrics(State(app): State<Arc<App>>) -> Answer<Response> {
    if !app.config.metrics.enabled {
        return Err(ApiError::absent("such path: metrics are switched off"));
    }
    measure(&app).await?;
    let text = telemetry::metrics().ok_or_else(|| ApiError::absent("recorder in this process"))?;
    Ok((StatusCode::OK, [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// What is counted in the store is measured when somebody asks.
async fn measure(app: &App) -> Result<(), store::Error> {
    telemetry::measure_process();
    metrics::gauge!("triggerd_runs_held").set(app.dispatch.held() as f64);
    app.counted.anew(async || count(app).await).await
}

async fn count(app: &App) -> Result<(), store::Error> {
    for (state, depth) in app.store.queue_depths().await? {
        metrics::gauge!("triggerd_queue_depth", "queue" => state).set(depth as f64);
    }
    let now = app.clock.now_ms();
    let oldest = app.store.oldest_pending().await?.map_or(0, |since| (now - since.as_millisecond()).max(0));
    metrics::gauge!("triggerd_oldest_pending_age_seconds").set(oldest as f64 / 1000.0);
    metrics::gauge!("triggerd_dlq_events").set(app.store.dead_letter_count().await? as f64);
    Ok(())
}
