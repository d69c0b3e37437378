//! Components that turn rows into the other side's, or decide between two.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use triggerd_core::event::Event;
use triggerd_core::id::{DeliveryId, RunId};
use triggerd_core::intake_body::{self, Acceptance};
use triggerd_core::sync::Side;
use triggerd_core::trace::TraceContext;

use crate::actions::Services;
use crate::components::Trial;
use crate::failed::Failed;
use crate::wasm::{Export, GuestAnswer};

/// Who shall win, or what both sides shall hold.
pub enum Verdict {
    /// This side.
    Winner(Side),
    /// This row, as the source has it.
    Merged(Map<String, Value>),
}

/// The other side's row that a component makes of `event`'s; `None` where it lets none out.
pub async fn transform(
    services: &Arc<Services>,
    component: &str,
    event: &Arc<Event>,
    to: Side,
) -> Result<Option<Map<String, Value>>, Failed> {
    let direction = if to == Side::Target { "toTarget" } else { "toSource" };
    let answer = call(services, component, event, Export::Transform, json!({ "direction": direction })).await?;
    let GuestAnswer::Transform(body) = answer else { return Err(wrong(component, "no event")) };
    let Some(body) = body else { return Ok(None) };
    let acceptance = Acceptance {
        id: event.id,
        tenant: event.tenant.clone(),
        now: event.accepted_at,
        trace: TraceContext::default(),
    };
    let made = intake_body::from_json(body, acceptance)
        .map_err(|mistakes| wrong(component, &format!("no body of POST /api/v1/events: {}", mistakes[0])))?;
    match made.record {
        Value::Object(row) => Ok(Some(row)),
        _ => Err(wrong(component, "an event without a record")),
    }
}

/// What a component says to two rows that have both changed.
pub async fn resolve(
    services: &Arc<Services>,
    component: &str,
    event: &Arc<Event>,
    key: &str,
    source: Option<&Value>,
    target: Option<&Value>,
) -> Result<Verdict, Failed> {
    let input = json!({ "key": key, "source": source, "target": target });
    let answer = call(services, component, event, Export::Run, input).await?;
    let GuestAnswer::Json(answer) = answer else { return Err(wrong(component, "no JSON")) };
    match (answer.get("winner").and_then(Value::as_str), answer.get("row")) {
        (Some("source"), None) => Ok(Verdict::Winner(Side::Source)),
        (Some("target"), None) => Ok(Verdict::Winner(Side::Target)),
        (None, Some(Value::Object(row))) => Ok(Verdict::Merged(row.clone())),
        _ => Err(wrong(component, "neither {\"winner\": \"source\" | \"target\"} nor {\"row\": {…}}")),
    }
}

async fn call(
    services: &Arc<Services>,
    component: &str,
    event: &Arc<Event>,
    export: Export,
    input: Value,
) -> Result<GuestAnswer, Failed> {
    let loaded = services.components.resolve(&event.tenant, component).await;
    let loaded = loaded.map_err(|failure| {
        let retryable = failure.code == "STORE_UNAVAILABLE";
        Failed { failure, retryable, after: None }
    })?;
    if !loaded.has(export.world()) {
        let message = format!("component `{component}` is no `{}`", export.world());
        return Err(Failed::permanent("SYNC_INVALID", message));
    }
    let trial = Trial { export, input, capabilities: loaded.capabilities.clone(), limits: loaded.limits.clone() };
    // The same event asks with the same id.
    let delivery: DeliveryId = RunId(event.id.0).delivery(component);
    let report = services.components.try_out(services, event, "sync", delivery, &loaded, trial).await;
    report.result.map_err(|error| {
        let failed = if error.retryable { Failed::transient } else { Failed::permanent };
        Failed { after: error.delay, ..failed(error.code, error.message) }
    })
}

fn wrong(component: &str, answered: &str) -> Failed {
    Failed::permanent("WASM_RESULT", format!("component `{component}` answered with {answered}"))
}
