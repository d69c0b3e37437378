//! Trigger definitions: create, replace, merge, list, validate, try, versions.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::{HeaderName, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd_core::definition::{NamePattern, Trigger};
use triggerd_core::event::{Change, Moment, Operation};
use triggerd_core::event_pattern::EventPattern;
use triggerd_core::explain::reacts_to;
use triggerd_core::mistake::Mistake;

use super::params::{Paged, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body, captures, merge, sample};
use crate::access::Caller;
use crate::definitions::{Error, is_internal};
use crate::store::{PutMode, PutOutcome, StoredTrigger};
use crate::trial;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/triggers", get(list).post(create))
        .route("/api/v1/triggers/validate", post(validate))
        .route("/api/v1/triggers/{tag}", get(show).put(replace).patch(patch).delete(remove))
        .route("/api/v1/triggers/{tag}/test", post(test))
        .route("/api/v1/triggers/{tag}/backtest", post(backtest))
        .route("/api/v1/triggers/{tag}/versions", get(versions))
        .route("/api/v1/triggers/{tag}/versions/{version}", get(version))
        .route("/api/v1/triggers/{tag}/versions/{version}/restore", post(restore))
        .route("/api/v1/databases/{db}/tables/{table}/triggers", get(list_for_table))
        .route("/api/v1/databases/{db}/tables/{table}/triggers/{tag}", put(replace_for_table))
}

/// The OpenAPI fragment.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    list,
    create,
    validate,
    show,
    replace,
    patch,
    remove,
    test,
    backtest,
    versions,
    version,
    restore,
    list_for_table,
    replace_for_table
))]
pub struct Doc;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(mistakes) => Self::invalid(mistakes),
            Error::Exists(_) => Self::conflict(error.to_string()),
            Error::Absent(what) => Self::absent(&what),
            Error::Store(error) => error.into(),
        }
    }
}

/// List the triggers, by tag.
#[utoipa::path(get, path = "/api/v1/triggers", tag = "triggers",
    params(("database" = Option<String>, Query), ("table" = Option<String>, Query), ("event" = Option<String>, Query),
        ("enabled" = Option<bool>, Query), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "`{triggers, total, cursor, has_more}`"), (status = 400, body = Problem)))]
async fn list(State(api): State<Api>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<Value>> {
    let params = Params::read(query.as_deref(), &["database", "table", "event", "enabled", "limit", "cursor"])?;
    let page = params.page()?;
    let event = params
        .get("event")
        .map(|text| EventPattern::parse(text).map_err(|reason| ApiError::parameter("event", reason)));
    let event = event.transpose()?;
    let enabled = params.get("enabled").map(|_| params.flag("enabled")).transpose()?;
    let wanted = |trigger: &Trigger| {
        !is_internal(&trigger.tag)
            && params
                .get("database")
                .is_none_or(|name| trigger.database.as_ref().is_none_or(|pattern| pattern.matches(name)))
            && params.get("table").is_none_or(|name| {
                trigger.tables.is_empty() || trigger.tables.iter().any(|pattern| pattern.matches(name))
            })
            && event.as_ref().is_none_or(|event| trigger.events.contains(event))
            && enabled.is_none_or(|enabled| trigger.enabled == enabled)
    };
    let mut found: Vec<_> =
        api.app.definitions.index().all(&caller.tenant).into_iter().filter(|trigger| wanted(trigger)).collect();
    found.sort_by(|a, b| a.tag.cmp(&b.tag));
    let Paged { items, total, cursor } = Paged::by_key(found, &page, |trigger| &trigger.tag);
    let mut triggers = Vec::new();
    for trigger in items {
        triggers.push(shown(&api.app.definitions.get(&caller.tenant, &trigger.tag).await?));
    }
    let paged = Paged { items: triggers, total, cursor };
    Ok(Json(paged.answer("triggers", Value::clone)))
}

/// Create a trigger; 409 where its tag exists.
#[utoipa::path(post, path = "/api/v1/triggers", tag = "triggers", request_body = Object,
    responses((status = 201, description = "Stored"), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn create(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Response> {
    let definition = body::definition(request, api.app.config.server.body_timeout).await?;
    store(&api, &caller, definition, PutMode::Create).await
}

/// Create or replace a trigger.
#[utoipa::path(put, path = "/api/v1/triggers/{tag}", tag = "triggers", request_body = Object,
    params(("tag" = String, Path)),
    responses((status = 200, description = "Replaced"), (status = 201, description = "Created"), (status = 422, body = Problem)))]
async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Path(tag): Path<String>,
    request: Request,
) -> Answer<Response> {
    let definition = body::definition(request, api.app.config.server.body_timeout).await?;
    let definition = fixed(definition, &[("tag", json!(tag))])?;
    store(&api, &caller, definition, PutMode::Replace).await
}

