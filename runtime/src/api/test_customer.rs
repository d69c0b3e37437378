//! `POST /admin/test-customer`: a tenant with a key in one call. Exists in development alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::routing::post;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use triggerd_core::id::{TenantId, is_tag};
use triggerd_core::mistake::Mistake;
use utoipa::OpenApi;

use super::problem::{Answer, ApiError, Problem};
use super::{Router, body};
use crate::access::{Scope, WantedKey};
use crate::app::App;

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
    /// For people.
    name: String,
    /// A key with the scope `admin`.
    api_key: String,
}

/// Make a tenant with a key (development)
#[utoipa::path(
    post,
    path = "/admin/test-customer",
    tag = "tenants",
    request_body(content = Option<Object>, description = "`{name}`; without, one is made up"),
    responses((status = 201, body = TestCustomer), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, request: Request) -> Answer<(StatusCode, Json<TestCustomer>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    if let Some(unknown) = members.keys().find(|name| *name != "name") {
        let pointer = triggerd_core::mistake::join("", unknown);
        return Err(ApiError::invalid(vec![Mistake::unknown(pointer, "field", unknown, ["name"])]));
    }
    let name = match members.get("name") {
        None | Some(Value::Null) => "test customer".to_owned(),
        Some(Value::String(name)) if name.len() <= 256 => name.clone(),
        Some(_) => return Err(ApiError::invalid(vec![Mistake::new("/name", "a text of at most 256 bytes is needed")])),
    };
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
    Ok((StatusCode::CREATED, Json(TestCustomer { customer_id: id, name, api_key })))
}
