//! The HTTP API: one file per resource, each of which parses, calls and answers. No SQL, no decisions.
//!
//! A resource has `routes()` and a `Doc` for the OpenAPI document, is one line of [`resources`], and its paths stand
//! in [`routes`] with the scopes they need. A test holds the three to each other.

mod access_log;
mod admission;
mod answer_headers;
mod audit;
mod backfills;
mod batch;
mod body;
mod caches;
mod captures;
pub mod certificate;
mod common_answers;
mod components;
mod cors;
mod counts;
mod dead_letters;
mod destinations;
mod encoding;
mod erase;
mod events;
mod execute;
mod export;
mod front;
mod guard;
mod health;
mod hooks;
mod idempotency;
mod inbox;
mod incoming;
mod instant;
mod keys;
mod mailbox;
mod master_key;
mod merge;
mod openapi;
mod params;
mod peer;
mod prefer;
mod previews;
mod problem;
mod records;
mod records_query;
mod replay;
mod request_id;
mod resources;
pub mod routes;
mod sample;
mod schemas;
pub mod serve;
mod stream;
mod subscriptions;
mod syncs;
mod tenants;
mod test_customer;
mod test_subscription;
mod topics;
mod trace;
mod triggers;
mod views;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;

use crate::access::{Caller, Tenant};
use crate::app::App;
use crate::definitions::is_internal;
use admission::Bodies;
use counts::Counts;
use idempotency::InProgress;
use problem::ApiError;
use routes::Needs;

pub use openapi::json as openapi_json;

/// What handlers share. Cheap to clone: every layer of a request does.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// What there is one of.
pub struct Shared {
    /// The program.
    pub app: Arc<App>,
    /// Cancelled when the server stops: streams end by it.
    pub stop: CancellationToken,
    needs: Needs,
    counts: Counts,
    in_progress: InProgress,
    bodies: Bodies,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<Api> for Arc<App> {
    fn from_ref(api: &Api) -> Self {
        api.app.clone()
    }
}

/// The routes of one resource.
pub type Router = axum::Router<Api>;

/// Every resource.
fn resources() -> Vec<(Router, utoipa::openapi::OpenApi)> {
    vec![
        (health::routes(), health::Doc::openapi()),
        (openapi::routes(), openapi::Doc::openapi()),
        (events::routes(), events::Doc::openapi()),
        (inbox::routes(), inbox::Doc::openapi()),
        (export::routes(), export::Doc::openapi()),
        (erase::routes(), erase::Doc::openapi()),
        (stream::routes(), stream::Doc::openapi()),
        (dead_letters::routes(), dead_letters::Doc::openapi()),
        (replay::routes(), replay::Doc::openapi()),
        (triggers::routes(), triggers::Doc::openapi()),
        (execute::routes(), execute::Doc::openapi()),
        (records::routes(), records::Doc::openapi()),
        (components::routes(), components::Doc::openapi()),
        (resources::routes(), resources::Doc::openapi()),
        (hooks::routes(), hooks::Doc::openapi()),
        (schemas::routes(), schemas::Doc::openapi()),
        (backfills::routes(), backfills::Doc::openapi()),
        (subscriptions::routes(), subscriptions::Doc::openapi()),
        (captures::routes(), captures::Doc::openapi()),
        (destinations::routes(), destinations::Doc::openapi()),
        (syncs::routes(), syncs::Doc::openapi()),
        (previews::routes(), previews::Doc::openapi()),
        (topics::routes(), topics::Doc::openapi()),
        (caches::routes(), caches::Doc::openapi()),
        (mailbox::routes(), mailbox::Doc::openapi()),
        (audit::routes(), audit::Doc::openapi()),
        (tenants::routes(), tenants::Doc::openapi()),
        (keys::routes(), keys::Doc::openapi()),
        (master_key::routes(), master_key::Doc::openapi()),
        (test_customer::routes(), test_customer::Doc::openapi()),
        (test_subscription::routes(), test_subscription::Doc::openapi()),
    ]
}

/// The OpenAPI fragments of every resource.
fn documents() -> impl Iterator<Item = utoipa::openapi::OpenApi> {
    resources().into_iter().map(|(_, document)| document)
}

/// Every route, guarded.
pub fn router(app: Arc<App>, stop: CancellationToken) -> axum::Router {
    let needs = Needs::new(&app.config);
    let bodies = Bodies::new(app.config.intake.max_in_flight_bytes);
    let shared = Shared { app, stop, needs, counts: Counts::default(), in_progress: InProgress::default(), bodies };
    let api = Api(Arc::new(shared));
    resources()
        .into_iter()
        .fold(Router::new(), |router, (routes, _)| router.merge(routes))
        .route_layer(from_fn_with_state(api.clone(), guard::guard))
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .fallback(|| async { no_such_path() })
        .with_state(api)
}

/// When events may fit again that a tenant has too many of.
const EVENTS_RETRY: Duration = Duration::from_secs(60);

/// 404 of a path that leads nowhere.
fn no_such_path() -> ApiError {
    ApiError::absent("such path; GET /api/v1/openapi.json lists them")
}

impl Api {
    /// Whether the tenant may have the trigger that `definition` describes: a new one only below its quota.
    fn check_trigger_quota(&self, caller: &Caller, definition: &Value) -> Result<(), ApiError> {
        let Some(most) = caller.limits.quotas().max_triggers else { return Ok(()) };
        let index = self.app.definitions.index();
        let tag = definition.get("tag").and_then(Value::as_str).unwrap_or_default();
        // Only a tenant that is near its quota has its triggers looked through for those that are not its own.
        let all = index.count(&caller.tenant) as u64;
        let own = || index.all(&caller.tenant).iter().filter(|trigger| !is_internal(&trigger.tag)).count() as u64;
        if all < most || index.get(&caller.tenant, tag).is_some() || own() < most {
            return Ok(());
        }
        Err(used_up(most, "triggers"))
    }

    /// Counts events that are about to be stored against the tenant's quota.
    fn take_events(tenant: &Tenant, count: usize) -> Result<(), ApiError> {
        tenant.events.take(count as u64).map_err(|most| {
            let detail = format!("the tenant's quota of {most} stored events is used up; retention makes room");
            ApiError::over_quota_for_now("QUOTA_EVENTS", detail, EVENTS_RETRY)
        })
    }

    /// Whether the tenant may have a component `name`: a new one only below its quota.
    async fn check_component_quota(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        let Some(most) = caller.limits.quotas().max_components else { return Ok(()) };
        let versions = self.app.components.list(&caller.tenant, None).await?;
        let names: std::collections::HashSet<&str> = versions.iter().map(|version| version.name.as_str()).collect();
        if names.contains(name) || (names.len() as u64) < most { Ok(()) } else { Err(used_up(most, "components")) }
    }
}

fn used_up(most: u64, what: &'static str) -> ApiError {
    ApiError::over_quota(what, format!("the tenant's quota of {most} {what} is used up"))
}