/// Create or replace a trigger of one table.
#[utoipa::path(put, path = "/api/v1/databases/{db}/tables/{table}/triggers/{tag}", tag = "triggers", request_body = Object,
    params(("db" = String, Path), ("table" = String, Path), ("tag" = String, Path)),
    responses((status = 200, description = "Replaced"), (status = 201, description = "Created"), (status = 422, body = Problem)))]
async fn replace_for_table(
    State(api): State<Api>,
    caller: Caller,
    Path((db, table, tag)): Path<(String, String, String)>,
    request: Request,
) -> Answer<Response> {
    let definition = body::definition(request, api.app.config.server.body_timeout).await?;
    let fields = [("tag", json!(tag)), ("database", json!(db)), ("tables", json!([table]))];
    store(&api, &caller, fixed(definition, &fields)?, PutMode::Replace).await
}

/// Merge a patch (RFC 7396) into a trigger.
#[utoipa::path(patch, path = "/api/v1/triggers/{tag}", tag = "triggers", request_body = Object,
    params(("tag" = String, Path)),
    responses((status = 200, description = "Changed"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn patch(State(api): State<Api>, caller: Caller, Path(tag): Path<String>, request: Request) -> Answer<Response> {
    let patch = body::definition(request, api.app.config.server.body_timeout).await?;
    if !patch.is_object() {
        return Err(ApiError::invalid(vec![Mistake::new("", "a patch of a definition is a JSON object")]));
    }
    let mut definition = api.app.definitions.get(&caller.tenant, &tag).await?.definition;
    merge::apply(&mut definition, patch);
    store(&api, &caller, fixed(definition, &[("tag", json!(tag))])?, PutMode::Replace).await
}

async fn store(api: &Api, caller: &Caller, definition: Value, mode: PutMode) -> Answer<Response> {
    let now = api.app.clock.now();
    api.check_trigger_quota(caller, &definition)?;
    let (status, stored) = match api.app.definitions.put(&caller.tenant, definition, mode, now).await? {
        PutOutcome::Created(stored) => (StatusCode::CREATED, stored),
        PutOutcome::Replaced(stored) | PutOutcome::Unchanged(stored) => (StatusCode::OK, stored),
        PutOutcome::Exists | PutOutcome::Deleted | PutOutcome::Absent => {
            return Err(ApiError::conflict("a trigger of this tag exists"));
        }
    };
    let mut answer = (status, Json(shown(&stored))).into_response();
    let databases = databases_of(api, caller, &stored.definition);
    if !databases.is_empty() {
        let named: Vec<&str> = databases.iter().map(String::as_str).collect();
        let problem = captures::settled(&api.app, &caller.tenant, &named).await;
        answer
            .headers_mut()
            .extend(problem.and_then(|text| captures::header(&text)).map(|value| (capture_header(), value)));
    }
    Ok(answer)
}

fn capture_header() -> HeaderName {
    HeaderName::from_static(captures::HEADER)
}

/// The tenant's databases that a definition names.
fn databases_of(api: &Api, caller: &Caller, definition: &Value) -> Vec<String> {
    let Some(named) = definition.get("database").and_then(Value::as_str) else { return Vec::new() };
    let pattern = NamePattern::parse(named);
    let all = api.app.services.resources.list(&caller.tenant, "databases");
    all.into_iter().map(|resource| resource.tag).filter(|tag| pattern.matches(tag)).collect()
}

/// The definition with fields that the path has settled; one that says otherwise is a mistake.
fn fixed(mut definition: Value, fields: &[(&str, Value)]) -> Answer<Value> {
    let Some(object) = definition.as_object_mut() else {
        return Err(ApiError::invalid(vec![Mistake::new("", "a definition is a JSON object")]));
    };
    let mut mistakes = Vec::new();
    for (name, value) in fields {
        match object.get(*name) {
            Some(other) if other != value => {
                mistakes
                    .push(Mistake::new(format!("/{name}"), format!("{other} is not {value}, which the path names")));
            }
            Some(_) => {}
            None => {
                object.insert((*name).to_owned(), value.clone());
            }
        }
    }
    if mistakes.is_empty() { Ok(definition) } else { Err(ApiError::invalid(mistakes)) }
}

/// Check a definition without storing it.
#[utoipa::path(post, path = "/api/v1/triggers/validate", tag = "triggers", request_body = Object,
    responses((status = 200, description = "`{valid, errors: [{pointer, detail}]}`")))]
