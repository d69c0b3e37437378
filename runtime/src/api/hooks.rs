//! `POST /hooks/{token}`: what a third party sends, checked as its hook says, becomes an event. Needs no key: the token and the
//! signature are what a sender has.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use serde_json::{Value, json};
use triggerd_core::event::DEFAULT_ENV;
use utoipa::OpenApi;

use super::events::Accepted;
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router, body, events, guard, resources, trace};
use crate::access::{Caller, Tenant};
use crate::hooks::{self, Refusal};
use crate::intake::{self, Submission};
use crate::resources::{Hook, Resolved};

/// The kind of resource.
const KIND: &str = "hooks";

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(receive, rotate))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/hooks/{token}", post(receive)).route("/api/v1/hooks/{tag}/rotate-token", post(rotate))
}

/// A hook that a token leads to.
struct Found {
    tenant: Arc<Tenant>,
    tag: String,
    hook: Arc<Resolved<Hook>>,
}

/// Take what a third party sends
///
/// No key is asked for: the token leads to a hook, whose `verify` says how the request is checked.
#[utoipa::path(
    post,
    path = "/hooks/{token}",
    tag = "events",
    params(("token" = String, Path, description = "The end of the hook's `url`")),
    request_body(content = Object, description = "Any JSON"),
    responses(
        (status = 202, description = "On stable storage", body = Accepted),
        (status = 200, description = "Slack's question to a new address, answered", body = Object),
        (status = 401, body = Problem, description = "It is not signed as the hook asks for, or not in time"),
        (status = 404, body = Problem, description = "The token leads nowhere, or to a hook that is switched off"),
    )
)]
async fn receive(State(api): State<Api>, Path(token): Path<String>, request: Request) -> Response {
    let found = match find(&api, &token) {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    let verdicts = api.app.access.take_of(&found.tenant).await;
    let answer = match verdicts.refusal() {
        Some(refusal) => Err(guard::refused(refusal)),
        None => take(&api, &found, request).await,
    };
    let mut response = answer.unwrap_or_else(|error| error.into_response());
    guard::tell_rates(response.headers_mut(), &verdicts);
    response
}

/// The hook of a token. Whoever has none is told the same, whatever the reason.
fn find(api: &Api, token: &str) -> Answer<Found> {
    let resources = &api.app.services.resources;
    let nowhere = || ApiError::absent("such hook");
    let (tenant, tag) = resources.by_token(KIND, token).ok_or_else(nowhere)?;
    let hook = resources.resolve::<Hook>(&tenant, KIND, &tag, DEFAULT_ENV).ok_or_else(nowhere)?;
    let hook = hook.map_err(|failure| {
        tracing::error!(%tenant, hook = %tag, "Hook {tag} takes nothing: {}", failure.message);
        ApiError::not_ready("the hook's settings cannot be used just now")
    })?;
    if !hook.settings.enabled {
        return Err(nowhere());
    }
    let tenant = api.app.access.tenant(tenant.as_str()).ok_or_else(nowhere)?;
    Ok(Found { tenant, tag, hook })
}

async fn take(api: &Api, found: &Found, request: Request) -> Answer<Response> {
    let (parts, content) = request.into_parts();
    let config = &api.app.config;
    let (limit, timeout) = (config.intake.max_event_bytes, config.server.body_timeout);
    let bytes = body::take(&api.bodies, &parts.headers, content, limit, timeout).await?;
    let hook = &found.hook.settings;
    hooks::verify(&hook.verify, &parts.headers, &bytes, api.app.clock.now())
        .map_err(|refusal| refused(found, &refusal))?;
    let media_type = body::media_type(&parts.headers);
    if !body::is_json(&media_type) {
        return Err(ApiError::unsupported(format!(
            "`{media_type}` is not taken here; have it sent as `application/json`"
        )));
    }
    let payload = body::parse(&bytes)?;
    if let Some(challenge) = hooks::challenge(hook, &payload) {
        return Ok((StatusCode::OK, Json(json!({ "challenge": challenge }))).into_response());
    }
    let acceptance = events::acceptance(api, &found.tenant.id, trace::context(&parts.headers));
    let incoming = hooks::event(hook, &found.tag, &parts.headers, payload, acceptance);
    let at_least = incoming.event.accepted_at + hooks::remembered(hook);
    let text = Accepted::text(&incoming.event);
    let mut idempotency = incoming.key.map(|key| events::remember_delivery(api, key, &incoming.event));
    if let Some(idempotency) = &mut idempotency {
        idempotency.expires_at = idempotency.expires_at.max(at_least);
    }
    Api::take_events(&found.tenant, 1)?;
    // Not waited for, whatever its actions are: senders give an answer a few seconds, and send again.
    let submission = Submission { idempotency, ..incoming.event.into() };
    let receipt = intake::accept(&api.app, submission).await?;
    Ok(match receipt.replayed {
        Some(first) => events::first_answer(&first),
        None => events::json(StatusCode::ACCEPTED, text),
    })
}

fn refused(found: &Found, refusal: &Refusal) -> ApiError {
    let (tenant, tag) = (&found.tenant.id, &found.tag);
    if *refusal == Refusal::Secret {
        tracing::error!(%tenant, hook = %tag, "Hook {tag} takes nothing: {refusal}");
        return ApiError::not_ready("the hook's settings cannot be used just now");
    }
    tracing::info!(%tenant, hook = %tag, "A request to hook {tag} was refused: {refusal}");
    ApiError::unsigned(refusal.to_string())
}

/// Make a new address for a hook
///
/// The one before it leads nowhere any more.
#[utoipa::path(
    post, path = "/api/v1/hooks/{tag}/rotate-token", tag = "resources", params(("tag" = String, Path)),
    responses((status = 200, description = "The hook, with its new `token` and `url`"), (status = 404, body = Problem))
)]
async fn rotate(State(api): State<Api>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Value>> {
    let stored = api.app.services.resources.rotate_token(&caller.tenant, KIND, &tag).await?;
    Ok(Json(resources::shown(&api, &caller, &stored)))
}
