//! API keys of a tenant: made, listed, rotated, revoked. A key's text is shown once.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::routing::{delete, get, post};
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
use crate::access::{Caller, Rotated, Scope, WantedKey};
use crate::app::App;
use crate::config;
use crate::store::StoredKey;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(create, list, rotate, revoke), components(schemas(KeyView, KeyPage)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/keys", get(list).post(create))
        .route("/api/v1/keys/{id}", delete(revoke))
        .route("/api/v1/keys/{id}/rotate", post(rotate))
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
    /// Requests and events per second with it, beside its tenant's limit; null is as many as that allows.
    rate_limit: Option<u32>,
    /// The id of the key that was made in its place, where it was rotated.
    replaced_by: Option<String>,
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
        rate_limit: stored.rate_limit,
        replaced_by: stored.replaced_by,
    }
}

/// How long a key that is rotated stays good where nothing is said of it, and at most.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
const LONGEST_OVERLAP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Make a key
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "keys",
    request_body(content = Object, description = "`{name, scopes, expires_at, rate_limit}`; the scopes are needed"),
    responses((status = 201, body = KeyView), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answer<(StatusCode, Json<KeyView>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let wanted = read_key(&members, app.clock.now()).map_err(ApiError::invalid)?;
    let has = app.access.live_keys(&caller.tenant);
    if let Some(most) = caller.limits.quotas().max_keys.filter(|most| has >= *most) {
        return Err(super::used_up(most, "keys"));
    }
    let (stored, key) = app.access.make_key(&caller.tenant, wanted).await?;
    Ok((StatusCode::CREATED, Json(view(stored, Some(key)))))
}

const FIELDS: [&str; 4] = ["name", "scopes", "expires_at", "rate_limit"];

fn read_key(members: &Map<String, Value>, now: Timestamp) -> Result<WantedKey, Vec<Mistake>> {
    let mut wanted = WantedKey::default();
    let mut mistakes = Vec::new();
    for (name, value) in members {
        let pointer = join("", name);
        match (name.as_str(), value) {
            ("name", Value::String(text)) if text.len() <= 256 => wanted.name.clone_from(text),
            ("name", _) => mistakes.push(Mistake::new(pointer, "a text of at most 256 bytes is needed")),
            ("scopes", Value::Array(scopes)) => wanted.scopes = read_scopes(scopes, &mut mistakes),
            ("scopes", _) => mistakes.push(Mistake::new(pointer, "a list of scopes is needed")),
            ("expires_at" | "expiresAt", value) => wanted.expires_at = read_end(value, pointer, now, &mut mistakes),
            ("rate_limit" | "rateLimit", Value::Null) => {}
            ("rate_limit" | "rateLimit", limit) => match limit.as_u64().and_then(|limit| u32::try_from(limit).ok()) {
                Some(limit) if limit > 0 => wanted.rate_limit = Some(limit),
                _ => mistakes.push(Mistake::new(pointer, "a whole number per second from 1 is needed, or null")),
            },
            _ => mistakes.push(Mistake::unknown(pointer, "field", name, FIELDS)),
        }
    }
    if wanted.scopes.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::new("/scopes", "at least one scope is needed"));
    }
    if mistakes.is_empty() { Ok(wanted) } else { Err(mistakes) }
}

