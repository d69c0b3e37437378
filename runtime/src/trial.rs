//! Trying a trigger: on a sample event, with everything rendered and nothing done; and on the events of a while ago.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use triggerd_core::condition::Explanation;
use triggerd_core::definition::{Action, Trigger};
use triggerd_core::event::Event;
use triggerd_core::explain::explain;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::mistake::Mistake;
use triggerd_core::template::Scope;

use crate::store::{self, Store};

/// Events read at a time by a backtest.
const SLICE: u32 = 500;
/// Events that a backtest looks at in all.
const MOST: u64 = 100_000;
/// Samples that a backtest shows.
const SAMPLES: usize = 20;

/// What a trigger would do about a sample event.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// Whether it would match; `null` where that hangs on a Wasm component, which is not asked.
    pub matched: Option<bool>,
    /// Why.
    pub explanation: Explanation,
    /// What would be done.
    pub actions: Vec<TriedAction>,
}

/// One action with its settings rendered.
#[derive(Debug, Serialize)]
pub struct TriedAction {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The settings; secrets appear as `[secret NAME]`. `null` where they cannot be rendered: `error` says why.
    pub config: Value,
    /// Placeholders without a value.
    pub warnings: Vec<Mistake>,
    /// Why the settings cannot be rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Mistake>,
    /// Whether the action's own condition holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Explanation>,
}

/// How many stored events a trigger would have matched.
#[derive(Debug, Serialize)]
pub struct Backtest {
    /// Events looked at.
    pub events: u64,
    /// Of these, how many match.
    pub matched: u64,
    /// Of these, how many hang on a Wasm component, which is not asked.
    pub undecided: u64,
    /// Whether there were more events in the range than are looked at.
    pub truncated: bool,
    /// The first matches.
    pub samples: Vec<Sample>,
}

/// A matching event.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it was accepted, in milliseconds precision.
    pub timestamp: String,
}

/// Tries `trigger` on `event`.
#[must_use]
pub fn test(trigger: &Trigger, event: &Event, now: Timestamp) -> Trial {
    let explanation = explain(trigger, event, &|_| None);
    let matched = verdict(trigger, event);
    let mut outputs = Map::new();
    let run = RunId::new(0, [0; 10]);
    let actions = trigger
        .actions
        .iter()
        .map(|action| {
            // What an earlier action would return is not known: its placeholder renders to null, with a warning.
            outputs.insert(action.name.clone(), Value::Null);
            render(trigger, action, event, now, run, &outputs)
        })
        .collect();
    Trial { matched, explanation, actions }
}

fn verdict(trigger: &Trigger, event: &Event) -> Option<bool> {
    if !trigger.covers(event) {
        return Some(false);
    }
    trigger.condition.as_ref().map_or(Some(true), |condition| condition.evaluate(event, &|_| None))
}

fn render(
    trigger: &Trigger,
    action: &Action,
    event: &Event,
    now: Timestamp,
    run: RunId,
    outputs: &Map<String, Value>,
) -> TriedAction {
    let secrets: Map<String, Value> =
        action.config.secrets().iter().map(|name| (name.clone(), json!(format!("[secret {name}]")))).collect();
    let scope = Scope {
        event,
        trigger_tag: &trigger.tag,
        delivery_id: Some(run.delivery(&action.name)),
        attempt: 1,
        outputs: Some(outputs),
        secrets: Some(&secrets),
        now,
    };
    let (config, warnings, error) = match action.config.render(&scope, action.strict) {
        Ok(rendered) => (rendered.config, rendered.warnings, None),
        Err(mistake) => (Value::Null, Vec::new(), Some(mistake)),
    };
    let condition = action.condition.as_ref().map(|condition| condition.explain(event, &|_| None));
    TriedAction { name: action.name.clone(), kind: action.kind, config, warnings, error, condition }
}

/// Evaluates `trigger` against the stored events accepted from `start` until `end`.
pub async fn backtest(
    store: &Store,
    tenant: &TenantId,
    trigger: &Trigger,
    start: Timestamp,
    end: Timestamp,
) -> Result<Backtest, store::Error> {
    let mut result = Backtest { events: 0, matched: 0, undecided: 0, truncated: false, samples: Vec::new() };
    let mut cursor = None;
    loop {
        let slice = store.events_between(tenant, start, end, cursor, SLICE).await?;
        for event in &slice {
            result.events += 1;
            match verdict(trigger, event) {
                Some(true) => result.add(event),
                Some(false) => {}
                None => result.undecided += 1,
            }
        }
        if slice.len() < SLICE as usize {
            return Ok(result);
        }
        cursor = slice.last().map(|event| event.id);
        if result.events >= MOST {
            result.truncated = true;
            return Ok(result);
        }
        tokio::task::yield_now().await;
    }
}

impl Backtest {
    fn add(&mut self, event: &Event) {
        self.matched += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(Sample {
                event_id: event.id,
                event_type: event.event_type.clone(),
                timestamp: format!("{:.3}", event.accepted_at),
            });
        }
    }
}
