//! The embedded broker's topics, to look at what was published.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;
use utoipa::OpenApi;

use super::Router;
use super::instant::Instant;
use super::params::Params;
use super::problem::{Answer, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::store::TopicMessage;

/// Messages of one answer at most.
const MAX_MESSAGES: u32 = 1000;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(list, read), components(schemas(Topics, Topic, Messages, Message)))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/api/v1/brokers/{tag}/topics", get(list))
        .route("/api/v1/brokers/{tag}/topics/{topic}/messages", get(read))
}

/// The topics of a broker.
#[derive(Serialize, utoipa::ToSchema)]
struct Topics {
    /// The topics, by name.
    topics: Vec<Topic>,
    /// How many there are.
    total: usize,
    /// Always absent: they are all here.
    cursor: Option<String>,
    /// Always false.
    has_more: bool,
}

/// A topic.
#[derive(Serialize, utoipa::ToSchema)]
struct Topic {
    /// Its name.
    topic: String,
    /// The offset that the next message will have: how many there are.
    next_offset: u64,
}

/// Some messages of a topic.
#[derive(Serialize, utoipa::ToSchema)]
struct Messages {
    /// The messages, oldest first.
    messages: Vec<Message>,
    /// How many the topic has.
    total: u64,
    /// The offset to go on from.
    next_offset: u64,
    /// The same as a cursor.
    cursor: Option<String>,
    /// Whether there are more.
    has_more: bool,
}

/// A message.
#[derive(Serialize, utoipa::ToSchema)]
struct Message {
    /// From 0, without gaps.
    offset: u64,
    /// Its key.
    key: Option<String>,
    /// Its headers.
    headers: Value,
    /// What it says.
    message: Value,
    /// The delivery that published it.
    delivery_id: Option<String>,
    /// When.
    timestamp: Instant,
}

impl From<TopicMessage> for Message {
    fn from(message: TopicMessage) -> Self {
        let TopicMessage { offset, key, headers, message, delivery_id, created_at } = message;
        Self { offset, key, headers, message, delivery_id, timestamp: created_at.into() }
    }
}

/// List the topics of an embedded broker
#[utoipa::path(
    get, path = "/api/v1/brokers/{tag}/topics", tag = "brokers", params(("tag" = String, Path)),
    responses((status = 200, body = Topics))
)]
async fn list(State(app): State<Arc<App>>, caller: Caller, Path(tag): Path<String>) -> Answer<Json<Topics>> {
    let topics = app.store.topics(&caller.tenant, &tag).await?;
    let topics: Vec<Topic> = topics.into_iter().map(|(topic, next_offset)| Topic { topic, next_offset }).collect();
    Ok(Json(Topics { total: topics.len(), topics, cursor: None, has_more: false }))
}

/// Read a topic of an embedded broker
#[utoipa::path(
    get,
    path = "/api/v1/brokers/{tag}/topics/{topic}/messages",
    tag = "brokers",
    params(
        ("tag" = String, Path), ("topic" = String, Path),
        ("offset" = Option<u64>, Query, description = "Where to begin, default 0"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = Messages), (status = 400, body = Problem))
)]
async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tag, topic)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Messages>> {
    let params = Params::read(query.as_deref(), &["offset", "limit", "cursor"])?;
    let wanted = "an offset from 0";
    let offset = params.number("offset", wanted)?.or(params.number("cursor", wanted)?).unwrap_or(0);
    let limit = params.limit(MAX_MESSAGES)?;
    let messages = app.store.topic_read(&caller.tenant, &tag, &topic, offset, limit).await?;
    let topics = app.store.topics(&caller.tenant, &tag).await?;
    let total = topics.into_iter().find(|(name, _)| *name == topic).map_or(0, |(_, next)| next);
    let next_offset = messages.last().map_or(offset, |last| last.offset + 1);
    let has_more = next_offset < total;
    Ok(Json(Messages {
        messages: messages.into_iter().map(Message::from).collect(),
        total,
        next_offset,
        cursor: has_more.then(|| next_offset.to_string()),
        has_more,
    }))
}
