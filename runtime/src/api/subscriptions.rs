//! Webhook subscriptions: made, listed, changed, tried, deleted.

use std::sync::Arc;
use std::time::Instant as Clock;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::LOCATION;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, json};
use triggerd_core::event::{DEFAULT_ENV, Event};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::mistake::{Mistake, join};
use triggerd_core::outcome::Outcome;
use utoipa::OpenApi;

use super::instant::Instant;
use super::params::{PAGING, Paged, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body};
use crate::access::Caller;
use crate::actions::{self, Context};
use crate::app::App;
use crate::installed;
use crate::resources::{Batch, Disabled, Selector, Subscription};
use crate::store::StoredResource;
use crate::subscriptions;

/// The kind of resource that subscriptions are.
const KIND: &str = "subscriptions";
/// How long a secret that was replaced signs as well.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// The bytes of a secret: the specification allows 24 to 64.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What may be written.
const FIELDS: [&str; 8] =
    ["event_selector", "webhook_url", "secret", "batch", "description", "status", "max_attempts", "disable_after"];

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

/// A subscription.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SubscriptionView {
    /// Its id.
    id: String,
    /// The same, as events call things.
    subscription_id: String,
    /// The tenant.
    customer_id: String,
    /// Which events.
    #[schema(value_type = Object)]
    event_selector: Value,
    /// Where they are sent.
    webhook_url: String,
    /// Several events in a request: `{maxSize, maxWait}`, milliseconds.
    #[schema(value_type = Option<Object>)]
    batch: Value,
    /// For people.
    description: String,
    /// `active` or `disabled`.
    status: &'static str,
    /// Why it is disabled: `gone` (the URL answered 410), `failing` or `request`.
    disabled_reason: Option<String>,
    /// Since when.
    disabled_at: Option<Instant>,
    /// Since when every attempt has failed.
    failing_since: Option<Instant>,
    /// Until when the secret before this one signs as well.
    former_secret_until: Option<Instant>,
    /// How often an event is tried.
    max_attempts: u64,
    /// Seconds of nothing but failures after which it is disabled.
    disable_after: u64,
    /// The secret; shown when it is made, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// When it was made.
    created_at: Instant,
    /// When it was changed last.
    updated_at: Instant,
}

