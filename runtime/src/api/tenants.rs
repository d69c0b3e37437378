//! Tenants: made and limited by the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use triggerd_core::id::{TenantId, is_tag};
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::instant::Instant;
use super::params::{PAGING, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Router, body};
use crate::access::{NO_OWN_LIMIT, Quotas, Tenant};
use crate::app::App;
use crate::retention::{self, Retention};
use crate::store::StoredTenant;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(create, list, show, change), components(schemas(TenantView, TenantPage)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/tenants", get(list).post(create))
        .route("/api/v1/tenants/{id}", get(show).patch(change))
}

/// A tenant.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TenantView {
    /// Its id: what `Triggerd-Tenant` names.
    id: String,
    /// For people.
    name: String,
    /// Requests and events per second; 0 is no limit.
    rate_limit: u32,
    /// Further limits: `max_triggers`, `max_components`, `max_keys`, `max_events`, `max_concurrency`, `wasm_cpu_per_minute`.
    quotas: Value,
    /// How long its events are kept, by what became of them: `delivered`, `unmatched` and `failed`, a duration such as `90d` or `never`.
    #[schema(value_type = Object)]
    retention: Value,
    /// When it was made.
    created_at: Instant,
}

/// A page of tenants.
#[derive(Serialize, utoipa::ToSchema)]
struct TenantPage {
    /// The tenants, by id.
    tenants: Vec<TenantView>,
    /// How many there are on all pages.
    total: usize,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

fn view(app: &App, tenant: &Tenant, own: &Map<String, Value>) -> TenantView {
    let stored = tenant.stored();
    let own = Value::Object(own.clone());
    TenantView {
        retention: Retention::of(app.config.store.retention, &own).show(),
        id: stored.id.to_string(),
        name: stored.name.clone(),
        rate_limit: app.access.effective_rate(&stored),
        quotas: stored.quotas.clone(),
        created_at: stored.created_at.into(),
    }
}

/// Make a tenant
#[utoipa::path(
    post,
    path = "/api/v1/tenants",
    tag = "tenants",
    request_body(content = Object, description = "`{id, name, rate_limit, quotas, retention}`; the id alone is needed"),
    responses((status = 201, body = TenantView), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, request: Request) -> Answer<(StatusCode, Json<TenantView>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let mut mistakes = Vec::new();
    let id = id_of(&members, &mut mistakes);
    let mut tenant = app.access.new_tenant(TenantId::new(id));
    let mut own = Map::new();
    apply(&members, &mut tenant, &mut own, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    let made = app.access.make_tenant(tenant).await?;
    let made = made.ok_or_else(|| ApiError::conflict(format!("there is a tenant `{id}` already")))?;
    if !own.is_empty() {
        retention::put(&app, &made.id, own.clone()).await?;
    }
    Ok((StatusCode::CREATED, Json(view(&app, &made, &own))))
}

/// The id; where there is none, a name that is fit to be one.
fn id_of<'a>(members: &'a Map<String, Value>, mistakes: &mut Vec<Mistake>) -> &'a str {
    let rule = "an id of `a`-`z`, `0`-`9`, `.`, `_`, `-`, at most 128 long and beginning with a letter or digit";
    match members.get("id").or_else(|| members.get("name")) {
        Some(Value::String(id)) if is_tag(id) => return id,
        Some(_) => mistakes.push(Mistake::new("/id", format!("{rule} is needed"))),
        None => mistakes.push(Mistake::new("/id", format!("it is missing; {rule} is needed"))),
    }
    ""
}

