//! Resources of every kind (caches, brokers, databases, hooks, notifications, secrets, syncs): one shape for all.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use triggerd_core::id::is_tag;

use super::params::{PAGING, Paged, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body, captures};
use crate::access::{Caller, Scope};
use crate::resources::{Check, Error, Kind, SyncSettings};
use crate::store::StoredResource;
use crate::syncs;
use crate::usage;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/{kind}", get(list))
        .route("/api/v1/{kind}/{tag}", get(show).put(replace).patch(patch).delete(remove))
        .route("/api/v1/{kind}/{tag}/check", post(check))
}

/// The OpenAPI fragment.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list, show, replace, patch, remove, check))]
pub struct Doc;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownKind(kind) => Self::absent(&format!("kind of resource `{kind}`")),
            Error::Invalid(mistakes) => Self::invalid(mistakes),
            Error::Absent => Self::absent("such resource"),
            Error::Store(error) => error.into(),
        }
    }
}

/// List the resources of a kind
#[utoipa::path(get, path = "/api/v1/{kind}", tag = "resources",
    params(("kind" = String, Path, description = "`caches`, `brokers`, `databases`, `hooks`, `notifications`, `secrets`, `storages`, `syncs`"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "`{<kind>, total, cursor, has_more}`"), (status = 404, body = Problem)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Value>> {
    let kind = known(&kind)?;
    let page = Params::read(query.as_deref(), &PAGING)?.page()?;
    let all = api.app.services.resources.list(&caller.tenant, kind.name);
    let paged = Paged::by_key(all, &page, |resource| &resource.tag);
    Ok(Json(paged.answer(kind.name, |resource| shown(&api, &caller, resource))))
}

/// Show a resource; a secret's value is never shown
#[utoipa::path(get, path = "/api/v1/{kind}/{tag}", tag = "resources",
    params(("kind" = String, Path), ("tag" = String, Path)),
    responses((status = 200, description = "`{tag, settings, version, created_at, updated_at}`"), (status = 404, body = Problem)))]
async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, tag)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let kind = known(&kind)?;
    let found = api.app.services.resources.get(&caller.tenant, kind.name, &tag);
    found.map(|found| Json(shown(&api, &caller, &found))).ok_or_else(|| absent(kind, &tag))
}

/// Create or replace a resource
#[utoipa::path(put, path = "/api/v1/{kind}/{tag}", tag = "resources",
    params(("kind" = String, Path), ("tag" = String, Path)), request_body = Object,
    responses((status = 201, description = "Created"), (status = 200, description = "Replaced"), (status = 422, body = Problem)))]
async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, tag)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let kind = known(&kind)?;
    if kind.name != "secrets" && !is_tag(&tag) {
        return Err(ApiError::unprocessable(
            "a tag begins with a small letter or digit; letters, digits, `.`, `_`, `-` follow",
        ));
    }
    let settings = body::document(request, api.app.config.server.body_timeout).await?;
    let (resource, made) = api.app.services.resources.put(&caller.tenant, kind.name, &tag, settings).await?;
    if made && kind.name == "syncs" {
        // What one of that name left behind that was deleted while rows were under way: taken for this one's, rows would
        // count as deleted.
        syncs::forget(&api.app.services, &caller.tenant, &tag).await?;
    }
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    let problem = changed(&api, &caller, kind, &tag).await;
    let mut response = (status, Json(shown(&api, &caller, &resource))).into_response();
    if let Some(problem) = problem.and_then(|problem| captures::header(&problem)) {
        response.headers_mut().insert(captures::HEADER, problem);
    }
    Ok(response)
}

/// Merge a patch (RFC 7396) into a resource's settings
#[utoipa::path(patch, path = "/api/v1/{kind}/{tag}", tag = "resources",
    params(("kind" = String, Path), ("tag" = String, Path)), request_body = Object,
    responses((status = 200, description = "Changed"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn patch(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, tag)): Path<(String, String)>,
    request: Request,
) -> Answer<Json<Value>> {
    let kind = known(&kind)?;
    let patch = Value::Object(body::object(request, api.app.config.server.body_timeout).await?);
    let changed = api.app.services.resources.patch(&caller.tenant, kind.name, &tag, &patch).await?;
    self::changed(&api, &caller, kind, &tag).await;
    Ok(Json(shown(&api, &caller, &changed)))
}

