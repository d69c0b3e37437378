//! `GET /api/v1/events/stream`: what happens, as server-sent events.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use axum::routing::get;
use futures_util::Stream;
use futures_util::stream;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::time::Instant as Moment;
use tokio_util::sync::CancellationToken;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use utoipa::OpenApi;

use super::instant::Instant;
use super::params::Params;
use super::problem::{Answer, ApiError, Problem};
use super::{Api, Router};
use crate::access::Caller;
use crate::app::App;
use crate::feed::{self, Entry, FeedItem, FeedStatus, Place};
use crate::store::{EventFilter, EventStatus, PageRequest};

/// Proxies close connections on which nothing comes for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After this long every other node knows that somebody listens here.
const KNOWN: Duration = Duration::from_millis(1_500);
/// How much the clocks of nodes may differ for what came in until then.
const SKEW: SignedDuration = SignedDuration::from_secs(1);
/// The events that are looked for then.
const LOOKED_FOR: u32 = 1_000;

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
struct Item<'i> {
    /// Of which event.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The event's type.
    #[serde(rename = "type")]
    event_type: &'i str,
    /// The event's source.
    source: Option<&'i str>,
    /// `accepted` or `unmatched` for an event; `pending`, `delivered` or `failed` for a run.
    #[schema(value_type = String)]
    status: FeedStatus,
    /// The run's trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'i str>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    run_id: Option<RunId>,
    /// When.
    timestamp: Instant,
}

impl<'i> From<&'i FeedItem> for Item<'i> {
    fn from(item: &'i FeedItem) -> Self {
        Self {
            event_id: item.event_id,
            event_type: &item.event_type,
            source: item.source.as_deref(),
            status: item.status,
            trigger: item.run.as_ref().map(|(_, trigger)| trigger.as_str()),
            run_id: item.run.as_ref().map(|(id, _)| *id),
            timestamp: item.timestamp.into(),
        }
    }
}

/// What a listener wants to know of.
struct Wanted {
    /// Type, source and table.
    filter: EventFilter,
    status: Option<FeedStatus>,
}

/// One listener.
struct Listener {
    app: Arc<App>,
    stop: CancellationToken,
    tenant: TenantId,
    feed: feed::Listener,
    wanted: Wanted,
    /// Something is missing that it would have been told.
    is_behind: bool,
    /// Of a store with several nodes: what is missing until they know of this listener.
    gap: Option<Gap>,
    /// What was found to close it, the newest first.
    found: Vec<FeedItem>,
    /// The events that were found so: one that is told of after all is no news.
    found_ids: HashSet<EventId>,
}

/// What other nodes may not have told of.
struct Gap {
    since: Timestamp,
    until: Moment,
    told: HashSet<EventId>,
}

