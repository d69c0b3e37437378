//! What a replay by filter would do, without doing it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use triggerd_core::definition::Trigger;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::{ActionState, Progress, RunState};

use crate::app::App;
use crate::store::{self, EventFilter, EventStatus, PageRequest, Run, StoredEvent};

/// How many events are looked at, and for how long.
const MOST: u64 = 20_000;
const LONGEST: Duration = Duration::from_secs(5);
/// Events of one page.
const SLICE: u32 = 500;
/// Events that are shown with their runs.
const SAMPLES: usize = 10;

/// What would be done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Preview {
    /// Events that have something to be done again.
    pub events: u64,
    /// Runs that would be pending again, or would be made.
    pub runs: u64,
    /// Runs by trigger.
    pub triggers: BTreeMap<String, u64>,
    /// How often each action would be done: by trigger and name, with its type.
    pub actions: BTreeMap<(String, String), (String, u64)>,
    /// The first events, newest first.
    pub samples: Vec<PreviewedEvent>,
    /// Whether all events of the filter were looked at: with `false` there is more.
    pub is_complete: bool,
}

/// One event of a preview.
#[derive(Clone, PartialEq, Debug)]
pub struct PreviewedEvent {
    /// Which.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// What it has become.
    pub status: EventStatus,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What would be done.
    pub runs: Vec<PreviewedRun>,
}

/// One run of a preview.
#[derive(Clone, PartialEq, Debug)]
pub struct PreviewedRun {
    /// The run that is done again; none where it would be made.
    pub id: Option<RunId>,
    /// Its trigger.
    pub trigger: String,
    /// The actions that would be done, in order: name and type. Their conditions and quotas are asked only then.
    pub actions: Vec<Replayed>,
}

/// An action that would be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
}

/// What [`super::events`] would do with this filter.
pub async fn preview(app: &App, tenant: &TenantId, filter: &EventFilter) -> Result<Preview, store::Error> {
    let began = Instant::now();
    let mut preview = Preview::default();
    let mut request = PageRequest { limit: SLICE, cursor: None };
    let mut seen = 0;
    loop {
        let (items, next) = app.store.events_listed(tenant, filter, &request).await?;
        for stored in items {
            seen += 1;
            let runs = runs_of(app, tenant, filter, &stored).await?;
            preview.add(stored, runs);
        }
        let is_over = seen >= MOST || began.elapsed() >= LONGEST;
        match next {
            None => {
                preview.is_complete = true;
                return Ok(preview);
            }
            Some(_) if is_over => return Ok(preview),
            next => request.cursor = next,
        }
    }
}

/// The runs of an event that would be done.
async fn runs_of(
    app: &App,
    tenant: &TenantId,
    filter: &EventFilter,
    stored: &StoredEvent,
) -> Result<Vec<PreviewedRun>, store::Error> {
    let wanted = |trigger: &str| filter.trigger.as_deref().is_none_or(|only| only == trigger);
    if stored.status == EventStatus::Unmatched {
        // As it is done: a filter by trigger means that trigger's runs, and there is none.
        return Ok(if filter.trigger.is_some() { Vec::new() } else { matched_anew(app, &stored.event) });
    }
    let mut runs = Vec::new();
    for run in app.store.runs_of(tenant, stored.event.id).await? {
        let has_ended = matches!(run.state, RunState::Delivered | RunState::Failed);
        if has_ended && wanted(&run.trigger) {
            let trigger = app.definitions.version(tenant, &run.trigger, run.version).await?;
            runs.push(again(&run, trigger.as_deref()));
        }
    }
    Ok(runs)
}

/// What a run that has ended does again: all of it, or what is left from the action that failed.
fn again(run: &Run, trigger: Option<&Trigger>) -> PreviewedRun {
    let everything = run.state == RunState::Delivered;
    let is_done = |progress: &Progress, name: &str| {
        let of_name = progress.actions.iter().find(|action| action.name == name);
        of_name.is_some_and(|action| matches!(action.status, ActionState::Delivered | ActionState::Skipped))
    };
    let actions = match trigger {
        Some(trigger) => {
            let left = trigger.actions.iter().filter(|action| everything || !is_done(&run.progress, &action.name));
            left.map(|action| Replayed { name: action.name.clone(), kind: action.kind.to_owned() }).collect()
        }
        // Its definition is gone: what is known of it is what it did.
        None => {
            let known =
                run.progress.actions.iter().filter(|action| everything || !is_done(&run.progress, &action.name));
            known.map(|action| Replayed { name: action.name.clone(), kind: action.kind.clone() }).collect()
        }
    };
    PreviewedRun { id: Some(run.id), trigger: run.trigger.to_string(), actions }
}

/// The runs that an event would be given which had none.
fn matched_anew(app: &App, event: &Arc<Event>) -> Vec<PreviewedRun> {
    let matches = app.definitions.index().matches(event);
    let run = |trigger: &Trigger| PreviewedRun {
        id: None,
        trigger: trigger.tag.to_string(),
        actions: trigger
            .actions
            .iter()
            .map(|action| Replayed { name: action.name.clone(), kind: action.kind.to_owned() })
            .collect(),
    };
    matches.iter().map(|found| run(&found.trigger)).collect()
}

impl Preview {
    fn add(&mut self, stored: StoredEvent, runs: Vec<PreviewedRun>) {
        if runs.is_empty() {
            return;
        }
        self.events += 1;
        for run in &runs {
            self.runs += 1;
            *self.triggers.entry(run.trigger.clone()).or_default() += 1;
            for action in &run.actions {
                let key = (run.trigger.clone(), action.name.clone());
                self.actions.entry(key).or_insert_with(|| (action.kind.clone(), 0)).1 += 1;
            }
        }
        if self.samples.len() < SAMPLES {
            let event = &stored.event;
            self.samples.push(PreviewedEvent {
                id: event.id,
                event_type: event.event_type.clone(),
                status: stored.status,
                accepted_at: event.accepted_at,
                runs,
            });
        }
    }
}
