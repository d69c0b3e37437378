//! Doing ended runs again: with the same delivery ids, marked as a replay.
//!
//! An event that no trigger matched when it came is matched anew: what was missing may be there by now.

mod preview;

use std::sync::Arc;

use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::plan;
use triggerd_core::run::RunState;

pub use preview::{Preview, PreviewedEvent, PreviewedRun, Replayed, preview};

use crate::app::App;
use crate::feed::FeedStatus;
use crate::store::{self, EventFilter, EventStatus, NewRun, PageRequest, Run};

/// Unmatched events looked at in one step.
const SLICE: u32 = 500;

/// Does one run again; `None` where the tenant has no such run, or it has not ended.
pub async fn run(app: &App, tenant: &TenantId, id: RunId) -> Result<Option<Run>, store::Error> {
    let run = app.store.replay_run(tenant, id, app.clock.now()).await?;
    if let Some(run) = &run {
        app.dispatch.replayed(app, tenant, &run.trigger, run.ordering_key.as_deref());
        tell(app, tenant, run.event_id).await?;
    }
    Ok(run)
}

/// Tells those who listen that an event's runs wait again.
async fn tell(app: &App, tenant: &TenantId, id: EventId) -> Result<(), store::Error> {
    if !app.feed.is_on() {
        return Ok(());
    }
    let Some(stored) = app.store.event(tenant, id).await? else { return Ok(()) };
    for run in app.store.runs_of(tenant, id).await? {
        if run.replay && run.state == RunState::Pending {
            app.feed.tell(&stored.event, Some((run.id, &run.trigger)), FeedStatus::Pending, app.clock.now());
        }
    }
    Ok(())
}

/// Does all ended runs of an event again; how many. `None` where the tenant has no such event.
pub async fn event(app: &App, tenant: &TenantId, id: EventId) -> Result<Option<u64>, store::Error> {
    let Some(found) = app.store.event(tenant, id).await? else { return Ok(None) };
    if found.status == EventStatus::Unmatched {
        return match_anew(app, &found.event).await.map(Some);
    }
    let runs = app.store.replay_event(tenant, id, app.clock.now()).await?;
    tell(app, tenant, id).await?;
    took_up(app, runs).await?;
    Ok(Some(runs))
}

/// Does the ended runs of all events that `filter` lets through again; how many.
pub async fn events(app: &App, tenant: &TenantId, filter: &EventFilter) -> Result<u64, store::Error> {
    let mut runs = 0;
    if filter.status != Some(EventStatus::Unmatched) {
        runs += app.store.replay_events(tenant, filter, app.clock.now()).await?;
        took_up(app, runs).await?;
    }
    // A filter by trigger means that trigger's runs: an unmatched event has none.
    if matches!(filter.status, None | Some(EventStatus::Unmatched)) && filter.trigger.is_none() {
        runs += unmatched(app, tenant, filter).await?;
    }
    Ok(runs)
}

async fn unmatched(app: &App, tenant: &TenantId, filter: &EventFilter) -> Result<u64, store::Error> {
    let filter = EventFilter { status: Some(EventStatus::Unmatched), ..filter.clone() };
    let mut request = PageRequest { limit: SLICE, cursor: None };
    let mut runs = 0;
    loop {
        let (items, next) = app.store.events_listed(tenant, &filter, &request).await?;
        for found in &items {
            runs += match_anew(app, &found.event).await?;
        }
        request.cursor = next;
        if request.cursor.is_none() {
            return Ok(runs);
        }
    }
}

/// Plans the runs of an event that had none, by the definitions in force now.
async fn match_anew(app: &App, event: &Arc<Event>) -> Result<u64, store::Error> {
    if event.erased_at.is_some() {
        return Ok(0);
    }
    let now = app.clock.now();
    let matches = app.definitions.index().matches(event);
    let planned = plan::plan(event, matches, now, || app.clock.id_bits());
    if planned.is_empty() {
        return Ok(0);
    }
    let lanes: Vec<(Arc<str>, Option<String>)> =
        planned.iter().map(|run| (run.trigger.tag.clone(), run.ordering_key.clone())).collect();
    let runs: Vec<NewRun> = planned
        .into_iter()
        .map(|run| NewRun {
            id: run.id,
            trigger: run.trigger.tag.clone(),
            version: run.trigger.version,
            ordering_key: run.ordering_key,
            queue: run.queue,
            lease_until: None,
        })
        .collect();
    app.store.add_runs(&event.tenant, event.id, runs).await?;
    for (trigger, key) in &lanes {
        app.dispatch.replayed(app, &event.tenant, trigger, key.as_deref());
    }
    Ok(lanes.len() as u64)
}

/// Many runs were made pending at once: counts their lanes and lets them be claimed.
async fn took_up(app: &App, runs: u64) -> Result<(), store::Error> {
    if runs > 0 {
        app.restore_lanes().await?;
        app.dispatch.wake();
    }
    Ok(())
}
