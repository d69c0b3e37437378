//! Wasm components: upload, describe, delete, try.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use triggerd_core::event::Event;
use triggerd_core::id::{RunId, is_tag};
use triggerd_core::mistake::Mistake;

use super::params::{Paged, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body, merge, sample};
use crate::access::Caller;
use crate::components::{Error, Loaded, Trial};
use crate::store::StoredComponent;
use crate::wasm::{Capabilities, Export, GuardVerdict, GuestAnswer, RefusalCode};

/// How long somebody waits whose component could not be compiled just now.
const COMPILE_RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/components", get(list))
        .route("/api/v1/components/{name}", get(show).put(upload).patch(settings).delete(remove))
        .route("/api/v1/components/{name}/invoke", post(invoke))
}

/// The OpenAPI fragment.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list, show, upload, settings, remove, invoke))]
pub struct Doc;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) if refusal.code == RefusalCode::TooLarge => Self::too_large(refusal.message),
            Error::Refused(refusal) if matches!(refusal.code, RefusalCode::Busy | RefusalCode::Internal) => {
                Self::unavailable(refusal.message, COMPILE_RETRY)
            }
            Error::Refused(refusal) => Self::invalid(vec![Mistake::new("", refusal.message)]),
            Error::Invalid(mistakes) => Self::invalid(mistakes),
            Error::Absent(name) => Self::absent(&format!("component `{name}`")),
            Error::InUse(..) => Self::conflict(error.to_string()),
            Error::Store(error) => error.into(),
        }
    }
}

/// Upload a component, or a core module that carries its component type.
#[utoipa::path(put, path = "/api/v1/components/{name}", tag = "components", params(("name" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, description = "A new version"), (status = 200, description = "The same bytes again: the same version"),
        (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem)))]
async fn upload(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Response> {
    if !is_tag(&name) {
        let detail = "a component's name begins with a small letter or digit; letters, digits, `.`, `_`, `-` follow";
        return Err(ApiError::unprocessable(detail));
    }
    let (parts, content) = request.into_parts();
    let media_type = body::media_type(&parts.headers);
    if !matches!(media_type.as_str(), "application/wasm" | "application/octet-stream") {
        return Err(ApiError::unsupported(format!("`{media_type}` is not taken here; send `application/wasm`")));
    }
    let config = &api.app.config;
    let timeout = config.server.body_timeout.max(std::time::Duration::from_secs(120));
    let bytes = body::read(&parts.headers, content, config.wasm.component_bytes, timeout).await?;
    // After the body is read: a client that is still sending would see a broken connection instead of the answer.
    api.check_component_quota(&caller, &name).await?;
    let kept = api.app.components.upload(&caller.tenant, &name, bytes.to_vec(), api.app.clock.now()).await?;
    let (component, made) = kept;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown(&component))).into_response())
}

/// List the components, each in its latest version.
#[utoipa::path(get, path = "/api/v1/components", tag = "components",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "`{components, total, cursor, has_more}`")))]
async fn list(State(api): State<Api>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<Value>> {
    let params = Params::read(query.as_deref(), &["limit", "cursor"])?;
    let page = params.page()?;
    let mut all: Vec<StoredComponent> = api.app.components.list(&caller.tenant, None).await?;
    all.sort_by(|a, b| (&a.name, std::cmp::Reverse(a.version)).cmp(&(&b.name, std::cmp::Reverse(b.version))));
    all.dedup_by(|later, first| later.name == first.name);
    let paged = Paged::by_key(all, &page, |component| &component.name);
    Ok(Json(paged.answer("components", shown)))
}

/// Describe a component: its latest version, its settings, and every version.
#[utoipa::path(get, path = "/api/v1/components/{name}", tag = "components", params(("name" = String, Path)),
    responses((status = 200, description = "The component"), (status = 404, body = Problem)))]