async fn validate(State(api): State<Api>, caller: Caller, request: Request) -> Answer<Json<Value>> {
    let definition = body::definition(request, api.app.config.server.body_timeout).await?;
    match api.app.definitions.check(&caller.tenant, &definition).await {
        Ok(_) => Ok(Json(json!({"valid": true, "errors": []}))),
        Err(Error::Invalid(errors)) => Ok(Json(json!({"valid": false, "errors": errors}))),
        Err(error) => Err(error.into()),
    }
}

/// Show a trigger.
#[utoipa::path(get, path = "/api/v1/triggers/{tag}", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 200, description = "The definition with its version"), (status = 404, body = Problem)))]
async fn show(State(api): State<Api>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(shown(&api.app.definitions.get(&caller.tenant, &tag).await?)))
}

/// Delete a trigger. Runs that began with it go on.
#[utoipa::path(delete, path = "/api/v1/triggers/{tag}", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, body = Problem)))]
async fn remove(State(api): State<Api>, caller: Caller, Path(tag): Path<String>) -> Answer<StatusCode> {
    let known = api.app.definitions.get(&caller.tenant, &tag).await?;
    api.app.definitions.delete(&caller.tenant, &tag, api.app.clock.now()).await?;
    if !databases_of(&api, &caller, &known.definition).is_empty() {
        captures::settled(&api.app, &caller.tenant, &[]).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Try a trigger on a sample event: nothing is done.
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/test", tag = "triggers", params(("tag" = String, Path)),
    request_body(content = Object, description = "Any body of POST /events"),
    responses((status = 200, description = "`{matched, explanation, actions}`"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn test(
    State(api): State<Api>,
    caller: Caller,
    Path(tag): Path<String>,
    request: Request,
) -> Answer<Json<trial::Trial>> {
    let trigger = compiled(&api, &caller, &tag).await?;
    let event = sample::event(&api, &caller, request).await?;
    Ok(Json(trial::test(&trigger, &event, api.app.clock.now())))
}

/// How many stored events a trigger would have matched.
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/backtest", tag = "triggers", params(("tag" = String, Path)),
    request_body(content = Object, description = "`{start_time, end_time}`"),
    responses((status = 200, description = "`{events, matched, undecided, truncated, samples}`"), (status = 404, body = Problem)))]
async fn backtest(
    State(api): State<Api>,
    caller: Caller,
    Path(tag): Path<String>,
    request: Request,
) -> Answer<Json<trial::Backtest>> {
    let trigger = compiled(&api, &caller, &tag).await?;
    let range = body::object(request, api.app.config.server.body_timeout).await?;
    let range = Params::of_body(&range, &["start_time", "end_time"]).map_err(ApiError::invalid)?;
    let start = range.instant("start_time")?.unwrap_or(Timestamp::UNIX_EPOCH);
    let end = range.instant("end_time")?.unwrap_or_else(|| api.app.clock.now());
    Ok(Json(trial::backtest(&api.app.store, &caller.tenant, &trigger, start, end).await?))
}

async fn compiled(api: &Api, caller: &Caller, tag: &str) -> Answer<std::sync::Arc<Trigger>> {
    let found = api.app.definitions.index().get(&caller.tenant, tag).filter(|found| !is_internal(&found.tag));
    match found {
        Some(trigger) => Ok(trigger),
        // It may be stored and no longer compile: then that is what is said.
        None => {
            let stored = api.app.definitions.get(&caller.tenant, tag).await?;
            Ok(std::sync::Arc::new(api.app.definitions.check(&caller.tenant, &stored.definition).await?))
        }
    }
}

/// The versions of a trigger, newest first.
#[utoipa::path(get, path = "/api/v1/triggers/{tag}/versions", tag = "triggers", params(("tag" = String, Path)),
    responses((status = 200, description = "`{versions, total}`"), (status = 404, body = Problem)))]
async fn versions(State(api): State<Api>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    let mut versions = api.app.store.trigger_versions(&caller.tenant, &tag).await?;
    if versions.is_empty() {
        return Err(ApiError::absent(&format!("trigger `{tag}`")));
    }
    versions.sort_by_key(|stored| std::cmp::Reverse(stored.version));
    let versions: Vec<Value> = versions.iter().map(shown_version).collect();
    Ok(Json(json!({"versions": versions, "total": versions.len(), "cursor": null, "has_more": false})))
}

