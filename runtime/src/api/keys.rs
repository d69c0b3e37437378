//! API keys of a tenant: made, listed, revoked. A key's text is shown once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::routing::{delete, get};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::{Mistake, join};
use utoipa::OpenApi;

use super::instant::Instant;
use super::params::{PAGING, Params};
use super::problem::{Answer, ApiError, Problem};
use super::{Router, body};
use crate::access::{Caller, Scope};
use crate::app::App;
use crate::store::StoredKey;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(create, list, revoke), components(schemas(KeyView, KeyPage)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/keys", get(list).post(create)).route("/api/v1/keys/{id}", delete(revoke))
}

/// A key.
#[derive(Serialize, utoipa::ToSchema)]
struct KeyView {
    /// Its id: the part of the key after `trg_`.
    id: String,
    /// The whole key; shown when it is made, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The tenant it belongs to.
    tenant: String,
    /// For people.
    name: String,
    /// What it may do.
    scopes: Vec<String>,
    /// When it was made.
    created_at: Instant,
    /// When it ends.
    expires_at: Option<Instant>,
}

/// A page of keys.
#[derive(Serialize, utoipa::ToSchema)]
struct KeyPage {
    /// The keys, oldest first.
    keys: Vec<KeyView>,
    /// How many there are on all pages.
    total: usize,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

fn view(stored: StoredKey, key: Option<String>) -> KeyView {
    KeyView {
        id: stored.id,
        key,
        tenant: stored.tenant.to_string(),
        name: stored.name,
        scopes: stored.scopes,
        created_at: stored.created_at.into(),
        expires_at: stored.expires_at.map(Instant),
    }
}

/// A key as somebody wants it.
#[derive(Debug, PartialEq)]
struct Wanted {
    name: String,
    scopes: Vec<Scope>,
    expires_at: Option<Timestamp>,
}

/// Make a key
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "keys",
    request_body(content = Object, description = "`{name, scopes, expires_at}`; the scopes are needed"),
    responses((status = 201, body = KeyView), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answer<(StatusCode, Json<KeyView>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let wanted = Wanted::read(&members, app.clock.now()).map_err(ApiError::invalid)?;
    let has = app.access.keys(&caller.tenant).len() as u64;
    if let Some(most) = caller.limits.quotas().max_keys.filter(|most| has >= *most) {
        return Err(super::used_up(most, "keys"));
    }
    let (stored, key) = app.access.make_key(&caller.tenant, wanted.name, &wanted.scopes, wanted.expires_at).await?;
    Ok((StatusCode::CREATED, Json(view(stored, Some(key)))))
}

impl Wanted {
    fn read(members: &Map<String, Value>, now: Timestamp) -> Result<Self, Vec<Mistake>> {
        let mut wanted = Self { name: String::new(), scopes: Vec::new(), expires_at: None };
        let mut mistakes = Vec::new();
        for (name, value) in members {
            let pointer = join("", name);
            match (name.as_str(), value) {
                ("name", Value::String(text)) if text.len() <= 256 => wanted.name.clone_from(text),
                ("name", _) => mistakes.push(Mistake::new(pointer, "a text of at most 256 bytes is needed")),
                ("scopes", Value::Array(scopes)) => wanted.scopes = read_scopes(scopes, &mut mistakes),
                ("scopes", _) => mistakes.push(Mistake::new(pointer, "a list of scopes is needed")),
                ("expires_at" | "expiresAt", Value::Null) => {}
                ("expires_at" | "expiresAt", value) => match value.as_str().and_then(|text| text.parse().ok()) {
                    Some(at) if at > now => wanted.expires_at = Some(at),
                    Some(_) => mistakes.push(Mistake::new(pointer, "it has passed already")),
                    None => mistakes.push(Mistake::new(pointer, "an RFC 3339 time is needed")),
                },
                _ => mistakes.push(Mistake::unknown(pointer, "field", name, ["name", "scopes", "expires_at"])),
            }
        }
        if wanted.scopes.is_empty() && mistakes.is_empty() {
            mistakes.push(Mistake::new("/scopes", "at least one scope is needed"));
        }
        if mistakes.is_empty() { Ok(wanted) } else { Err(mistakes) }
    }
}

fn read_scopes(written: &[Value], mistakes: &mut Vec<Mistake>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for (index, value) in written.iter().enumerate() {
        let text = value.as_str().unwrap_or_default();
        match Scope::parse(text) {
            Some(scope) if scopes.contains(&scope) => {}
            Some(scope) => scopes.push(scope),
            None => {
                let known = Scope::ALL.map(Scope::as_str);
                mistakes.push(Mistake::unknown(format!("/scopes/{index}"), "scope", text, known));
            }
        }
    }
    scopes
}

/// List the keys
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = KeyPage))
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<KeyPage>> {
    let page = Params::read(query.as_deref(), &PAGING)?.page()?;
    let all = app.access.keys(&caller.tenant);
    let total = all.len();
    let from = match &page.cursor {
        None => 0,
        // A key that was revoked meanwhile: what came before it is gone from the count as well.
        Some(last) => all.iter().position(|key| key.id == *last).map_or(total, |at| at + 1),
    };
    let keys: Vec<KeyView> =
        all.into_iter().skip(from).take(page.limit as usize).map(|stored| view(stored, None)).collect();
    let has_more = from + keys.len() < total;
    let cursor = keys.last().filter(|_| has_more).map(|last| last.id.clone());
    Ok(Json(KeyPage { keys, total, cursor, has_more }))
}

/// Revoke a key
///
/// It opens nothing from then on.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked"), (status = 404, body = Problem))
)]
async fn revoke(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let revoked = app.access.revoke_key(&caller.tenant, &id).await?;
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::absent("key of this id")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<Wanted, Vec<Mistake>> {
        Wanted::read(body.as_object().unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_key_is_read_with_its_scopes_and_its_end() {
        let body =
            json!({"name": "ci", "scopes": ["events:write", "events:write"], "expires_at": "2030-01-01T00:00:00Z"});
        let wanted = read(body).unwrap();
        assert_eq!(wanted.scopes, [Scope::EventsWrite]);
        assert_eq!(wanted.expires_at, Some("2030-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mistakes = read(json!({"scopes": ["event:write", 7], "expires_at": "1960-01-01T00:00:00Z", "nam": 1}));
        let pointers: Vec<String> = mistakes.unwrap_err().into_iter().map(|mistake| mistake.pointer).collect();
        assert_eq!(pointers, ["/scopes/0", "/scopes/1", "/expires_at", "/nam"]);
        assert_eq!(read(json!({"scopes": []})).unwrap_err()[0].pointer, "/scopes");
    }
}