/// Follow events and their runs as they happen
///
/// Each `data` is one item. A client that comes back with `Last-Event-ID` gets what happened meanwhile, where that was not long ago
/// or much; where it was, and for a listener that is too slow, `event: missed` says that it should read the inbox. The filters are
/// the inbox's; `status` is an item's. With several nodes a listener is told of what happens on all of them.
#[utoipa::path(
    get,
    path = "/api/v1/events/stream",
    tag = "events",
    params(
        ("event_type" = Option<String>, Query, description = "Exact type"),
        ("status" = Option<String>, Query, description = "`accepted`, `unmatched`, `pending`, `delivered` or `failed`"),
        ("source" = Option<String>, Query, description = "Exact source"),
        ("table" = Option<String>, Query, description = "Exact table"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last item that was taken"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = Item),
        (status = 400, body = Problem)
    )
)]
async fn follow(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer<Sse<impl Stream<Item = Result<Message, Infallible>>>> {
    let params = Params::read(query.as_deref(), &["event_type", "status", "source", "table"])?;
    let status = params.get("status").map(status).transpose()?;
    let after = place(&headers)?;
    let app = api.app.clone();
    let (feed, is_whole) = app.feed.listen(&caller.tenant, after.as_ref());
    let gap = app.store.is_shared().then(|| Gap {
        since: app.clock.now() - SKEW,
        until: Moment::now() + KNOWN,
        told: HashSet::new(),
    });
    let filter = EventFilter {
        event_type: params.text("event_type"),
        source: params.text("source"),
        table: params.text("table"),
        ..EventFilter::default()
    };
    let listener = Listener {
        stop: api.stop.clone(),
        tenant: caller.tenant,
        feed,
        wanted: Wanted { filter, status },
        is_behind: !is_whole,
        gap,
        found: Vec::new(),
        found_ids: HashSet::new(),
        app,
    };
    let messages = stream::unfold(listener, |mut listener| async move {
        let message = listener.next().await?;
        Some((Ok(message), listener))
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn status(text: &str) -> Answer<FeedStatus> {
    serde_json::from_value(text.into()).map_err(|_| {
        let known = "`accepted`, `unmatched`, `pending`, `delivered`, `failed`";
        ApiError::parameter("status", format!("`{text}` is none of {known}"))
    })
}

/// Where a client was that comes back. What is no place of ours, or an empty one, is as good as none.
fn place(headers: &HeaderMap) -> Answer<Option<Place>> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let place = value.to_str().ok().and_then(|text| text.parse().ok());
    place.map(Some).ok_or_else(|| ApiError::malformed("`Last-Event-ID` is not an `id` that this stream gave out"))
}

impl Wanted {
    fn lets_through(&self, item: &FeedItem) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| Some(w) == found);
        is(&self.filter.event_type, Some(&item.event_type))
            && is(&self.filter.source, item.source.as_deref())
            && is(&self.filter.table, item.table.as_deref())
            && self.status.is_none_or(|status| status == item.status)
    }
}

impl Listener {
    /// The next message; `None` when the server stops.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if std::mem::take(&mut self.is_behind) {
                return Some(missed());
            }
            if let Some(item) = self.found.pop() {
                return Some(message(&item));
            }
            let closes = self.gap.as_ref().map(|gap| gap.until);
            let received = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(closes.unwrap_or_else(Moment::now)), if closes.is_some() => {
                    self.close_gap().await;
                    continue;
                }
                received = self.feed.next() => received,
            };
            match received {
                feed::Next::Entry(entry) if self.is_news(&entry) => {
                    return Some(message(&entry.item).id(self.feed.place(&entry).to_string()));
                }
                feed::Next::Entry(_) => {}
                feed::Next::Missed => return Some(missed()),
                feed::Next::End => return None,
            }
        }
    }

    fn is_news(&mut self, entry: &Entry) -> bool {
        let item = &entry.item;
        if let Some(gap) = &mut self.gap
            && item.run.is_none()
        {
            gap.told.insert(item.event_id);
        }
        if item.run.is_none() && self.found_ids.remove(&item.event_id) {
            return false;
        }
        self.wanted.lets_through(item)
    }

    /// Finds what came in on other nodes before they knew of this listener.
    async fn close_gap(&mut self) {
        let Some(gap) = self.gap.take() else { return };
        let filter = EventFilter { start: Some(gap.since), ..self.wanted.filter.clone() };
        let page = PageRequest { limit: LOOKED_FOR, cursor: None };
        match self.app.store.events(&self.tenant, &filter, &page).await {
            Ok(found) => {
                self.is_behind = found.cursor.is_some();
                // Newest first, and taken from the end.
                let items = found.items.iter().filter(|stored| !gap.told.contains(&stored.event.id));
                let items = items.map(|stored| came_in(&stored.event, stored.status));
                self.found = items.filter(|item| self.wanted.lets_through(item)).collect();
                self.found_ids = self.found.iter().map(|item| item.event_id).collect();
            }
            Err(error) => {
                tracing::debug!(%error, "What came in on other nodes could not be read: {error}");
                self.is_behind = true;
            }
        }
    }
}

/// What is told of an event that is found in the store.
fn came_in(event: &Event, status: EventStatus) -> FeedItem {
    let status = if status == EventStatus::Unmatched { FeedStatus::Unmatched } else { FeedStatus::Accepted };
    FeedItem::of(event, None, status, event.accepted_at)
}

fn message(item: &FeedItem) -> Message {
    Message::default().data(serde_json::to_string(&Item::from(item)).expect("strings always serialise"))
}

fn missed() -> Message {
    Message::default().event("missed").data("{\"missed\":true}")
}