/// Puts what was written into a tenant.
fn apply(
    members: &Map<String, Value>,
    tenant: &mut StoredTenant,
    own: &mut Map<String, Value>,
    mistakes: &mut Vec<Mistake>,
) {
    for (name, value) in members {
        let pointer = triggerd_core::mistake::join("", name);
        match (name.as_str(), value) {
            // The id was read before, and is never changed.
            ("id", Value::String(id)) if id.as_str() == tenant.id.as_str() => {}
            ("id", _) if tenant.id.as_str().is_empty() => {}
            ("id", _) => mistakes.push(Mistake::new(pointer, "the id of a tenant cannot be changed")),
            ("name", Value::String(text)) if text.len() <= 256 => tenant.name.clone_from(text),
            ("name", _) => mistakes.push(Mistake::new(pointer, "a text of at most 256 bytes is needed")),
            ("rate_limit" | "rateLimit", Value::Null) => tenant.rate_limit = NO_OWN_LIMIT,
            ("rate_limit" | "rateLimit", limit) => match limit.as_u64().and_then(|limit| u32::try_from(limit).ok()) {
                Some(limit) if limit < NO_OWN_LIMIT => tenant.rate_limit = limit,
                _ => mistakes.push(Mistake::new(pointer, "a whole number per second is needed; 0 is no limit")),
            },
            ("quotas", Value::Object(quotas)) => {
                mistakes.extend(Quotas::check(quotas).into_iter().map(|mistake| mistake.under("/quotas")));
                super::merge::apply(&mut tenant.quotas, value.clone());
            }
            ("quotas", _) => mistakes.push(Mistake::new(pointer, "an object is needed")),
            ("retention", written) => {
                let found = retention::apply(own, written);
                mistakes.extend(found.into_iter().map(|mistake| mistake.under("/retention")));
            }
            _ => mistakes.push(Mistake::unknown(
                pointer,
                "field",
                name,
                ["id", "name", "rate_limit", "quotas", "retention"],
            )),
        }
    }
}

/// List the tenants
#[utoipa::path(
    get,
    path = "/api/v1/tenants",
    tag = "tenants",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = TenantPage))
)]
async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer<Json<TenantPage>> {
    let page = Params::read(query.as_deref(), &PAGING)?.page()?;
    let all = app.access.tenants();
    let total = all.len();
    let after = page.cursor.unwrap_or_default();
    let mut rest = all.into_iter().filter(|tenant| tenant.id.as_str() > after.as_str());
    let mut tenants = Vec::new();
    for tenant in rest.by_ref().take(page.limit as usize) {
        tenants.push(view(&app, &tenant, &retention::own(&app, &tenant.id).await?));
    }
    let has_more = rest.next().is_some();
    let cursor = tenants.last().filter(|_| has_more).map(|last| last.id.clone());
    Ok(Json(TenantPage { tenants, total, cursor, has_more }))
}

/// Show a tenant
#[utoipa::path(
    get, path = "/api/v1/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = TenantView), (status = 404, body = Problem))
)]
async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<TenantView>> {
    let tenant = find(&app, &id)?;
    Ok(Json(view(&app, &tenant, &retention::own(&app, &tenant.id).await?)))
}

/// Change a tenant's name and limits
///
/// They hold at once. `rate_limit: null` goes back to the default. `retention` is a duration for all events that have ended well
/// (`30d`, `never`), or an object of durations for `delivered`, `unmatched` and `failed`; `null` goes back to the configuration.
#[utoipa::path(
    patch,
    path = "/api/v1/tenants/{id}",
    tag = "tenants",
    params(("id" = String, Path)),
    request_body(content = Object, description = "`{name, rate_limit, quotas, retention}`"),
    responses((status = 200, body = TenantView), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn change(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request) -> Answer<Json<TenantView>> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let mut tenant = StoredTenant::clone(&*find(&app, &id)?.stored());
    let mut mistakes = Vec::new();
    let mut own = retention::own(&app, &tenant.id).await?;
    let former = own.clone();
    apply(&members, &mut tenant, &mut own, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    if own != former {
        retention::put(&app, &tenant.id, own.clone()).await?;
    }
    let changed = app.access.put_tenant(tenant).await?;
    Ok(Json(view(&app, &changed, &own)))
}

fn find(app: &App, id: &str) -> Answer<Arc<Tenant>> {
    app.access.tenant(id).ok_or_else(|| ApiError::absent("tenant of this id"))
}