/// Delete a resource
#[utoipa::path(delete, path = "/api/v1/{kind}/{tag}", tag = "resources",
    params(("kind" = String, Path), ("tag" = String, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "Triggers, components or other resources use it")))]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let kind = known(&kind)?;
    let users = usage::users(&api.app, &caller.tenant, kind.name, &tag).await?;
    if !users.is_empty() && api.app.services.resources.get(&caller.tenant, kind.name, &tag).is_some() {
        let what = kind.name.trim_end_matches('s');
        return Err(ApiError::conflict(format!("{what} `{tag}` is used by {}", users.join(", "))));
    }
    let deleted = api.app.services.resources.delete(&caller.tenant, kind.name, &tag).await?;
    if deleted && kind.name == "syncs" {
        changed(&api, &caller, kind, &tag).await;
        syncs::forget(&api.app.services, &caller.tenant, &tag).await?;
    }
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(absent(kind, &tag)) }
}

/// Try a resource's connection and say what is wrong
#[utoipa::path(post, path = "/api/v1/{kind}/{tag}/check", tag = "resources",
    params(("kind" = String, Path), ("tag" = String, Path), ("env" = Option<String>, Query)),
    responses((status = 200, description = "`{ok, detail}`"), (status = 404, body = Problem)))]
async fn check(
    State(api): State<Api>,
    caller: Caller,
    Path((kind, tag)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Value>> {
    let kind = known(&kind)?;
    let params = Params::read(query.as_deref(), &["env"])?;
    let env = params.get("env").unwrap_or_default();
    let found = api.app.services.resources.check(&caller.tenant, kind.name, &tag, env).await;
    let mut found = found.ok_or_else(|| absent(kind, &tag))?;
    if kind.name == "databases" && found.ok {
        // What somebody changed in the database is put right on the way.
        if let Some(problem) = captures::checked(&api.app, &caller.tenant, &tag).await {
            found.ok = false;
            found.detail = format!("{}; capture: {problem}", found.detail);
        }
    }
    if kind.name == "syncs" {
        let problems = syncs::problems(&api.app.services, &caller.tenant, &tag).await.unwrap_or_default();
        if !problems.is_empty() {
            found = Check { ok: false, detail: problems.join("; ") };
        }
    }
    Ok(Json(json!({"ok": found.ok, "detail": found.detail})))
}

/// What a changed resource means for capture is carried out before its change is answered; what is wrong then.
async fn changed(api: &Api, caller: &Caller, kind: &Kind, tag: &str) -> Option<String> {
    match kind.name {
        "databases" => {
            captures::settled(&api.app, &caller.tenant, &[]).await;
            None
        }
        "syncs" => {
            let resources = &api.app.services.resources;
            syncs::install(&api.app.definitions, resources, &caller.tenant, tag).await;
            let settings = resources.get(&caller.tenant, "syncs", tag).map(|stored| stored.settings);
            let sync = settings.and_then(|settings| serde_json::from_value::<SyncSettings>(settings).ok());
            let databases = sync.as_ref().map(SyncSettings::databases).unwrap_or_default();
            captures::settled(&api.app, &caller.tenant, &databases).await
        }
        _ => None,
    }
}

fn known(kind: &str) -> Answer<&'static Kind> {
    Kind::named(kind).filter(|kind| !kind.own_routes).ok_or_else(super::no_such_path)
}

fn absent(kind: &Kind, tag: &str) -> ApiError {
    ApiError::absent(&format!("{} `{tag}`", kind.name.trim_end_matches('s')))
}

/// A resource as it is answered. What the server has made for it is for those alone who may change it.
pub fn shown(api: &Api, caller: &Caller, resource: &StoredResource) -> Value {
    let mut shown = json!({
        "tag": resource.tag,
        "settings": resource.settings,
        "version": resource.version,
        "created_at": format!("{:.3}", resource.created_at),
        "updated_at": format!("{:.3}", resource.updated_at),
    });
    if Kind::named(&resource.kind).is_some_and(|kind| kind.made.is_some())
        && caller.has_any(&[Scope::ResourcesWrite])
        && let Some(token) = api.app.services.resources.token(&caller.tenant, &resource.kind, &resource.tag)
    {
        // To be put behind the address that the server has for others, which it does not know.
        shown["url"] = format!("/{}/{token}", resource.kind).into();
        shown["token"] = token.into();
    }
    shown
}
