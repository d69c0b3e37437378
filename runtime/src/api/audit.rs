//! The audit log: what administrators' requests leave in it, and how it is read.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use triggerd_core::id::{EventId, TenantId};
use utoipa::OpenApi;
use uuid::Uuid;

use super::params::Params;
use super::peer::Peer;
use super::problem::{Answer, ApiError, Problem};
use super::routes::Need;
use super::syncs::{NDJSON, accepts_lines};
use super::{Api, Router, guard};
use crate::access::Caller;
use crate::app::App;
use crate::audit::shown;
use crate::store::{self, AuditEntry, AuditFilter, AuditOutcome, Witness};

/// Entries that an export reads at once.
const PAGE: u32 = 1000;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/audit", get(list))
}

/// Has a request answered, and leaves an entry of it.
pub async fn told(api: &Api, route: &str, caller: Caller, need: Need, request: Request, next: Next) -> Response {
    let app = api.app.clone();
    let entry = entry(&app, route, &caller, &request);
    let (id, witness) = (entry.id, Witness::new(entry));
    let mut left = Left { app: app.clone(), witness: Some(witness.clone()) };
    let response = witness.clone().of(guard::answer(caller, need, request, next)).await;
    left.witness = None;
    let status = response.status();
    let outcome = outcome(status);
    match witness.entry() {
        Some(entry) => app.audit.keep(AuditEntry { outcome, status: Some(status.as_u16()), ..entry }).await,
        // It was kept with the change, as what was done.
        None if outcome != AuditOutcome::Done => app.audit.correct(id, outcome, status.as_u16()).await,
        None => {}
    }
    response
}

fn entry(app: &App, route: &str, caller: &Caller, request: &Request) -> AuditEntry {
    let ms = u64::try_from(app.clock.now_ms()).unwrap_or(0);
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map(|peer| peer.caller(request.headers(), &app.config.server).to_string());
    AuditEntry {
        id: EventId::new(ms, app.clock.id_bits()).0,
        tenant: caller.tenant.clone(),
        at: app.clock.now(),
        key: caller.key_id().to_owned(),
        peer: peer.unwrap_or_default(),
        method: request.method().to_string(),
        route: route.to_owned(),
        path: request.uri().path().to_owned(),
        outcome: AuditOutcome::Done,
        status: None,
        before: None,
        after: None,
    }
}

fn outcome(status: StatusCode) -> AuditOutcome {
    match status.as_u16() {
        ..400 => AuditOutcome::Done,
        400..500 => AuditOutcome::Refused,
        _ => AuditOutcome::Failed,
    }
}

/// A request that is under way. Given up before it was answered, it leaves its entry all the same.
struct Left {
    app: Arc<App>,
    witness: Option<Witness>,
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(entry) = self.witness.take().and_then(|witness| witness.entry()) {
            self.app.audit.leave(AuditEntry { outcome: AuditOutcome::Unknown, ..entry });
        }
    }
}

/// List who changed what, newest first
///
/// With `Accept: application/x-ndjson` all that the filters let through, one entry a line.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(
        ("start_time" = Option<String>, Query), ("end_time" = Option<String>, Query),
        ("key" = Option<String>, Query, description = "A key's id; `admin` is the admin key"),
        ("method" = Option<String>, Query),
        ("path" = Option<String>, Query, description = "A path, with all below it: `/api/v1/triggers`"),
        ("outcome" = Option<String>, Query, description = "`done`, `refused`, `failed` or `unknown`"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "`{entries: [{id, at, tenant, key, peer, method, route, path, outcome, status, before, after}], total, cursor, has_more}`, or lines"),
        (status = 400, body = Problem)
    )
)]
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response> {
    let known = ["start_time", "end_time", "key", "method", "path", "outcome", "limit", "cursor"];
    let params = Params::read(query.as_deref(), &known)?;
    let limit = params.limit(PAGE)?;
    let wrong = |_| ApiError::parameter("cursor", "is not one that this list gave out");
    let before = params.get("cursor").map(|text| Uuid::parse_str(text).map_err(wrong)).transpose()?;
    let filter = filter(&params)?;
    if accepts_lines(&headers) {
        let lines = Body::from_stream(lines(app, caller.tenant, filter, before));
        return Ok(([(CONTENT_TYPE, NDJSON)], lines).into_response());
    }
    let (found, total) = app.store.audit_entries(&caller.tenant, &filter, before, limit + 1).await?;
    let has_more = found.len() > limit as usize;
    let page = &found[..found.len().min(limit as usize)];
    let cursor = page.last().filter(|_| has_more).map(|last| last.id.to_string());
    let entries: Vec<Value> = page.iter().map(shown).collect();
    Ok(Json(json!({"entries": entries, "total": total, "cursor": cursor, "has_more": has_more})).into_response())
}

fn filter(params: &Params) -> Answer<AuditFilter> {
    let wrong = |text: &str| {
        ApiError::parameter("outcome", format!("`{text}` is none of `done`, `refused`, `failed`, `unknown`"))
    };
    let outcome = params.get("outcome").map(|text| AuditOutcome::parse(text).ok_or_else(|| wrong(text))).transpose()?;
    Ok(AuditFilter {
        start: params.instant("start_time")?,
        end: params.instant("end_time")?,
        key: params.text("key"),
        method: params.text("method").map(|method| method.to_ascii_uppercase()),
        path: params.text("path").map(|path| path.trim_end_matches('/').to_owned()),
        outcome,
    })
}

/// An export: page by page, so that it holds neither memory nor a connection to the store for long.
fn lines(
    app: Arc<App>,
    tenant: TenantId,
    filter: AuditFilter,
    before: Option<Uuid>,
) -> impl Stream<Item = Result<String, store::Error>> {
    stream::unfold(Some((app, tenant, filter, before)), async |state| {
        let (app, tenant, filter, before) = state?;
        match app.store.audit_entries(&tenant, &filter, before, PAGE).await {
            Ok((found, _)) => {
                let last = found.last().map(|last| last.id)?;
                let text: String = found.iter().map(|entry| format!("{}\n", shown(entry))).collect();
                let next = (found.len() == PAGE as usize).then_some((app, tenant, filter, Some(last)));
                Some((Ok(text), next))
            }
            // The connection is cut: a client must not take the part that it has for the whole.
            Err(error) => Some((Err(error), None)),
        }
    })
}