/// One version of a trigger.
#[utoipa::path(get, path = "/api/v1/triggers/{tag}/versions/{version}", tag = "triggers",
    params(("tag" = String, Path), ("version" = u32, Path)),
    responses((status = 200, description = "The version"), (status = 404, body = Problem)))]
async fn version(
    State(api): State<Api>,
    caller: Caller,
    Path((tag, version)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    Ok(Json(shown_version(&stored_version(&api, &caller, &tag, &version).await?)))
}

/// Store an earlier version again, as the newest one.
#[utoipa::path(post, path = "/api/v1/triggers/{tag}/versions/{version}/restore", tag = "triggers",
    params(("tag" = String, Path), ("version" = u32, Path)),
    responses((status = 201, description = "The trigger was deleted; it is there again"), (status = 200, description = "The new version"), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn restore(
    State(api): State<Api>,
    caller: Caller,
    Path((tag, version)): Path<(String, String)>,
) -> Answer<Response> {
    let earlier = stored_version(&api, &caller, &tag, &version).await?;
    store(&api, &caller, earlier.definition, PutMode::Replace).await
}

async fn stored_version(api: &Api, caller: &Caller, tag: &str, version: &str) -> Answer<StoredTrigger> {
    let absent = || ApiError::absent(&format!("version {version} of trigger `{tag}`"));
    let number: u32 = version.parse().map_err(|_| absent())?;
    api.app.store.trigger_version(&caller.tenant, tag, number).await?.ok_or_else(absent)
}

/// The triggers of a table in the order in which they would run; with `event`, those that react to it.
#[utoipa::path(get, path = "/api/v1/databases/{db}/tables/{table}/triggers", tag = "triggers",
    params(("db" = String, Path), ("table" = String, Path), ("event" = Option<String>, Query), ("env" = Option<String>, Query)),
    responses((status = 200, description = "`{triggers, total}`"), (status = 400, body = Problem)))]
async fn list_for_table(
    State(api): State<Api>,
    caller: Caller,
    Path((db, table)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Value>> {
    let params = Params::read(query.as_deref(), &["event", "env", "limit", "cursor"])?;
    let changes = changes_of(params.get("event"), &db, &table)?;
    let mut found: Vec<_> = api.app.definitions.index().all(&caller.tenant);
    found.retain(|trigger| {
        let env = params.get("env").is_none_or(|env| trigger.env.as_deref().is_none_or(|wanted| wanted == env));
        env && trigger.enabled && !is_internal(&trigger.tag) && changes.iter().any(|change| reacts_to(trigger, change))
    });
    found.sort_by(|a, b| (a.priority, &a.tag).cmp(&(b.priority, &b.tag)));
    let mut triggers = Vec::with_capacity(found.len());
    for trigger in &found {
        triggers.push(shown(&api.app.definitions.get(&caller.tenant, &trigger.tag).await?));
    }
    Ok(Json(json!({"triggers": triggers, "total": triggers.len(), "cursor": null, "has_more": false})))
}

/// The changes that a change event's name stands for; all of them without one.
fn changes_of(event: Option<&str>, db: &str, table: &str) -> Answer<Vec<Change>> {
    let pattern = match event.map(EventPattern::parse) {
        None => None,
        Some(Ok(EventPattern::Change(pattern))) => Some(pattern),
        Some(Ok(EventPattern::Type(_))) => {
            return Err(ApiError::parameter("event", "a table's events are beforeInsert ... afterWrite"));
        }
        Some(Err(reason)) => return Err(ApiError::parameter("event", reason)),
    };
    let mut changes = Vec::new();
    for moment in [Moment::Before, Moment::After] {
        for operation in [Operation::Insert, Operation::Update, Operation::Delete] {
            let fits =
                pattern.is_none_or(|p| p.moment == moment && p.operation.is_none_or(|wanted| wanted == operation));
            if fits {
                let (database, table) = (Some(db.to_owned()), table.to_owned());
                changes.push(Change { operation, moment, database, schema: None, table });
            }
        }
    }
    Ok(changes)
}

/// A definition as it was written, with its version and times.
fn shown(stored: &StoredTrigger) -> Value {
    let mut shown = stored.definition.clone();
    shown["version"] = json!(stored.version);
    shown["created_at"] = json!(format!("{:.3}", stored.created_at));
    shown["updated_at"] = json!(format!("{:.3}", stored.stored_at));
    shown
}

fn shown_version(stored: &StoredTrigger) -> Value {
    json!({
        "tag": stored.tag,
        "version": stored.version,
        "created_at": format!("{:.3}", stored.stored_at),
        "definition": stored.definition,
    })
}