async fn show(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Value>> {
    let mut versions = api.app.components.list(&caller.tenant, Some(&name)).await?;
    versions.sort_by_key(|component| std::cmp::Reverse(component.version));
    let mut answer = shown(&versions[0]);
    answer["settings"] = api.app.components.settings(&caller.tenant, &name).await?;
    answer["versions"] = versions.iter().map(shown).collect();
    Ok(Json(answer))
}

/// Change a component's own settings: `{"capabilities": {...}, "limits": {...}}`, merged (RFC 7396).
#[utoipa::path(patch, path = "/api/v1/components/{name}", tag = "components", params(("name" = String, Path)),
    request_body = Object,
    responses((status = 200, description = "The settings"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn settings(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Json<Value>> {
    let patch = Value::Object(body::object(request, api.app.config.server.body_timeout).await?);
    let mut settings = api.app.components.settings(&caller.tenant, &name).await?;
    merge::apply(&mut settings, patch);
    api.app.components.set_settings(&caller.tenant, &name, settings.clone(), api.app.clock.now()).await?;
    Ok(Json(json!({"name": name, "settings": settings})))
}

/// Delete a component with its state; 409 while a trigger or a sync names it.
#[utoipa::path(delete, path = "/api/v1/components/{name}", tag = "components", params(("name" = String, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    let index = api.app.definitions.index().clone();
    api.app.components.delete(&caller.tenant, &name, &index, &api.app.services.resources).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run a component on a sample event. Its host calls are real: what it is granted it can do.
#[utoipa::path(post, path = "/api/v1/components/{name}/invoke", tag = "components", params(("name" = String, Path)),
    request_body(content = Object, description = "`{event, input?, capabilities?, world?}`; `event` is any body of POST /events"),
    responses((status = 200, description = "`{world, result, error, logs, duration_ms, memory_bytes}`"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn invoke(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Json<Value>> {
    let headers = request.headers().clone();
    let mut call = body::object(request, api.app.config.server.body_timeout).await?;
    let known = ["event", "input", "capabilities", "world"];
    let unknown = call.keys().filter(|name| !known.contains(&name.as_str()));
    let mistakes: Vec<Mistake> =
        unknown.map(|name| Mistake::unknown(format!("/{name}"), "field", name, known)).collect();
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    let sample = call.shift_remove("event").unwrap_or_else(|| json!({"type": "sample", "payload": {}}));
    let event = Arc::new(sample::event_of(&api, &caller, &headers, sample).map_err(under_event)?);
    let loaded = api.app.components.resolve(&caller.tenant, &name).await;
    let loaded = loaded.map_err(|failure| match failure.code.as_str() {
        "COMPONENT_NOT_FOUND" => ApiError::absent(&format!("component `{name}`")),
        _ => ApiError::unprocessable(failure.message),
    })?;
    if let Some(wait) = api.app.components.cpu.wait(&caller.tenant) {
        let detail = "the tenant's quota of Wasm CPU time is used up for this minute".to_owned();
        return Err(ApiError::over_quota_for_now("QUOTA_WASM_CPU", detail, wait));
    }
    let mut capabilities = loaded.capabilities.clone();
    if let Some(granted) = call.get("capabilities") {
        let granted = Capabilities::parse(granted)
            .map_err(|found| ApiError::invalid(found.into_iter().map(|m| m.under("/capabilities")).collect()))?;
        capabilities = capabilities.and(granted);
    }
    let export = export_of(&loaded, call.get("world"))?;
    let input = call.shift_remove("input").unwrap_or(Value::Null);
    Ok(Json(run(&api, &event, &loaded, export, input, capabilities).await))
}

async fn run(
    api: &Api,
    event: &Arc<Event>,
    loaded: &Arc<Loaded>,
    export: Export,
    input: Value,
    capabilities: Capabilities,
) -> Value {
    let run = RunId::new(u64::try_from(api.app.clock.now_ms()).unwrap_or(0), api.app.clock.id_bits());
    let delivery = run.delivery("invoke");
    let trial = Trial { export, input, capabilities, limits: loaded.limits.clone() };
    let report = api.app.components.try_out(&api.app.services, event, "invoke", delivery, loaded, trial).await;
    let (result, error) = match report.result {
        Ok(answer) => (answer_json(answer), Value::Null),
        Err(error) => {
            (Value::Null, json!({"code": error.code, "message": error.message, "retryable": error.retryable}))
        }
    };
    json!({
        "world": export.world(),
        "version": loaded.version,
        "result": result,
        "error": error,
        "logs": report.logs,
        "duration_ms": report.duration.as_secs_f64() * 1000.0,
        "memory_bytes": report.memory_peak,
    })
}

fn answer_json(answer: GuestAnswer) -> Value {
    match answer {
        GuestAnswer::Json(value) => value,
        GuestAnswer::Matches(verdict) => json!(verdict),
        GuestAnswer::Transform(event) => event.unwrap_or(Value::Null),
        GuestAnswer::Guard(GuardVerdict::Proceed) => json!({"verdict": "proceed"}),
        GuestAnswer::Guard(GuardVerdict::Change(record)) => json!({"verdict": "change", "record": record}),
        GuestAnswer::Guard(GuardVerdict::Refuse { code, message }) => {
            json!({"verdict": "refuse", "code": code, "message": message})
        }
    }
}

/// The export that is run: the named world's, else the first that the component has.
fn export_of(loaded: &Loaded, world: Option<&Value>) -> Answer<Export> {
    let wanted = match world {
        None => None,
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => return Err(ApiError::invalid(vec![Mistake::new("/world", "a world's name is needed")])),
    };
    let mut fitting = Export::ALL.into_iter().filter(|export| loaded.has(export.world()));
    let found = match wanted {
        None => fitting.next(),
        Some(name) => fitting.find(|export| export.world() == name),
    };
    found.ok_or_else(|| ApiError::invalid(vec![Mistake::new("/world", "the component does not export this world")]))
}

fn under_event(mistakes: Vec<Mistake>) -> ApiError {
    ApiError::invalid(mistakes.into_iter().map(|mistake| mistake.under("/event")).collect())
}

fn shown(component: &StoredComponent) -> Value {
    let mut shown = json!({
        "name": component.name,
        "version": component.version,
        "digest": component.digest,
        "created_at": format!("{:.3}", component.created_at),
    });
    for (name, value) in component.description.as_object().into_iter().flatten() {
        shown[name] = value.clone();
    }
    shown
}
