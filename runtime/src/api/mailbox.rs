//! The mailbox: messages that went to no mail server and to no other service. Exists in development alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::OpenApi;

use super::Router;
use super::instant::Instant;
use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::mail::Stored;

/// Messages of one answer at most.
const MAX_MESSAGES: u32 = 1000;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, show, source), components(schemas(Mails, Mail)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/mailbox", get(list))
        .route("/api/v1/mailbox/{id}", get(show))
        .route("/api/v1/mailbox/{id}/source", get(source))
}

/// The newest messages.
#[derive(Serialize, utoipa::ToSchema)]
struct Mails {
    /// The messages, newest first.
    messages: Vec<Mail>,
    /// How many are shown.
    total: usize,
    /// Always absent.
    cursor: Option<String>,
    /// Always false: older ones are in the data directory.
    has_more: bool,
}

/// A message.
#[derive(Serialize, utoipa::ToSchema)]
struct Mail {
    /// `email`, `sms` or `push`.
    kind: String,
    /// The delivery id.
    id: String,
    /// The `Message-ID`.
    message_id: String,
    /// The notification that was named.
    notification: String,
    /// The sender.
    from: String,
    /// Recipients.
    to: Vec<String>,
    /// Recipients of a copy.
    cc: Vec<String>,
    /// Recipients of a hidden copy.
    bcc: Vec<String>,
    /// The subject.
    subject: String,
    /// The plain text.
    text: Option<String>,
    /// The HTML.
    html: Option<String>,
    /// Names of the attached files.
    attachments: Vec<String>,
    /// What an app gets with a push message.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
    /// When it was laid down.
    timestamp: Instant,
}

impl From<Stored> for Mail {
    fn from(stored: Stored) -> Self {
        Self {
            kind: stored.kind,
            id: stored.id,
            message_id: stored.message_id,
            notification: stored.notification,
            from: stored.from,
            to: stored.to,
            cc: stored.cc,
            bcc: stored.bcc,
            subject: stored.subject,
            text: stored.text,
            html: stored.html,
            attachments: stored.attachments,
            data: stored.data,
            timestamp: stored.at.into(),
        }
    }
}

/// List the newest messages (development)
#[utoipa::path(
    get,
    path = "/api/v1/mailbox",
    tag = "mailbox",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("kind" = Option<String>, Query, description = "`email`, `sms` or `push` alone"),
    ),
    responses((status = 200, body = Mails), (status = 400, body = Problem))
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Json<Mails>> {
    let params = Params::read(query.as_deref(), &["limit", "kind"])?;
    let (limit, kind) = (params.limit(MAX_MESSAGES)?, params.get("kind"));
    let stored = app.services.mailbox.list(&caller.tenant, kind, limit as usize).await.map_err(unreadable)?;
    let messages: Vec<Mail> = stored.into_iter().map(Mail::from).collect();
    Ok(Json(Mails { total: messages.len(), messages, cursor: None, has_more: false }))
}

/// Show a message (development)
#[utoipa::path(
    get, path = "/api/v1/mailbox/{id}", tag = "mailbox", params(("id" = String, Path)),
    responses((status = 200, body = Mail), (status = 404, body = Problem))
)]
async fn show(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Mail>> {
    let (stored, _) = find(&app, &caller, &id).await?;
    Ok(Json(stored.into()))
}

/// An e-mail as it would have been sent (development)
#[utoipa::path(
    get, path = "/api/v1/mailbox/{id}/source", tag = "mailbox", params(("id" = String, Path)),
    responses((status = 200, content_type = "message/rfc822", body = String), (status = 404, body = Problem))
)]
async fn source(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Answer<Response> {
    let (_, bytes) = find(&app, &caller, &id).await?;
    let bytes = bytes.ok_or_else(|| ApiError::absent("source: it is no e-mail"))?;
    Ok(([(CONTENT_TYPE, "message/rfc822")], bytes).into_response())
}

async fn find(app: &App, caller: &Caller, id: &str) -> Answer<(Stored, Option<Vec<u8>>)> {
    let found = app.services.mailbox.get(&caller.tenant, id).await.map_err(unreadable)?;
    found.ok_or_else(|| ApiError::absent("message of this id"))
}

fn unreadable(error: std::io::Error) -> ApiError {
    ApiError::internal(&error)
}