fn read_end(value: &Value, pointer: String, now: Timestamp, mistakes: &mut Vec<Mistake>) -> Option<Timestamp> {
    if value.is_null() {
        return None;
    }
    match value.as_str().and_then(|text| text.parse().ok()) {
        Some(at) if at > now => return Some(at),
        Some(_) => mistakes.push(Mistake::new(pointer, "it has passed already")),
        None => mistakes.push(Mistake::new(pointer, "an RFC 3339 time is needed")),
    }
    None
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

/// Put a new key in place of one
///
/// It has the same name, scopes and limit. The one before it stays good for `overlap` (`24h` where nothing is said, `0s`: it ends at
/// once), unless it ends before. The new one lasts until `expires_at`, or for as long as the one before it was made for.
#[utoipa::path(
    post, path = "/api/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path)),
    request_body(content = Option<Object>, description = "`{overlap, expires_at}`"),
    responses((status = 201, body = KeyView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer<(StatusCode, Json<KeyView>)> {
    let members = body::object(request, app.config.server.body_timeout).await?;
    let now = app.clock.now();
    let (overlap, expires_at) = read_rotation(&members, now).map_err(ApiError::invalid)?;
    // For as long as both are good there is one more: that must not keep anybody from rotating.
    let has = app.access.live_keys(&caller.tenant);
    if let Some(most) = caller.limits.quotas().max_keys.filter(|most| has > *most) {
        return Err(super::used_up(most, "keys"));
    }
    match app.access.rotate_key(&caller.tenant, &id, now + overlap, expires_at).await? {
        Rotated::Made(stored, key) => Ok((StatusCode::CREATED, Json(view(*stored, Some(key))))),
        Rotated::Absent => Err(absent()),
        Rotated::Already => Err(ApiError::conflict("the key was rotated before; rotate the one that took its place")),
    }
}

fn read_rotation(members: &Map<String, Value>, now: Timestamp) -> Result<(Duration, Option<Timestamp>), Vec<Mistake>> {
    let (mut overlap, mut expires_at, mut mistakes) = (OVERLAP, None, Vec::new());
    for (name, value) in members {
        let pointer = join("", name);
        match name.as_str() {
            "overlap" if value.is_null() => {}
            "overlap" => match value.as_str().and_then(read_overlap) {
                Some(read) if read <= LONGEST_OVERLAP => overlap = read,
                Some(_) => mistakes.push(Mistake::new(pointer, "at most `90d`")),
                None => mistakes.push(Mistake::new(pointer, "a duration such as `0s`, `30m`, `24h` or `7d` is needed")),
            },
            "expires_at" | "expiresAt" => expires_at = read_end(value, pointer, now, &mut mistakes),
            _ => mistakes.push(Mistake::unknown(pointer, "field", name, ["overlap", "expires_at"])),
        }
    }
    if mistakes.is_empty() { Ok((overlap, expires_at)) } else { Err(mistakes) }
}

fn read_overlap(text: &str) -> Option<Duration> {
    if text == "0s" { Some(Duration::ZERO) } else { config::duration(text).ok() }
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
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(absent()) }
}

fn absent() -> ApiError {
    ApiError::absent("key of this id")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<WantedKey, Vec<Mistake>> {
        read_key(body.as_object().unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_key_is_read_with_its_scopes_and_its_end() {
        let body = json!({"name": "ci", "scopes": ["events:write", "events:write"], "expires_at": "2030-01-01T00:00:00Z", "rate_limit": 5});
        let wanted = read(body).unwrap();
        assert_eq!(wanted.rate_limit, Some(5));
        assert_eq!(wanted.scopes, [Scope::EventsWrite]);
        assert_eq!(wanted.expires_at, Some("2030-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mistakes = read(json!({"scopes": ["event:write", 7], "expires_at": "1960-01-01T00:00:00Z", "nam": 1}));
        let pointers: Vec<String> = mistakes.unwrap_err().into_iter().map(|mistake| mistake.pointer).collect();
        assert_eq!(pointers, ["/scopes/0", "/scopes/1", "/expires_at", "/nam"]);
        assert_eq!(read(json!({"scopes": []})).unwrap_err()[0].pointer, "/scopes");
        assert_eq!(read(json!({"scopes": ["admin"], "rate_limit": 0})).unwrap_err()[0].pointer, "/rate_limit");
    }

    #[test]
    fn an_overlap_is_a_duration_within_bounds() {
        let read = |body: Value| read_rotation(body.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        assert_eq!(read(json!({})).unwrap(), (OVERLAP, None));
        assert_eq!(read(json!({"overlap": "0s"})).unwrap().0, Duration::ZERO);
        assert_eq!(read(json!({"overlap": "30m"})).unwrap().0, Duration::from_secs(1800));
        for bad in [json!("91d"), json!("-1s"), json!(5), json!("soon")] {
            assert_eq!(read(json!({"overlap": bad})).unwrap_err()[0].pointer, "/overlap");
        }
    }
}
