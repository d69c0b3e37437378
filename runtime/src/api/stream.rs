//! `GET /api/v1/events/stream`: what happens, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use axum::routing::get;
use futures_util::Stream;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use triggerd_core::id::{EventId, RunId, TenantId};
use utoipa::OpenApi;

use super::instant::Instant;
use super::params::Params;
use super::problem::{Answer, Problem};
use super::{Api, Router};
use crate::access::Caller;
use crate::feed::FeedItem;

/// Proxies close connections on which nothing comes for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(follow), components(schemas(Item)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/events/stream", get(follow))
}

/// One thing that happened.
#[derive(Serialize, utoipa::ToSchema)]
struct Item {
    /// Of which event.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The event's type.
    #[serde(rename = "type")]
    event_type: String,
    /// `accepted` or `unmatched` for an event; `pending`, `delivered` or `failed` for a run.
    status: &'static str,
    /// The run's trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    run_id: Option<RunId>,
    /// When.
    timestamp: Instant,
}

impl From<FeedItem> for Item {
    fn from(item: FeedItem) -> Self {
        let FeedItem { event_id, event_type, status, trigger, run_id, timestamp, tenant: _ } = item;
        Self { event_id, event_type, status, trigger, run_id, timestamp: timestamp.into() }
    }
}

/// One listener.
struct Listener {
    feed: Receiver<FeedItem>,
    stop: CancellationToken,
    tenant: TenantId,
    event_type: Option<String>,
}

/// Follow events and their runs as they happen
///
/// Each `data` is one item. A listener that is too slow gets `event: missed` and should read the inbox.
#[utoipa::path(
    get,
    path = "/api/v1/events/stream",
    tag = "events",
    params(("event_type" = Option<String>, Query, description = "Only events of exactly this type")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = Item),
        (status = 400, body = Problem)
    )
)]
async fn follow(
    State(api): State<Api>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Answer<Sse<impl Stream<Item = Result<Message, Infallible>>>> {
    let params = Params::read(query.as_deref(), &["event_type"])?;
    let listener = Listener {
        feed: api.app.feed.subscribe(),
        stop: api.stop.clone(),
        tenant: caller.tenant,
        event_type: params.text("event_type"),
    };
    let messages = stream::unfold(listener, |mut listener| async move {
        let message = listener.next().await?;
        Some((Ok(message), listener))
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Listener {
    /// The next message; `None` when the server stops.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let received = tokio::select! {
                () = self.stop.cancelled() => return None,
                received = self.feed.recv() => received,
            };
            match received {
                Ok(item) if self.wants(&item) => {
                    let data = serde_json::to_string(&Item::from(item)).expect("strings always serialise");
                    return Some(Message::default().data(data));
                }
                Ok(_) => {}
                // Of all tenants' items: how many of them were this listener's is not known.
                Err(RecvError::Lagged(_)) => return Some(Message::default().event("missed").data("{\"missed\":true}")),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, item: &FeedItem) -> bool {
        item.tenant == self.tenant && self.event_type.as_ref().is_none_or(|wanted| *wanted == item.event_type)
    }
}
