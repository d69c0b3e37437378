//! `GET /api/v1/events/export`: events as lines of JSON, oldest first.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use triggerd_core::id::TenantId;
use utoipa::OpenApi;

use super::inbox::event_id;
use super::params::{FILTERS, Params};
use super::problem::{Answer, ApiError, Problem};
use super::views::{EventDetails, EventView, RunView};
use super::{Api, Router};
use crate::access::Caller;
use crate::app::App;
use crate::store::{self, EventFilter, Position, StoredEvent};

const NDJSON: &str = "application/x-ndjson";
/// Events that are in memory at once.
const SLICE: u32 = 200;

/// The OpenAPI fragment.
#[derive(OpenApi)]
#[openapi(paths(export))]
pub struct Doc;

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/api/v1/events/export", get(export))
}

/// Where an export is.
struct Export {
    app: Arc<App>,
    stop: CancellationToken,
    tenant: TenantId,
    filter: EventFilter,
    with_runs: bool,
    /// Behind this; none at the end.
    after: Option<Position>,
}

/// Export events as lines of JSON
///
/// Oldest first, those that were accepted before the request. Each line is an event as the inbox shows it, with what the event itself
/// adds but for `not_matched` and `timeline`, and with its `runs` where they are asked for. An export that broke off goes on
/// behind the last event that came, with `after`.
#[utoipa::path(
    get,
    path = "/api/v1/events/export",
    tag = "events",
    params(
        ("event_type" = Option<String>, Query), ("status" = Option<String>, Query), ("source" = Option<String>, Query),
        ("table" = Option<String>, Query), ("start_time" = Option<String>, Query), ("end_time" = Option<String>, Query),
        ("after" = Option<String>, Query, description = "The id of the last event that came"),
        ("runs" = Option<bool>, Query, description = "With runs and attempts"),
    ),
    responses(
        (status = 200, description = "A line for each event", content_type = "application/x-ndjson", body = String),
        (status = 400, body = Problem), (status = 404, body = Problem)
    )
)]
async fn export(State(api): State<Api>, caller: Caller, RawQuery(query): RawQuery) -> Answer<Response> {
    let params = Params::read(query.as_deref(), &[&FILTERS[..], &["after", "runs"]].concat())?;
    let mut filter = params.filter()?;
    let now = api.app.clock.now();
    filter.end = Some(filter.end.map_or(now, |end| end.min(now)));
    let after = match params.get("after") {
        None => Position::before(Timestamp::UNIX_EPOCH),
        Some(id) => {
            let found = api.app.store.position_of(&caller.tenant, event_id(id)?).await?;
            found.ok_or_else(|| ApiError::absent("event of the id in `after`"))?
        }
    };
    let export = Export {
        app: api.app.clone(),
        stop: api.stop.clone(),
        tenant: caller.tenant,
        filter,
        with_runs: params.flag("runs")?,
        after: Some(after),
    };
    // An error breaks the answer off, so that nobody takes what came for all there is.
    let lines = stream::try_unfold(export, async |mut export| {
        let Some(after) = export.after else { return Ok(None) };
        let lines = export.next(after).await?;
        Ok::<_, store::Error>(Some((lines, export)))
    });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

impl Export {
    /// The next lines, which may be none.
    async fn next(&mut self, after: Position) -> Result<Bytes, store::Error> {
        if self.stop.is_cancelled() {
            return Err(store::Error::Unavailable("the server is shutting down".to_owned()));
        }
        let (items, next) = self.app.store.events_after(&self.tenant, &self.filter, after, SLICE).await?;
        let mut lines = Vec::new();
        for stored in items {
            let line = self.line(stored).await?;
            serde_json::to_writer(&mut lines, &line).map_err(|error| store::Error::Unavailable(error.to_string()))?;
            lines.push(b'\n');
        }
        self.after = next;
        Ok(lines.into())
    }

    async fn line(&self, stored: StoredEvent) -> Result<Value, store::Error> {
        let mut line = Map::new();
        let mut add = |part: serde_json::Result<Value>| match part {
            Ok(Value::Object(members)) => {
                line.extend(members);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(store::Error::Unavailable(error.to_string())),
        };
        if self.with_runs {
            let runs = self.app.store.runs_of(&self.tenant, stored.event.id).await?;
            let stored = stored.with(&runs);
            let runs: Vec<RunView> = runs.into_iter().map(RunView::from).collect();
            add(serde_json::to_value(EventView::from(&stored)))?;
            add(serde_json::to_value(EventDetails::from(&*stored.event)))?;
            add(serde_json::to_value(runs).map(|runs| serde_json::json!({ "runs": runs })))?;
        } else {
            add(serde_json::to_value(EventView::from(&stored)))?;
            add(serde_json::to_value(EventDetails::from(&*stored.event)))?;
        }
        Ok(Value::Object(line))
    }
}
