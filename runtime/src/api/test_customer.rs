//! `POST /admin/test-customer`: a tenant with a key in one call. Exists in development alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::routing::post;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use triggerd_core::id::{TenantId, is_tag};
use triggerd_core::mistake::{Mistake, join};
use utoipa::OpenApi;

use super::problem::{Answer, ApiError, Problem};
use super::{Router, body};
use crate::access::{Scope, WantedKey};
use crate::app::App;
use crate::mail::parse_address;

/// What may be sent.
const FIELDS: [&str; 2] = ["name", "email"];

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(create), components(schemas(TestCustomer)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/admin/test-customer", post(create))
}

/// A tenant with a key to everything in it.
#[derive(Serialize, utoipa::ToSchema)]
struct TestCustomer {
    /// The tenant.
    customer_id: String,
    /// A key with the scope `admin`.
    api_key: String,
    /// For people.
    name: String,
    /// As it was sent; kept nowhere.
    email: Option<String>,
    /// `active`.
    status: &'static str,
}

/// Make a tenant with a key (development)
#[utoipa::path(
    post,
    path = "/admin/test-customer",
    tag = "tenants",
    request_body(content = Option<Object>, description = "`{name, email}`; what is left out is made up, or null"),
    responses((status = 201, body = TestCustomer), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, request: Request) -> Answer<(StatusCode, Json<TestCustomer>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let unknown = members.keys().filter(|name| !FIELDS.contains(&name.as_str()));
    let unknown = unknown.map(|name| Mistake::unknown(join("", name), "field", name, FIELDS));
    let mut mistakes: Vec<Mistake> = unknown.collect();
    let name = text(&members, "name", &mut mistakes).unwrap_or_else(|| "test customer".to_owned());
    let email = text(&members, "email", &mut mistakes);
    if let Some(Err(detail)) = email.as_deref().map(parse_address) {
        mistakes.push(Mistake::new("/email", detail));
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(mistakes));
    }
    // A name that is fit to be an id and not taken becomes it; else the id is made up.
    let id = if is_tag(&name) && app.access.tenant(&name).is_none() {
        name.clone()
    } else {
        format!("test-{}", hex::encode(app.clock.id_bits()))
    };
    let mut tenant = app.access.new_tenant(TenantId::new(&id));
    tenant.name.clone_from(&name);
    let made = app.access.make_tenant(tenant).await?;
    let made = made.ok_or_else(|| ApiError::conflict(format!("there is a tenant `{id}` already")))?;
    let wanted = WantedKey { name: "test".to_owned(), scopes: vec![Scope::Admin], ..WantedKey::default() };
    let (_, api_key) = app.access.make_key(&made.id, wanted).await?;
    Ok((StatusCode::CREATED, Json(TestCustomer { customer_id: id, api_key, name, email, status: "active" })))
}

fn text(members: &Map<String, Value>, name: &str, mistakes: &mut Vec<Mistake>) -> Option<String> {
    match members.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.len() <= 256 => Some(text.clone()),
        Some(_) => {
            mistakes.push(Mistake::new(join("", name), "a text of at most 256 bytes is needed"));
            None
        }
    }
}
