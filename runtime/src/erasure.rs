//! Erasing what events say about somebody: their payloads, what was sent and received of them; not that they were, nor how they ended.

use std::sync::Arc;

use serde_json::Value;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::subject::Subject;

use crate::app::App;
use crate::store::{self, Erased, EventFilter, Position};

/// Events that are looked at in one go, and erased in one transaction.
const SLICE: u32 = 500;
const AT_ONCE: usize = 50;
/// Ids that are named.
const NAMED: usize = 1_000;

/// What was erased.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Events that were looked at.
    pub looked_at: u64,
    /// What was erased; of a dry run, how many events would be.
    pub erased: Erased,
    /// The events, oldest first; of very many only the first.
    pub events: Vec<EventId>,
    /// Whether the bytes that were there are overwritten in the database and its log.
    pub is_overwritten: bool,
}

/// Erases the events of a filter that name `subject`. With `dry_run` only finds them.
pub async fn erase(
    app: &App,
    tenant: &TenantId,
    subject: &Subject,
    filter: &EventFilter,
    dry_run: bool,
) -> Result<Report, store::Error> {
    let mut report = Report::default();
    // What comes in from now on is another matter.
    let end = app.clock.now();
    let filter = EventFilter { end: Some(filter.end.map_or(end, |wanted| wanted.min(end))), ..filter.clone() };
    let mut after = Some(Position::before(filter.start.unwrap_or(jiff::Timestamp::UNIX_EPOCH)));
    while let Some(from) = after {
        let (items, next) = app.store.events_after(tenant, &filter, from, SLICE).await?;
        report.looked_at += items.len() as u64;
        let found: Vec<Arc<Event>> = items
            .into_iter()
            .map(|stored| stored.event)
            .filter(|event| event.erased_at.is_none() && subject.is_in(event))
            .collect();
        let left = NAMED.saturating_sub(report.events.len());
        report.events.extend(found.iter().take(left).map(|event| event.id));
        if dry_run {
            report.erased.events += found.len() as u64;
        } else {
            for some in found.chunks(AT_ONCE) {
                let erased = some.iter().map(|event| event.erased(end)).collect();
                let done = app.store.erase_events(tenant, erased, app.clock.now()).await?;
                report.erased.events += done.events;
                report.erased.runs += done.runs;
                report.erased.ended += done.ended;
            }
        }
        after = next;
    }
    if !dry_run {
        if report.erased.ended > 0 {
            app.restore_lanes().await?;
            app.dispatch.wake();
        }
        // Also where nothing was found: a former erasure may have been cut off before this.
        report.is_overwritten = app.store.scrub().await?;
        tracing::info!(
            %tenant, events = report.erased.events, runs = report.erased.runs,
            "Erased {} events with their {} runs", report.erased.events, report.erased.runs
        );
    }
    Ok(report)
}

/// Whom a request names: `path` and `value`, or `user`.
///
/// # Errors
/// What is wrong or missing, with its place.
pub fn subject(
    path: Option<&Value>,
    value: Option<&Value>,
    user: Option<&Value>,
) -> Result<Subject, Vec<triggerd_core::mistake::Mistake>> {
    let mistake = |pointer: &str, detail: &str| vec![triggerd_core::mistake::Mistake::new(pointer, detail)];
    match (path, value, user) {
        (None, None, Some(user)) => Subject::user(user),
        (Some(Value::String(path)), Some(value), None) => Subject::at(path, value),
        (Some(Value::String(_)), None, None) => Err(mistake("/value", "it is missing: what stands at `path`")),
        (Some(_), _, None) => {
            Err(mistake("/path", "a text is needed: a dotted path, or a query such as `$.customer.email`"))
        }
        (None, Some(_), None) => Err(mistake("/path", "it is missing: where `value` stands")),
        (None, None, None) => Err(mistake("/path", "`path` and `value` are needed, or `user`")),
        (_, _, Some(_)) => Err(mistake("/user", "give either `path` and `value`, or `user`")),
    }
}
