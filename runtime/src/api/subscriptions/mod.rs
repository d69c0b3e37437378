//! Webhook subscriptions: made, listed, changed, tried, deleted.

mod view;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::LOCATION;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Map, Value, json};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::mistake::{Mistake, join};
use triggerd_core::outcome::Outcome;
use utoipa::OpenApi;

use super::params::{PAGING, Paged, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body};
use crate::access::Caller;
use crate::actions::{self, Context};
use crate::app::App;
use crate::installed;
use crate::store::StoredResource;
use crate::subscriptions;
use view::{SubscriptionPage, view};
use written::{new_secret, take_away, written};

pub(super) use view::SubscriptionView;

/// The kind of resource that subscriptions are.
const KIND: &str = "subscriptions";
/// How long a secret that was replaced signs as well.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(
    paths(create, list, show, change, remove, rotate, try_out),
    components(schemas(SubscriptionView, SubscriptionPage, Tried))
)]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/subscriptions", get(list).post(create))
        .route("/api/v1/subscriptions/{id}", get(show).patch(change).delete(remove))
        .route("/api/v1/subscriptions/{id}/rotate-secret", post(rotate))
        .route("/api/v1/subscriptions/{id}/test", post(try_out))
}

/// What came of an event that was sent to try a subscription.
#[derive(Serialize, utoipa::ToSchema)]
struct Tried {
    /// Whether it was answered with 2xx.
    delivered: bool,
    /// How long it took.
    duration_ms: u64,
    /// A stable code, where it was not.
    error_code: Option<String>,
    /// In words.
    error: Option<String>,
    /// What was sent.
    request: Option<Value>,
    /// What came back.
    response: Option<Value>,
}

/// Make a subscription
///
/// Its secret is made where none is given, and shown in this answer alone.
#[utoipa::path(
    post,
    path = "/api/v1/subscriptions",
    tag = "subscriptions",
    request_body(content = Object, description = "`{event_selector, webhook_url, secret, batch: {maxSize, maxWait}, description, max_attempts, disable_after}`; the first two are needed"),
    responses((status = 201, body = SubscriptionView), (status = 422, body = Problem))
)]
async fn create(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    let members = body::object(request, api.app.config.server.body_timeout).await?;
    let made = make(&api.app, &caller.tenant, &members).await?;
    let location = format!("/api/v1/subscriptions/{}", made.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(made)).into_response())
}

/// Makes a subscription of a request's members.
pub(super) async fn make(
    app: &Arc<App>,
    tenant: &TenantId,
    members: &Map<String, Value>,
) -> Result<SubscriptionView, ApiError> {
    let now = app.clock.now();
    let (mut settings, mut mistakes) = written(app, members, now);
    for name in ["event_selector", "webhook_url"] {
        if members.get(name).is_none_or(Value::is_null) {
            mistakes.push(Mistake::new(join("", name), format!("`{name}` is required")));
        }
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    let given = settings.get("signingSecret").and_then(Value::as_str).map(str::to_owned);
    let secret = given.unwrap_or_else(new_secret);
    settings.insert("signingSecret".to_owned(), secret.clone().into());
    settings.retain(|_, value| !value.is_null());
    let id = EventId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), app.clock.id_bits()).to_string();
    let (stored, _) = app.services.resources.put(tenant, KIND, &id, Value::Object(settings)).await?;
    installed::install(&app.definitions, &app.services.resources, tenant, KIND, &id).await;
    view(tenant, &stored, Some(secret))
}

/// List the subscriptions
#[utoipa::path(
    get,
    path = "/api/v1/subscriptions",
    tag = "subscriptions",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = SubscriptionPage))
)]
async fn list(State(api): State<Api>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<Value>> {
    let page = Params::read(query.as_deref(), &PAGING)?.page()?;
    let all = api.app.services.resources.list(&caller.tenant, KIND);
    let paged = Paged::by_key(all, &page, |stored| &stored.tag);
    let mut failed = None;
    let answer = paged.answer(KIND, |stored| match view(&caller.tenant, stored, None) {
        Ok(view) => json!(view),
        Err(error) => {
            failed = Some(error);
            Value::Null
        }
    });
    failed.map_or_else(|| Ok(Json(answer)), Err)
}

/// Show a subscription
#[utoipa::path(
    get, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 200, body = SubscriptionView), (status = 404, body = Problem))
)]
async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer<Json<SubscriptionView>> {
    Ok(Json(view(&caller.tenant, &known(&api, &caller, &id)?, None)?))
}