/// A page of subscriptions.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "describes the answer in the OpenAPI document")]
struct SubscriptionPage {
    /// The subscriptions, oldest first.
    subscriptions: Vec<SubscriptionView>,
    /// How many there are on all pages.
    total: usize,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
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

/// A resource that cannot be read as a subscription is not there for anybody.
fn view(tenant: &TenantId, stored: &StoredResource, secret: Option<String>) -> Result<SubscriptionView, ApiError> {
    let mut settings = stored.settings.clone();
    // Sealed: nothing that is shown.
    settings["signingSecret"] = "".into();
    if let Some(former) = settings.get_mut("former").and_then(Value::as_object_mut) {
        former.insert("signingSecret".to_owned(), "".into());
    }
    let read: Subscription = serde_json::from_value(settings).map_err(|error| ApiError::internal(&error))?;
    Ok(SubscriptionView {
        id: stored.tag.clone(),
        subscription_id: stored.tag.clone(),
        customer_id: tenant.to_string(),
        event_selector: stored.settings["event_selector"].clone(),
        batch: read.batch.map_or(Value::Null, |batch| json!(batch)),
        status: if read.is_active() { "active" } else { "disabled" },
        disabled_reason: read.disabled.as_ref().map(|disabled| disabled.reason.clone()),
        disabled_at: read.disabled.as_ref().map(|disabled| disabled.at.into()),
        failing_since: read.failing_since.map(Instant),
        former_secret_until: read.former.as_ref().map(|former| former.until.into()),
        max_attempts: u64::from(read.attempts()),
        disable_after: read.patience(),
        webhook_url: read.webhook_url,
        description: read.description,
        secret,
        created_at: stored.created_at.into(),
        updated_at: stored.updated_at.into(),
    })
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
    let stored = api.app.services.resources.get(&caller.tenant, KIND, &id).ok_or_else(absent)?;
    Ok(Json(view(&caller.tenant, &stored, None)?))
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
    let run_id = RunId::new(ms, app.clock.id_bits());
    let event_type = payload["event_type"].as_str().unwrap_or("triggerd.test").to_owned();
    let event = Event {
        id: EventId::new(ms, app.clock.id_bits()),
        tenant: tenant.clone(),
        event_type,
        source: Some("triggerd".to_owned()),
        change: None,
        record: payload,
        previous_record: Value::Null,
        env: DEFAULT_ENV.to_owned(),
        user: Value::Null,
        metadata: Map::new(),
        attributes: Map::new(),
        timestamp: now,
        accepted_at: now,
        traceparent: None,
        causation: Vec::new(),
    };
    Context {
        services: app.services.clone(),
        event: Arc::new(event),
        run_id,
        trigger: Arc::from(format!("subscription:{id}")),
        action: Arc::from("test"),
        delivery_id: run_id.delivery("test"),
        attempt: 1,
        replay: false,
        deadline: tokio::time::Instant::now() + std::time::Duration::from_secs(30),
        outputs: Arc::default(),
        secrets: Arc::default(),
        excerpt: Arc::new(Mutex::default()),
        effect: Arc::default(),
        not_made: Arc::default(),
    }
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
    let stored = app.services.resources.patch(tenant, KIND, id, &Value::Object(patch)).await?;
    app.services.subscriptions.forget(tenant, id);
    installed::install(&app.definitions, &app.services.resources, tenant, KIND, id).await;
    view(tenant, &stored, secret)
}

/// The settings of a secret that takes the place of the one that is there.
fn replacing(app: &Arc<App>, tenant: &TenantId, id: &str, secret: String) -> Result<Map<String, Value>, ApiError> {
    let found = subscriptions::resolve(&app.services.resources, tenant, id).ok_or_else(absent)?;
    let former = found.map_err(|failure| ApiError::unprocessable(failure.message))?.settings.signing_secret.clone();
    let until = app.clock.now() + OVERLAP;
    let settings = json!({"signingSecret": secret, "former": {"signingSecret": former, "until": until.to_string()}});
    match settings {
        Value::Object(settings) => Ok(settings),
        _ => Ok(Map::new()),
    }
}

/// The members of a request as settings; null takes away.
fn written(app: &App, members: &Map<String, Value>, now: Timestamp) -> (Map<String, Value>, Vec<Mistake>) {
    let (mut settings, mut mistakes) = (Map::new(), Vec::new());
    for (name, value) in members {
        let pointer = join("", name);
        match name.as_str() {
            "event_selector" if !value.is_null() => {
                mistakes.extend(selector_mistakes(value));
                settings.insert(name.clone(), value.clone());
            }
            "webhook_url" if value.is_string() => {
                let url = value.as_str().unwrap_or_default();
                if !url.contains("{{")
                    && let Err(error) = app.services.egress.check_url(url)
                {
                    mistakes.push(Mistake::new(pointer, error.to_string()));
                }
                settings.insert(name.clone(), value.clone());
            }
            "secret" if !value.is_null() => match secret_mistake(value) {
                Some(detail) => mistakes.push(Mistake::new(pointer, detail)),
                None => drop(settings.insert("signingSecret".to_owned(), value.clone())),
            },
            "batch" => match batch(value) {
                Ok(batch) => drop(settings.insert(name.clone(), batch)),
                Err(found) => mistakes.extend(found),
            },
            "status" => match value.as_str() {
                Some("active") => {
                    settings.insert("disabled".to_owned(), Value::Null);
                    settings.insert("failing_since".to_owned(), Value::Null);
                }
                Some("disabled") => {
                    let disabled = Disabled { at: now, reason: "request".to_owned() };
                    settings.insert("disabled".to_owned(), json!(disabled));
                }
                _ => mistakes.push(Mistake::new(pointer, "must be `active` or `disabled`")),
            },
            known if FIELDS.contains(&known) => drop(settings.insert(name.clone(), value.clone())),
            _ => mistakes.push(Mistake::unknown(pointer, "field", name, FIELDS)),
        }
    }
    (settings, mistakes)
}

fn selector_mistakes(written: &Value) -> Vec<Mistake> {
    match serde_json::from_value::<Selector>(written.clone()) {
        Ok(selector) => subscriptions::mistakes(&selector),
        // What the schema says of it is told with the rest, when the settings are stored; this is for what it does not.
        Err(error) if written.is_object() && written["type"].is_string() => {
            vec![Mistake::new("/event_selector", error.to_string())]
        }
        Err(_) => vec![Mistake::new(
            "/event_selector",
            "an object with `type` `event_type` (and `value`), `jsonpath` (and `expression`) or `custom` (and `function`) is needed",
        )],
    }
}

/// `{maxSize, maxWait}`, in camelCase or with `_`.
fn batch(written: &Value) -> Result<Value, Vec<Mistake>> {
    let Some(members) = written.as_object() else {
        let is_null = written.is_null();
        return if is_null { Ok(Value::Null) } else { Err(vec![Mistake::new("/batch", "must be an object or null")]) };
    };
    let (mut read, mut mistakes) = (Map::new(), Vec::new());
    for (name, value) in members {
        let known = match name.as_str() {
            "maxSize" | "max_size" => "maxSize",
            "maxWait" | "max_wait" => "maxWait",
            _ => {
                mistakes.push(Mistake::unknown(join("/batch", name), "field", name, ["maxSize", "maxWait"]));
                continue;
            }
        };
        match value.as_u64() {
            Some(_) => drop(read.insert(known.to_owned(), value.clone())),
            None => mistakes.push(Mistake::new(join("/batch", name), "a whole number is needed")),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let read: Result<Batch, _> = serde_json::from_value(Value::Object(read));
    read.map(|batch| json!(batch)).map_err(|error| vec![Mistake::new("/batch", error.to_string())])
}

fn secret_mistake(written: &Value) -> Option<String> {
    let wanted = "must be `whsec_` and 24 to 64 bytes as base64, `whsk_` and an ed25519 key of 32 or 64 bytes as base64, or `{{secrets.NAME}}`";
    let text = written.as_str().unwrap_or_default();
    if text.contains("{{secrets.") {
        return None;
    }
    let decoded = |text: &str| STANDARD.decode(text).map_or(0, |bytes| bytes.len());
    let fits = match (text.strip_prefix("whsec_"), text.strip_prefix("whsk_")) {
        (Some(key), _) => SECRET_BYTES.contains(&decoded(key)),
        (_, Some(key)) => matches!(decoded(key), 32 | 64),
        _ => false,
    };
    if fits { None } else { Some(wanted.to_owned()) }
}

/// A secret of the operating system's randomness.
fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_standard_webhooks() {
        for good in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &new_secret(),
            "{{secrets.HOOK}}",
            &format!("whsk_{}", "A".repeat(43) + "="),
        ] {
            assert_eq!(secret_mistake(&json!(good)), None, "{good}");
        }
        for bad in ["", "secret", "whsec_AAAA", "whsk_AAAA", "whsec_!"] {
            assert!(secret_mistake(&json!(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_read_in_either_spelling() {
        assert_eq!(batch(&json!({"max_size": 2})).unwrap(), json!({"maxSize": 2, "maxWait": 5000}));
        assert_eq!(batch(&json!({"maxSize": 2, "maxWait": 10})).unwrap(), json!({"maxSize": 2, "maxWait": 10}));
        assert_eq!(batch(&json!({"size": 2})).unwrap_err()[0].pointer, "/batch/size");
        assert_eq!(batch(&json!({"maxSize": "2"})).unwrap_err()[0].pointer, "/batch/maxSize");
        assert_eq!(batch(&json!(5)).unwrap_err()[0].pointer, "/batch");
    }
}