/// Change a subscription
///
/// Merged after RFC 7396. `{"status": "active"}` puts a disabled one in force again. A new `secret` signs beside the one
/// before it for 24 hours.
#[utoipa::path(
    patch, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = SubscriptionView), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Json<SubscriptionView>> {
    let app = &api.app;
    let members = body::object(request, app.config.server.body_timeout).await?;
    known(&api, &caller, &id)?;
    let (mut patch, mut mistakes) = written(app, &members, app.clock.now());
    for name in ["event_selector", "webhook_url", "secret"] {
        if members.get(name).is_some_and(Value::is_null) {
            mistakes.push(Mistake::new(join("", name), format!("`{name}` cannot be taken away")));
        }
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    if let Some(secret) = patch.remove("signingSecret").and_then(|secret| secret.as_str().map(str::to_owned)) {
        patch.extend(replacing(app, &caller.tenant, &id, secret)?);
    }
    Ok(Json(put_in_force(app, &caller.tenant, &id, patch, None).await?))
}

/// Delete a subscription
///
/// What was on its way to it is not sent any more.
#[utoipa::path(
    delete, path = "/api/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, body = Problem))
)]
async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let app = &api.app;
    if !app.services.resources.delete(&caller.tenant, KIND, &id).await? {
        return Err(absent());
    }
    installed::install(&app.definitions, &app.services.resources, &caller.tenant, KIND, &id).await;
    app.services.subscriptions.forget(&caller.tenant, &id);
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new secret
///
/// The one before it signs as well for 24 hours: requests carry both signatures meanwhile.
#[utoipa::path(
    post, path = "/api/v1/subscriptions/{id}/rotate-secret", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 200, body = SubscriptionView), (status = 404, body = Problem))
)]
async fn rotate(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer<Json<SubscriptionView>> {
    let secret = new_secret();
    let patch = replacing(&api.app, &caller.tenant, &id, secret.clone())?;
    Ok(Json(put_in_force(&api.app, &caller.tenant, &id, patch, Some(secret)).await?))
}

/// Send an event to try a subscription
///
/// It is signed and sent as events are, once, and kept nowhere. `{payload}` is what it says.
#[utoipa::path(
    post, path = "/api/v1/subscriptions/{id}/test", tag = "subscriptions", params(("id" = String, Path)),
    request_body(content = Option<Object>, description = "`{payload}`; without, a sample"),
    responses((status = 200, body = Tried), (status = 404, body = Problem))
)]
async fn try_out(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Json<Tried>> {
    let app = &api.app;
    let mut members = body::object(request, app.config.server.body_timeout).await?;
    let payload = members.shift_remove("payload").filter(|payload| !payload.is_null());
    if let Some(unknown) = members.keys().next() {
        return Err(ApiError::invalid(vec![Mistake::unknown(join("", unknown), "field", unknown, ["payload"])]));
    }
    let found = subscriptions::resolve(&app.services.resources, &caller.tenant, &id).ok_or_else(absent)?;
    let found = found.map_err(|failure| ApiError::unprocessable(failure.message))?;
    let payload =
        payload.unwrap_or_else(|| json!({"event_type": "triggerd.test", "message": "a test of this webhook"}));
    let cx = context(app, &caller.tenant, &id, payload);
    let excerpt = cx.excerpt.clone();
    let began = Clock::now();
    let failure = match actions::send_once(cx, &found.settings).await {
        Outcome::Done(_) => None,
        Outcome::Retry { failure, .. } | Outcome::Dead(failure) => Some(failure),
    };
    let kept = std::mem::take(&mut *excerpt.lock());
    Ok(Json(Tried {
        delivered: failure.is_none(),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        error_code: failure.as_ref().map(|failure| failure.code.clone()),
        error: failure.map(|failure| failure.message),
        request: kept.request,
        response: kept.response,
    }))
}

/// An attempt that belongs to no stored run.
fn context(app: &Arc<App>, tenant: &TenantId, id: &str, payload: Value) -> Context {
    let now = app.clock.now();
    let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let event_type = payload["event_type"].as_str().unwrap_or("triggerd.test").to_owned();
    let event = Event::plain(EventId::new(ms, app.clock.id_bits()), tenant.clone(), event_type, payload, now);
    let event = Arc::new(Event { source: Some("triggerd".to_owned()), ..event });
    let names = (Arc::from(format!("subscription:{id}")), Arc::from("test"));
    let run_id = RunId::new(ms, app.clock.id_bits());
    Context::apart(app.services.clone(), event, run_id, names, Duration::from_secs(30))
}

fn absent() -> ApiError {
    ApiError::absent("such subscription")
}

fn known(api: &Api, caller: &Caller, id: &str) -> Result<StoredResource, ApiError> {
    api.app.services.resources.get(&caller.tenant, KIND, id).ok_or_else(absent)
}

/// Merges settings and puts them in force.
async fn put_in_force(
    app: &Arc<App>,
    tenant: &TenantId,
    id: &str,
    patch: Map<String, Value>,
    secret: Option<String>,
) -> Result<SubscriptionView, ApiError> {
    let merged = |settings: &Value| {
        let mut patch = patch;
        if let Some(selector) = patch.get_mut("event_selector") {
            take_away(&settings["event_selector"], selector);
        }
        Some(Value::Object(patch))
    };
    let stored = app.services.resources.patch_if(tenant, KIND, id, merged).await?.ok_or_else(absent)?;
    app.services.subscriptions.forget(tenant, id);
    installed::install(&app.definitions, &app.services.resources, tenant, KIND, id).await;
    view(tenant, &stored, secret)
}

/// The settings of a secret that takes the place of the one that is there.
fn replacing(app: &Arc<App>, tenant: &TenantId, id: &str, secret: String) -> Result<Map<String, Value>, ApiError> {
    let found = subscriptions::resolve(&app.services.resources, tenant, id).ok_or_else(absent)?;
    let former = found.map_err(|failure| ApiError::unprocessable(failure.message))?.settings.signing_secret.clone();
    let until = app.clock.now() + OVERLAP;
    let former = json!({"signingSecret": former, "until": until.to_string()});
    Ok(Map::from_iter([("signingSecret".to_owned(), secret.into()), ("former".to_owned(), former)]))
}
